"""The operations of the queue on one database, for what needs no words of its own."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, ClassVar

from django_jobs.storage.backends.by_queue import ByQueue
from django_jobs.storage.backends.columns import (
    FINISHED_COLUMNS,
    LAST_RUN_COLUMNS,
    MOVED_COLUMNS,
    PLAIN_COLUMNS,
    ROLLUP_KEY,
    ROLLUP_SUMS,
)
from django_jobs.storage.backends.following import Following
from django_jobs.storage.backends.inserting import Inserting
from django_jobs.storage.backends.turns import Turns
from django_jobs.storage.backends.values import read_time
from django_jobs.storage.records import error_entry, with_error
from django_jobs.storage.tables import (
    JOB_TABLE,
    ROLLUP_TABLE,
    RUN_TABLE,
    TRIGGER_TABLE,
    WORKER_TABLE,
)
from django_jobs.storage.unique_keys import WINDOW

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from django_jobs.storage.backends.words import Statement
    from django_jobs.storage.records import ClaimedRun, Key, Outcome

Row = tuple[Any, ...]

_NEXT_DUE = (
    f"(SELECT t.next_run_time FROM {JOB_TABLE} j JOIN {TRIGGER_TABLE} t ON t.id = j.djangojob_ptr_id "  # noqa: S608
    "WHERE j.broken_reason <= '' AND t.next_run_time IS NOT NULL ORDER BY t.next_run_time LIMIT 1)"
)
_STATUS = [name for name, _ in FINISHED_COLUMNS].index("status")
_PROGRESS = [name for name, _ in FINISHED_COLUMNS].index("progress")
_ERROR_KEY = [name for name, _ in FINISHED_COLUMNS].index("error_key")


class Backend(Inserting, ByQueue, Following, Turns):
    """All operations, for a database whose UPDATE can return rows; one subclass for each database."""

    __slots__ = ()

    # What `finish` returns of the runs that it has written; "" for nothing.
    finished: ClassVar[str] = f"{RUN_TABLE}.id, {RUN_TABLE}.attempt, COALESCE({RUN_TABLE}.fence, 0)"

    def begin_write(self) -> None:
        """Take the lock that the first write of a transaction would take, where there is but one."""

    def lock_runs(self, ids: Sequence[int]) -> None:
        """Lock runs, where a SELECT may do it in an order of which two wait for each other."""

    def lock_id(self, job_id: str) -> None:
        """Have whoever else locks the same id of a job wait until the transaction under way ends."""
        self.begin_write()

    def finished_row(self, run: ClaimedRun, outcome: Outcome) -> Row:
        """Return the row of `FINISHED_COLUMNS` that `finish` takes."""
        errors, error, status, error_key = run.errors, outcome.error, str(outcome.status), None
        if error:
            errors = with_error(errors, error_entry(run.attempt, run.worker_id, outcome))
            error_key = outcome.error_key(run.func)
        return (
            run.id,
            run.attempt,
            run.fence,
            run.worker_id,
            status,
            None if outcome.retry_in is None else self.delay(outcome.retry_in),
            self.time(outcome.started_at),
            None if status == "READY" else self.time(outcome.finished_at),
            outcome.result,
            error,
            json.dumps(errors) if errors else None,
            outcome.log,
            json.dumps(outcome.progress) if outcome.progress else None,
            error_key,
        )

    def finish(self, rows: Sequence[Row], *, has_keys: bool = True) -> set[Key]:
        """Write outcomes in one statement, those to be tried again only where nobody asked for the end.

        Args:
            rows: Of `finished_row`, at least one.
            has_keys: Whether any of the runs may have a `unique_key`.

        Returns:
            Keys of those that were RUNNING by that worker in that attempt and claim, and are written.
        """
        with self.connection.cursor() as cursor:
            cursor.execute(*self._finish(rows, has_keys=has_keys))
            return set(cursor.fetchall())

    def _finish(self, rows: Sequence[Row], *, has_keys: bool, unindexed: str | None = None) -> Statement:
        run = RUN_TABLE
        changes = [(name, f"v.{name}") for name in PLAIN_COLUMNS]
        has_retries = any(row[_STATUS] == "READY" for row in rows)
        # What is set is written, and its indexes with it, even to what it was.
        if any(row[_PROGRESS] for row in rows):
            changes.append(("progress", f"COALESCE(v.progress, {run}.progress)"))
        if any(row[_ERROR_KEY] for row in rows):
            changes.append(("error_key", "v.error_key"))
        if has_retries:
            # Held, if its job was paused while it ran. What neither is tried again is broken: both are NULL.
            delayed = f"CASE WHEN {run}.held_run_after IS NULL THEN {self.after_delay()} END"
            after = f"CASE WHEN v.status = 'READY' THEN {delayed} ELSE {run}.run_after END"
            held = f"{run}.held_run_after IS NOT NULL AND v.status = 'READY'"
            changes.append(("run_after", after))
            changes.append(("held_run_after", f"CASE WHEN {held} THEN {self.after_delay()} END"))
        if has_keys:
            # An id is free for the next job once this one has ended; a firing is taken forever, and a key that
            # is taken within a time is until that is over.
            key = (
                f"CASE WHEN v.status = 'READY' OR {run}.scheduled_at IS NOT NULL "
                f"OR {run}.unique_key LIKE '{WINDOW}%%' THEN {run}.unique_key ELSE NULL END"
            )
            changes.append(("unique_key", key))
        fence = (
            f"{run}.id = v.id AND {unindexed or self.unindexed}{run}.status = 'RUNNING' AND {run}.worker_id = v.worker_id "
            f"AND {run}.attempt = v.attempt AND COALESCE({run}.fence, 0) = v.fence"
        )
        if has_retries:
            # Not what was asked to stop, to be tried again.
            fence += f" AND NOT (v.status = 'READY' AND {run}.cancel_requested)"
        return self.update(run, changes, self.source(FINISHED_COLUMNS, rows), fence, self.finished)

    def move_jobs(self, moves: Sequence[tuple[str, datetime]]) -> None:
        """Move jobs to their next firing: id and time of each."""
        rows = [(pk, self.time(at)) for pk, at in moves]
        table = TRIGGER_TABLE
        changes = [("next_run_time", "v.next_run_time")]
        self._execute(self.update(table, changes, self.source(MOVED_COLUMNS, rows), f"{table}.id = v.id"))

    def note_last_runs(self, last_runs: Sequence[tuple[str, int]]) -> None:
        """Note the newest run of jobs: the ids of each job and run."""
        source = self.source(LAST_RUN_COLUMNS, last_runs)
        changes = [("last_run_id", "v.run_id")]
        self._execute(self.update(JOB_TABLE, changes, source, f"{JOB_TABLE}.djangojob_ptr_id = v.id"))

    def _execute(self, statement: Statement) -> None:
        with self.connection.cursor() as cursor:
            cursor.execute(*statement)

    def count_unfinished(self, job_ids: Sequence[str]) -> dict[str, tuple[int, int]]:
        """Return how many unfinished runs each of some jobs has, and how many of them wait for their turn.

        Jobs without unfinished runs are left out.
        """
        marks = ",".join(["%s"] * len(job_ids))
        with self.connection.cursor() as cursor:
            cursor.execute(
                "SELECT job_id, COUNT(*), COUNT(CASE WHEN waits_for = 'turn' THEN 1 END) "  # noqa: S608
                f"FROM {RUN_TABLE} WHERE status IN ('READY', 'RUNNING') AND job_id IN ({marks}) GROUP BY job_id",
                list(job_ids),
            )
            return {job_id: (count, waiting) for job_id, count, waiting in cursor.fetchall()}

    def look_for_due(self) -> tuple[bool, bool]:
        """Return whether a run is due, and whether a job is; either may be for somebody else."""
        with self.connection.cursor() as cursor:
            cursor.execute(
                f"SELECT COALESCE((SELECT MIN(run_after) FROM {RUN_TABLE} WHERE status = 'READY') <= {self.now}, "  # noqa: S608
                f"FALSE), COALESCE({_NEXT_DUE} <= {self.now}, FALSE)",
                [],
            )
            is_run_due, is_job_due = cursor.fetchone()
        return bool(is_run_due), bool(is_job_due)

    def seconds_until_job(self) -> float | None:
        """Return how long until the next job is due, negative when it is late; None without one."""
        with self.connection.cursor() as cursor:
            cursor.execute(*self.clocked(lambda words: (f"SELECT {_NEXT_DUE}, {words.now}", [])))
            due, now = cursor.fetchone()
        if due is None:
            return None
        return (read_time(due, self.zone) - read_time(now, self.zone)).total_seconds()

    def add_rollups(self, rows: Sequence[Row]) -> None:
        """Add to statistics, rows of `ROLLUP_KEY` and `ROLLUP_SUMS`; those that are not there begin at zero."""
        table = ROLLUP_TABLE
        columns = (*ROLLUP_KEY, *ROLLUP_SUMS)
        added, params = self.source(columns, rows)
        sums = ", ".join(f"{name} = {table}.{name} + excluded.{name}" for name, _ in ROLLUP_SUMS)
        # WHERE, or SQLite would take ON CONFLICT for the condition of a join.
        statement = (
            f"INSERT INTO {table} ({', '.join(name for name, _ in columns)}) {added} WHERE TRUE "
            f"ON CONFLICT ({', '.join(name for name, _ in ROLLUP_KEY)}) DO UPDATE SET {sums}"
        )
        self._execute((statement, params))

    def heartbeat(
        self, worker_id: str, host: str, *, lease_seconds: float, has_clock: bool, future: float
    ) -> Row | None:
        """Extend one worker's lease, and read what one with nothing to do has to know.

        Args:
            worker_id: Of the worker.
            host: Where it is, as in its row.
            lease_seconds: From now.
            has_clock: Whether the next due job is of interest.
            future: Seconds from now after which no heartbeat can be.

        Returns:
            Values in the order of `leases.Heartbeat`'s fields; None when it was declared dead.
        """
        beat, params = self._beat(worker_id, lease_seconds)
        state, more = self._state(worker_id, host, has_clock=has_clock, future=future)
        with self.connection.cursor() as cursor:
            cursor.execute(f"{beat} RETURNING {state}", [*params, *more])
            row: Row | None = cursor.fetchone()
        return row

    def _beat(self, worker_id: str, lease_seconds: float) -> Statement:
        later, params = self.later(lease_seconds)
        return (
            f"UPDATE {WORKER_TABLE} SET heartbeat_at = {self.now}, lease_expires_at = {later} "  # noqa: S608
            "WHERE id = %s AND stopped_at IS NULL",
            [*params, worker_id],
        )

    def _state(self, worker_id: str, host: str, *, has_clock: bool, future: float) -> Statement:
        latest, latest_params = self.later(future)
        live = (
            f"SELECT 1 FROM {WORKER_TABLE} w WHERE w.id = r.worker_id AND w.stopped_at IS NULL "  # noqa: S608
            f"AND w.lease_expires_at >= {self.now} AND w.heartbeat_at <= {latest}"
        )
        columns = ", ".join(
            (
                self.now,
                f"(SELECT MIN(run_after) FROM {RUN_TABLE} WHERE status = 'READY')",  # noqa: S608
                _NEXT_DUE if has_clock else "NULL",
                f"(SELECT COUNT(*) FROM {RUN_TABLE} WHERE status = 'RUNNING' AND worker_id = %s)",  # noqa: S608
                f"EXISTS (SELECT 1 FROM {RUN_TABLE} r WHERE r.status = 'RUNNING' AND NOT EXISTS ({live}))",  # noqa: S608
                f"(SELECT {self.array.format(self.pair.format('w.id, w.process_key'))} "  # noqa: S608
                f"FROM {WORKER_TABLE} w WHERE w.stopped_at IS NULL AND w.host = %s AND w.id <> %s)",
            )
        )
        return columns, [worker_id, *latest_params, host, worker_id]
