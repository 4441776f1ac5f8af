"""Insert runs, and look at those that have the key of one that is to be inserted."""

from __future__ import annotations

from datetime import datetime, timedelta
from operator import attrgetter
from typing import TYPE_CHECKING, Any, ClassVar

from django_jobs.models import Run
from django_jobs.storage.backends.claiming import Claiming
from django_jobs.storage.backends.values import read_json, read_time
from django_jobs.storage.records import INSERTED_COLUMNS, OPTIONAL_COLUMNS
from django_jobs.storage.tables import RUN_TABLE
from django_jobs.storage.unique_keys import Holder

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django_jobs.storage.backends.words import Statement
    from django_jobs.storage.records import NewRun

_HOLDERS_TIMES = ("enqueued_at", "run_after", "held_run_after", "now")
# Columns besides its batch that few runs have a value for.
_rare = attrgetter(*(name for name in OPTIONAL_COLUMNS if name != "batch_id"))
_NOTHING_RARE = (None,) * (len(OPTIONAL_COLUMNS) - 1)


def _is_due_now(run: NewRun) -> bool:
    return run.run_after == "now" and run.status == "READY" and _rare(run) == _NOTHING_RARE


class Inserting(Claiming):
    """The operations of whoever adds runs."""

    __slots__ = ()

    # What a SELECT without a table needs before its WHERE.
    no_table: ClassVar[str] = ""
    # What keeps others from changing a row that is read, or from claiming it.
    row_lock: ClassVar[str] = "FOR UPDATE"
    shared_lock: ClassVar[str] = "FOR SHARE"

    def insert(self, runs: Sequence[NewRun]) -> list[int]:
        """Insert runs in one statement; return their ids, or none of several where MySQL does not say."""
        are_many = len(runs) > 1 and all(_is_due_now(run) for run in runs)
        with self.connection.cursor() as cursor:
            cursor.execute(*(self._insert_many(runs) if are_many else self._insert(runs)))
            if self.connection.features.can_return_rows_from_bulk_insert:
                return [row[0] for row in cursor.fetchall()]
            return [cursor.lastrowid] if len(runs) == 1 else []

    def insert_unless_taken(self, run: NewRun) -> int | None:
        """Insert a run and return its id; None, and nothing is inserted, when its `unique_key` is taken.

        Where a transaction that has not ended took it, this waits for its end.
        """
        with self.connection.cursor() as cursor:
            cursor.execute(*self._insert([run], conflict="ON CONFLICT (unique_key) DO NOTHING"))
            row = cursor.fetchone()
        return None if row is None else row[0]

    def holder_of(self, unique_key: str) -> Holder | None:
        """Return the run that has a key; None when none has."""
        return self._holder("unique_key = %s", [unique_key])

    def lock_holder(self, unique_key: str, *, is_shared: bool) -> Holder | None:
        """Keep the READY run that has a key from being claimed until the transaction under way ends.

        Args:
            unique_key: Of the run.
            is_shared: Others may keep it from being claimed, too, but not change it.

        Returns:
            The run; None when no READY run has the key.
        """
        lock = self.shared_lock if is_shared else self.row_lock
        return self._holder("unique_key = %s AND status = 'READY'", [unique_key], lock)

    def _holder(self, condition: str, params: list[Any], lock: str = "", hint: str = "") -> Holder | None:
        columns = f"{', '.join(Holder._fields[:-1])}, {self.now}"
        with self.connection.cursor() as cursor:
            cursor.execute(f"SELECT {columns} FROM {RUN_TABLE} {hint} WHERE {condition} {lock}", params)  # noqa: S608
            row = cursor.fetchone()
        if row is None:
            return None
        holder: dict[str, Any] = dict(zip(Holder._fields, row, strict=True))
        for name in _HOLDERS_TIMES:
            if holder[name] is not None:
                holder[name] = read_time(holder[name], self.zone)
        holder["options"] = read_json(holder["options"]) or {}
        return Holder(**holder)

    def insert_unless_paused(self, run: NewRun) -> int | None:
        """Insert a run that begins with it, and return its id; None when its queue is paused."""
        statement, params = self._insert([run], f"WHERE NOT EXISTS ({self.paused} AND q.name = %s)")
        with self.connection.cursor() as cursor:
            cursor.execute(statement, [*params, run.queue_name])
            if not self.connection.features.can_return_rows_from_bulk_insert:
                return cursor.lastrowid if cursor.rowcount else None
            row = cursor.fetchone()
            return None if row is None else row[0]

    def _insert_many(self, runs: Sequence[NewRun]) -> Statement:
        """Insert runs that are all due now: what they have in common is sent once, and the rest as one value.

        A placeholder for each value costs the driver more than all else: with psycopg 38 % of the processor's
        time of a firing.
        """
        types = {field.column: field.db_type(self.connection) or "" for field in Run._meta.concrete_fields}
        more = ("batch_id",) if any(run.batch_id is not None for run in runs) else ()
        columns = [(name, types[name]) for name in (*INSERTED_COLUMNS, *more)]
        values = [[*run.row(self.time), *(getattr(run, name) for name in more)] for run in runs]
        rows, params = self.source(columns, values)
        now, now_params = self.now_as_value
        names = ",".join((*INSERTED_COLUMNS, *more))
        returning = " RETURNING id" if self.connection.features.can_return_rows_from_bulk_insert else ""
        return (
            f"INSERT INTO {RUN_TABLE} ({names},run_after,enqueued_at,rescues,cancel_requested,log) "  # noqa: S608
            f"SELECT {names},{now},{now},0,FALSE,'' FROM ({rows}) v{returning}",
            [*now_params, *now_params, *params],
        )

    def _insert(self, runs: Sequence[NewRun], condition: str = "", conflict: str = "") -> Statement:
        marks = ",".join(self.json if c == "options" else "%s" for c in INSERTED_COLUMNS)
        moment = now, now_params = self.now_as_value
        values: list[str] = []
        params: list[Any] = []
        more = [name for name in OPTIONAL_COLUMNS if any(getattr(run, name) is not None for run in runs)]
        more_marks = ",%s" * len(more)
        for run in runs:
            after, after_params = self._run_after(run, moment)
            is_ended = run.status not in {"READY", "RUNNING"}
            started = now if run.status == "RUNNING" else "NULL"
            values.append(
                f"{marks},{after},{now},{started},{now if is_ended else 'NULL'},0,FALSE,''{more_marks}"
            )
            params.extend(run.row(self.time))
            params.extend(after_params)
            # Enqueued; and started or finished.
            params.extend(now_params if run.status == "READY" else now_params * 2)
            params += [getattr(run, name) for name in more]
        columns = ",".join(INSERTED_COLUMNS)
        # Of one run only where there is a condition.
        rows = f"VALUES ({'),('.join(values)})"
        source = f"SELECT {values[0]} {self.no_table} {condition}" if condition else rows
        returning = " RETURNING id" if self.connection.features.can_return_rows_from_bulk_insert else ""
        return (
            f"INSERT INTO {RUN_TABLE} ({columns},run_after,enqueued_at,started_at,finished_at,rescues,"
            f"{','.join(['cancel_requested', 'log', *more])}) {source} {conflict}{returning}",
            params,
        )

    def _run_after(self, run: NewRun, now: Statement) -> Statement:
        if isinstance(run.run_after, timedelta):
            return self.later(run.run_after.total_seconds())
        if isinstance(run.run_after, datetime):
            return "%s", [self.time(run.run_after)]
        return ("NULL", []) if run.run_after == "held" else now
