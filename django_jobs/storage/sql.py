"""The statements of the queue, worded for each database.

Literal states instead of parameters: only then do SQLite and PostgreSQL use the partial indexes.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from django_jobs.models import RAN_BINS, WAITED_BINS
from django_jobs.storage.records import CLAIMED_COLUMNS, INSERTED_COLUMNS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django.db.backends.base.base import BaseDatabaseWrapper

RUN_TABLE = "django_jobs_run"
WORKER_TABLE = "django_jobs_worker"
JOB_TABLE = "django_jobs_job"
QUEUE_TABLE = "django_jobs_queue"
# django-apscheduler's part of a job.
TRIGGER_TABLE = "django_apscheduler_djangojob"
TALLY_TABLE = "django_jobs_tally"

# Names and SQL types of rows that update statements join; the types are PostgreSQL's words.
FINISHED_COLUMNS = (
    ("id", "bigint"), ("attempt", "int"), ("worker_id", "text"), ("status", "text"),
    ("retry_in", "float8"), ("started_at", "timestamptz"), ("finished_at", "timestamptz"),
    ("result", "text"), ("error", "text"), ("errors", "jsonb"), ("log", "text"), ("progress", "jsonb"),
)  # fmt: skip
_PLAIN_COLUMNS = ("status", "started_at", "finished_at", "result", "error", "errors", "log")
MOVED_COLUMNS = (("id", "text"), ("next_run_time", "timestamptz"))
LAST_RUN_COLUMNS = (("id", "text"), ("run_id", "bigint"))
# What a tally is of, and what is added up in it.
TALLY_KEY = (
    ("size_seconds", "int"), ("begins_at", "timestamptz"), ("func", "text"), ("queue_name", "text"),
    ("outcome", "text"),
)  # fmt: skip
TALLY_SUMS = (
    ("runs", "bigint"), ("ran_seconds", "float8"), ("waited_seconds", "float8"),
    *((name, "int") for name in (*RAN_BINS, *WAITED_BINS)),
)  # fmt: skip

_NEXT_DUE = (
    f"(SELECT t.next_run_time FROM {JOB_TABLE} j JOIN {TRIGGER_TABLE} t ON t.id = j.djangojob_ptr_id "  # noqa: S608
    "WHERE j.broken_reason <= '' AND t.next_run_time IS NOT NULL ORDER BY t.next_run_time LIMIT 1)"
)

Statement = tuple[str, list[Any]]


@dataclass(frozen=True, slots=True)
class Dialect:
    """The statements in the words of one database; subclasses say where it differs."""

    connection: BaseDatabaseWrapper

    json: ClassVar[str] = "%s"
    # Aggregate an expression, and make one value of two, as JSON.
    array: ClassVar[str]
    pair: ClassVar[str] = "JSON_ARRAY({})"
    # Whether `finish` returns what it has written. Otherwise it is asked for when something is missing.
    returns_finished: ClassVar[bool] = True
    # Put before a column that the planner should not look for an index of.
    unindexed: ClassVar[str] = ""

    @property
    def now(self) -> str:
        """The database's time, which decides leases and due times."""
        raise NotImplementedError

    def later(self, seconds: float) -> Statement:
        """Now and some seconds, by the database's clock."""
        raise NotImplementedError

    def delay(self, seconds: float | None) -> Any:
        """Return what a row's `retry_in` holds for a delay; None for none."""
        return seconds

    def after_delay(self) -> str:
        """The time of a row's `v.retry_in` from now, by the database's clock; NULL for none."""
        raise NotImplementedError

    def time(self, moment: datetime | None) -> Any:
        """Return a datetime as this database's driver takes it."""
        return self.connection.ops.adapt_datetimefield_value(moment) if moment else None

    def insert(self, rows: Sequence[Sequence[Any]], run_afters: Sequence[datetime | str | None]) -> Statement:
        """Insert runs; a `run_after` of "now" is the database's, of "held" is none."""
        marks = ",".join(self.json if c == "options" else "%s" for c in INSERTED_COLUMNS)
        now = self.now
        values: list[str] = []
        params: list[Any] = []
        for row, run_after in zip(rows, run_afters, strict=True):
            status = row[INSERTED_COLUMNS.index("status")]
            after = now if run_after == "now" else "NULL" if run_after == "held" else "%s"
            started = now if status == "RUNNING" else "NULL"
            finished = "NULL" if status in {"READY", "RUNNING"} else now
            values.append(f"({marks},{after},{now},{started},{finished},0,FALSE,'')")
            params.extend(row)
            if after == "%s":
                params.append(self.time(run_after))  # type: ignore[arg-type]
        columns = ",".join(INSERTED_COLUMNS)
        returning = " RETURNING id" if self.connection.features.can_return_rows_from_bulk_insert else ""
        return (
            f"INSERT INTO {RUN_TABLE} ({columns},run_after,enqueued_at,started_at,finished_at,rescues,"  # noqa: S608
            f"cancel_requested,log) VALUES {','.join(values)}{returning}",
            params,
        )

    def ready(self, worker_id: str, queues: Sequence[str], paused: Sequence[str]) -> Statement:
        """Condition of the runs that one worker may claim: none once it was declared dead."""
        sql = (
            f"status = 'READY' AND run_after <= {self.now} AND EXISTS "  # noqa: S608
            f"(SELECT 1 FROM {WORKER_TABLE} w WHERE w.id = %s AND w.stopped_at IS NULL)"
        )
        more, names = self._of_queues(queues, paused)
        return sql + more, [worker_id, *names]

    @staticmethod
    def _of_queues(queues: Sequence[str], paused: Sequence[str]) -> Statement:
        """More of a condition: only some queues, or all but some."""
        sql = ""
        params: list[Any] = []
        for names, word in ((queues, "IN"), (paused, "NOT IN")):
            if names:
                sql += f" AND queue_name {word} ({','.join(['%s'] * len(names))})"
                params.extend(names)
        return sql, params

    def pick(
        self,
        worker_id: str,
        queues: Sequence[str],
        paused: Sequence[str],
        limit: int,
        columns: str = "id",
    ) -> Statement:
        """Select what to claim: by priority, then due time, then id."""
        where, params = self.ready(worker_id, queues, paused)
        most, names = self.most(queues, paused, limit)
        return (
            f"SELECT {columns} FROM {RUN_TABLE} WHERE {where} "  # noqa: S608
            f"ORDER BY priority DESC, run_after, id LIMIT {most}",
            [*params, *names],
        )

    def most(self, queues: Sequence[str], paused: Sequence[str], limit: int) -> Statement:
        """How many runs to pick: an expression that is read once, before any row."""
        return "%s", [limit]

    @property
    def _some_due(self) -> str:
        """Condition that a run is due, whose ever; from the index, however many wait for later."""
        return f"(SELECT MIN(d.run_after) FROM {RUN_TABLE} d WHERE d.status = 'READY') <= {self.now}"  # noqa: S608

    def claim(self, worker_id: str, queues: Sequence[str], paused: Sequence[str], limit: int) -> Statement:
        """Take ready runs and return their `CLAIMED_COLUMNS`."""
        raise NotImplementedError

    def claim_dispatched(self, worker_id: str, run_id: int, attempt: int) -> Statement:
        """Take one run that is due in a certain attempt, unless its queue is paused."""
        ready, params = self.ready(worker_id, (), ())
        return (
            f"{self._take()} WHERE {ready} AND id = %s AND attempt = %s AND NOT EXISTS "  # noqa: S608
            f"(SELECT 1 FROM {QUEUE_TABLE} q WHERE q.name = queue_name AND q.paused_at IS NOT NULL)",
            [worker_id, *params, run_id, attempt - 1],
        )

    def _take(self, table: str = RUN_TABLE) -> str:
        return (
            f"UPDATE {table} SET status = 'RUNNING', attempt = attempt + 1, worker_id = %s, "  # noqa: S608
            f"started_at = {self.now}, cancel_requested = FALSE, progress = NULL, held_run_after = NULL, "
            "dispatched_at = NULL, redispatch_at = NULL"
        )

    def source(self, columns: Sequence[tuple[str, str]], rows: Sequence[Sequence[Any]]) -> Statement:
        """A derived table of rows that an UPDATE can join; `columns` are names and SQL types.

        What all rows have in common is sent once: most of many outcomes differs in little.
        """
        first = rows[0]
        varying = [index for index in range(len(columns)) if _differs(rows, index)]
        picked: list[str] = []
        params: list[Any] = []
        for index, (name, kind) in enumerate(columns):
            if index in varying:
                picked.append(f"{self.element(varying.index(index), kind)} AS {name}")
            else:
                picked.append(f"{self.constant(kind)} AS {name}")
                params.append(first[index])
        table, more = self.elements([[row[index] for index in varying] for row in rows])
        return f"SELECT {', '.join(picked)} FROM {table}", [*params, *more]  # noqa: S608

    def elements(self, rows: Sequence[Sequence[Any]]) -> Statement:
        """A table `e` of the rows, which may be empty ones."""
        raise NotImplementedError

    def element(self, index: int, kind: str) -> str:
        """What a row of `elements` has at an index, as an SQL type."""
        raise NotImplementedError

    def constant(self, kind: str) -> str:
        """A parameter, as an SQL type."""
        raise NotImplementedError

    def update(
        self,
        table: str,
        changes: Sequence[tuple[str, str]],
        source: Statement,
        where: str,
        returning: str = "",
    ) -> Statement:
        """Update a table from the rows `v`; `changes` are columns and expressions."""
        rows, params = source
        assignments = ", ".join(f"{column} = {value}" for column, value in changes)
        ending = f" RETURNING {returning}" if returning else ""
        return f"UPDATE {table} SET {assignments} FROM ({rows}) v WHERE {where}{ending}", params  # noqa: S608

    def finish(self, rows: Sequence[Sequence[Any]], *, has_keys: bool = True) -> Statement:
        """Write outcomes, rows of `FINISHED_COLUMNS`; return id and attempt of those written, or none.

        Args:
            rows: At least one.
            has_keys: Whether any of the runs may have a `unique_key`.
        """
        run = RUN_TABLE
        names = [name for name, _ in FINISHED_COLUMNS]
        status, progress = names.index("status"), names.index("progress")
        changes = [(name, f"v.{name}") for name in _PLAIN_COLUMNS]
        # What is set is written, and its indexes with it, even to what it was.
        if any(row[progress] for row in rows):
            changes.append(("progress", f"COALESCE(v.progress, {run}.progress)"))
        if any(row[status] == "READY" for row in rows):
            # Held, if its job was paused while it ran. What neither is tried again is broken: both are NULL.
            delayed = f"CASE WHEN {run}.held_run_after IS NULL THEN {self.after_delay()} END"
            after = f"CASE WHEN v.status = 'READY' THEN {delayed} ELSE {run}.run_after END"
            held = f"{run}.held_run_after IS NOT NULL AND v.status = 'READY'"
            changes.append(("run_after", after))
            changes.append(("held_run_after", f"CASE WHEN {held} THEN {self.after_delay()} END"))
        if has_keys:
            # An id is free for the next job once this one has ended; a firing is taken for ever.
            key = (
                f"CASE WHEN v.status = 'READY' OR {run}.scheduled_at IS NOT NULL "
                f"THEN {run}.unique_key ELSE NULL END"
            )
            changes.append(("unique_key", key))
        fence = (
            f"{run}.id = v.id AND {self.unindexed}{run}.status = 'RUNNING' AND {run}.worker_id = v.worker_id "
            f"AND {run}.attempt = v.attempt"
        )
        if any(row[status] == "READY" for row in rows):
            # Not what was asked to stop, to be tried again.
            fence += f" AND NOT (v.status = 'READY' AND {run}.cancel_requested)"
        written = f"{run}.id, {run}.attempt" if self.returns_finished else ""
        return self.update(run, changes, self.source(FINISHED_COLUMNS, rows), fence, written)

    def move_jobs(self, rows: Sequence[Sequence[Any]]) -> Statement:
        """Move jobs to their next firing: rows of `MOVED_COLUMNS`."""
        table = "django_apscheduler_djangojob"
        source = self.source(MOVED_COLUMNS, rows)
        return self.update(table, [("next_run_time", "v.next_run_time")], source, f"{table}.id = v.id")

    def note_last_runs(self, rows: Sequence[Sequence[Any]]) -> Statement:
        """Note the newest run of jobs: rows of `LAST_RUN_COLUMNS`."""
        source = self.source(LAST_RUN_COLUMNS, rows)
        return self.update(
            JOB_TABLE, [("last_run_id", "v.run_id")], source, f"{JOB_TABLE}.djangojob_ptr_id = v.id"
        )

    def unfinished_runs(self, job_ids: Sequence[str]) -> Statement:
        """Count the unfinished runs of each of some jobs."""
        marks = ",".join(["%s"] * len(job_ids))
        return (
            f"SELECT job_id, COUNT(*) FROM {RUN_TABLE} WHERE status IN ('READY', 'RUNNING') "  # noqa: S608
            f"AND job_id IN ({marks}) GROUP BY job_id",
            list(job_ids),
        )

    def next_ready(self, queues: Sequence[str], paused: Sequence[str], within: float) -> Statement:
        """Select when the next deferred run is due, if it is within some seconds, and the time now."""
        later, params = self.later(within)
        where, names = self._of_queues(queues, paused)
        return (
            f"SELECT MIN(run_after), {self.now} FROM {RUN_TABLE} "  # noqa: S608
            f"WHERE status = 'READY' AND run_after > {self.now} AND run_after <= {later}{where}",
            [*params, *names],
        )

    def due(self) -> Statement:
        """Select whether a run is due, and whether a job is; either may be for somebody else."""
        return (
            f"SELECT COALESCE((SELECT MIN(run_after) FROM {RUN_TABLE} WHERE status = 'READY') <= {self.now}, "  # noqa: S608
            f"FALSE), COALESCE({_NEXT_DUE} <= {self.now}, FALSE)",
            [],
        )

    def add_tallies(self, rows: Sequence[Sequence[Any]]) -> Statement:
        """Add to statistics, rows of `TALLY_KEY` and `TALLY_SUMS`; those that are not there begin at zero."""
        table = TALLY_TABLE
        columns = (*TALLY_KEY, *TALLY_SUMS)
        added, params = self.source(columns, rows)
        sums = ", ".join(f"{name} = {table}.{name} + excluded.{name}" for name, _ in TALLY_SUMS)
        return (
            # WHERE, or SQLite would take ON CONFLICT for the condition of a join.
            f"INSERT INTO {table} ({', '.join(name for name, _ in columns)}) {added} WHERE TRUE "
            f"ON CONFLICT ({', '.join(name for name, _ in TALLY_KEY)}) DO UPDATE SET {sums}",
            params,
        )

    def heartbeat(self, worker_id: str, lease_seconds: float) -> Statement:
        """Extend one worker's lease, unless it was declared dead."""
        later, params = self.later(lease_seconds)
        return (
            f"UPDATE {WORKER_TABLE} SET heartbeat_at = {self.now}, lease_expires_at = {later} "  # noqa: S608
            "WHERE id = %s AND stopped_at IS NULL",
            [*params, worker_id],
        )

    def state(self, worker_id: str, host: str, *, has_clock: bool, future: float) -> Statement:
        """Select, as columns, what a worker with nothing to do has to know; see `queue.Heartbeat`.

        Args:
            worker_id: Who asks.
            host: Where it is, as in its row.
            has_clock: Whether the next due job is of interest.
            future: Seconds from now after which no heartbeat can be.
        """
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
                f"(SELECT {self.array.format('name')} FROM {QUEUE_TABLE} WHERE paused_at IS NOT NULL)",  # noqa: S608
            )
        )
        return columns, [worker_id, *latest_params, host, worker_id]


class PostgreSQL(Dialect):
    """PostgreSQL: SKIP LOCKED, and outcomes as arrays."""

    json = "%s::jsonb"
    array = "JSON_AGG({})"
    pair = "JSON_BUILD_ARRAY({})"

    @property
    def now(self) -> str:
        """See `Dialect`."""
        return "STATEMENT_TIMESTAMP()"

    def later(self, seconds: float) -> Statement:
        """See `Dialect`."""
        return f"{self.now} + %s * INTERVAL '1 second'", [seconds]

    def after_delay(self) -> str:
        """See `Dialect`."""
        return f"{self.now} + v.retry_in * INTERVAL '1 second'"

    def ready(self, worker_id: str, queues: Sequence[str], paused: Sequence[str]) -> Statement:
        """See `Dialect`."""
        # Decided once, before any row: a claim walks the READY rows by their priorities, and would walk
        # all of them to find that none is due.
        where, params = super().ready(worker_id, queues, paused)
        return f"{self._some_due} AND {where}", params

    def claim(self, worker_id: str, queues: Sequence[str], paused: Sequence[str], limit: int) -> Statement:
        """See `Dialect`."""
        pick, params = self.pick(worker_id, queues, paused, limit)
        columns = ", ".join(f"{RUN_TABLE}.{c}" for c in CLAIMED_COLUMNS)
        return (
            # To statistics older than a backlog READY rows are few, and sorting all of them looks cheap:
            # each claim would read the whole queue.
            f"{self._without('sort', 'bitmapscan')}"
            # Materialized: a plan that runs the locked select once per row would take more than the limit.
            f"WITH picked AS MATERIALIZED ({pick} FOR UPDATE SKIP LOCKED) {self._take()} "
            f"FROM picked WHERE {RUN_TABLE}.id = picked.id RETURNING {columns}",
            [*params, worker_id],
        )

    def elements(self, rows: Sequence[Sequence[Any]]) -> Statement:
        """See `Dialect`."""
        # One text: arrays cost the driver ten times as much a row, on the interpreter's lock.
        return "JSON_ARRAY_ELEMENTS(%s::json) AS e", [json.dumps(rows, default=str)]

    def element(self, index: int, kind: str) -> str:
        """See `Dialect`."""
        return f"(e->>{index})::{kind}"

    def constant(self, kind: str) -> str:
        """See `Dialect`."""
        return f"%s::{kind}"

    @property
    def is_hinted(self) -> bool:
        """Whether two statements can be sent as one: not with psycopg 2, nor as a prepared statement."""
        options = self.connection.settings_dict["OPTIONS"]
        driver = self.connection.Database.__name__  # type: ignore[attr-defined] # psycopg's wrapper has it
        return driver == "psycopg" and not options.get("server_side_binding")

    def _without(self, *plans: str) -> str:
        """Words before a statement that forbid the planner some plans for it, in the same round trip.

        As by SET LOCAL: over with the transaction, so a transaction pooler's next client sees nothing.
        """
        if not self.is_hinted:
            return ""
        forbidden = ", ".join(f"set_config('enable_{plan}', 'off', true)" for plan in plans)
        return f"SELECT {forbidden}; "


class SQLite(Dialect):
    """SQLite: one writer at a time, so the UPDATE is its own lock; outcomes as one JSON array."""

    array = "JSON_GROUP_ARRAY({})"
    # The driver lets go of the interpreter's lock for each row that it fetches, and waits for it.
    returns_finished = False
    # Or it would scan all outcomes once for every RUNNING run of the table.
    unindexed = "+"

    @property
    def now(self) -> str:
        """See `Dialect`; SQLite's own clock is this host's too, but stops at milliseconds."""
        return f"'{datetime.now(UTC):%Y-%m-%d %H:%M:%S.%f}'"

    def time(self, moment: datetime | None) -> Any:
        """See `Dialect`."""
        if moment is not None and moment.tzinfo is UTC and self.connection.timezone is UTC:
            # What Django's conversion comes to, without its way there.
            return moment.isoformat(" ")[:-6]
        return super().time(moment)

    def later(self, seconds: float) -> Statement:
        """See `Dialect`."""
        return "%s", [self.time(datetime.now(UTC) + timedelta(seconds=seconds))]

    def delay(self, seconds: float | None) -> Any:
        """See `Dialect`; the time itself, since SQLite's own arithmetic stops at milliseconds."""
        return None if seconds is None else self.time(datetime.now(UTC) + timedelta(seconds=seconds))

    def after_delay(self) -> str:
        """See `Dialect`."""
        return "v.retry_in"

    def most(self, queues: Sequence[str], paused: Sequence[str], limit: int) -> Statement:
        """See `Dialect`."""
        # None where none is due: in WHERE that would be asked for each READY row, all of which are walked
        # by their priorities to find nothing.
        some_due, names = self._some_due_of(queues, paused)
        return f"CASE WHEN {some_due} THEN %s ELSE 0 END", [*names, limit]

    def _some_due_of(self, queues: Sequence[str], paused: Sequence[str]) -> Statement:
        if not queues and not paused:
            return self._some_due, []
        # From name to name on the index of queues, however many runs each has.
        following = f"SELECT MIN(n.queue_name) FROM {RUN_TABLE} n WHERE n.status = 'READY'"  # noqa: S608
        names, params = self._of_queues(queues, paused)
        return (
            f"{self._some_due} AND EXISTS (WITH RECURSIVE waiting(queue_name) AS ({following} UNION ALL "  # noqa: S608
            f"SELECT ({following} AND n.queue_name > waiting.queue_name) FROM waiting "
            "WHERE waiting.queue_name IS NOT NULL) SELECT 1 FROM waiting "
            f"WHERE EXISTS (SELECT 1 FROM {RUN_TABLE} d WHERE d.status = 'READY' "
            f"AND d.queue_name = waiting.queue_name AND d.run_after <= {self.now}){names})",
            params,
        )

    def claim(self, worker_id: str, queues: Sequence[str], paused: Sequence[str], limit: int) -> Statement:
        """See `Dialect`."""
        pick, params = self.pick(worker_id, queues, paused, limit)
        return (
            f"{self._take()} WHERE id IN ({pick}) RETURNING {', '.join(CLAIMED_COLUMNS)}",
            [worker_id, *params],
        )

    def elements(self, rows: Sequence[Sequence[Any]]) -> Statement:
        """See `Dialect`."""
        # Not VALUES: each number of rows would be a statement of its own in the driver's cache, and the
        # planner takes them for so many that it reads the whole table for a Bloom filter.
        return "JSON_EACH(%s) e", [json.dumps(rows)]

    def element(self, index: int, kind: str) -> str:
        """See `Dialect`."""
        return f"JSON_EXTRACT(e.value, '$[{index}]')"

    def constant(self, kind: str) -> str:
        """See `Dialect`."""
        return "%s"


class MariaDB(Dialect):
    """MariaDB and MySQL: no UPDATE that returns rows, so claims and fences lock first.

    `UTC_TIMESTAMP`, because Django stores UTC there whatever the session's time zone is.
    """

    array = "JSON_ARRAYAGG({})"
    # A plan that walks the table instead waits for every row that others hold, and two such
    # statements for each other.
    _by_key: ClassVar[str] = "FORCE INDEX (PRIMARY)"

    @property
    def now(self) -> str:
        """See `Dialect`."""
        return "UTC_TIMESTAMP(6)"

    def later(self, seconds: float) -> Statement:
        """See `Dialect`."""
        return f"{self.now} + INTERVAL %s MICROSECOND", [int(seconds * 1_000_000)]

    def after_delay(self) -> str:
        """See `Dialect`."""
        return f"{self.now} + INTERVAL ROUND(v.retry_in * 1000000) MICROSECOND"

    def claim(self, worker_id: str, queues: Sequence[str], paused: Sequence[str], limit: int) -> Statement:
        """Select and lock what `take` then takes, in the same transaction."""
        pick, params = self.pick(worker_id, queues, paused, limit, ", ".join(CLAIMED_COLUMNS))
        return f"{pick} FOR UPDATE SKIP LOCKED", params

    def take(self, worker_id: str, ids: Sequence[int]) -> Statement:
        """Take the runs that `claim` locked."""
        taken = self._take(f"{RUN_TABLE} {self._by_key}")
        return f"{taken} WHERE id IN ({','.join(['%s'] * len(ids))})", [worker_id, *ids]

    def fence(self, ids: Sequence[int]) -> Statement:
        """Lock those of the runs that are RUNNING; return id, attempt, worker_id and whether to stop."""
        return (
            f"SELECT id, attempt, worker_id, cancel_requested FROM {RUN_TABLE} {self._by_key} "  # noqa: S608
            f"WHERE id IN ({','.join(['%s'] * len(ids))}) AND status = 'RUNNING' FOR UPDATE",
            list(ids),
        )

    def element(self, index: int, kind: str) -> str:
        """See `Dialect`."""
        return f"e.v{index}"

    def constant(self, kind: str) -> str:
        """See `Dialect`."""
        return "%s"

    def elements(self, rows: Sequence[Sequence[Any]]) -> Statement:
        """See `Dialect`; before 10.6 there is no JSON_TABLE."""
        # At least one column: rows may have everything in common.
        width = max(1, len(rows[0]))
        first = "SELECT " + ", ".join(f"%s AS v{index}" for index in range(width))
        others = "SELECT " + ", ".join(["%s"] * width)
        union = " UNION ALL ".join([first, *[others] * (len(rows) - 1)])
        return f"({union}) e", [value for row in rows for value in (row or [None])]

    def update(
        self,
        table: str,
        changes: Sequence[tuple[str, str]],
        source: Statement,
        where: str,
        returning: str = "",
    ) -> Statement:
        """See `Dialect`; nothing is returned."""
        rows, params = source
        assignments = ", ".join(f"{table}.{column} = {value}" for column, value in changes)
        return (
            f"UPDATE ({rows}) v STRAIGHT_JOIN {table} {self._by_key} ON {where} "  # noqa: S608
            f"SET {assignments}",
            params,
        )

    def add_tallies(self, rows: Sequence[Sequence[Any]]) -> Statement:
        """See `Dialect`."""
        columns = [name for name, _ in (*TALLY_KEY, *TALLY_SUMS)]
        marks = f"({','.join(['%s'] * len(columns))})"
        sums = ", ".join(f"{name} = {name} + VALUES({name})" for name, _ in TALLY_SUMS)
        return (
            f"INSERT INTO {TALLY_TABLE} ({', '.join(columns)}) VALUES {','.join([marks] * len(rows))} "  # noqa: S608
            f"ON DUPLICATE KEY UPDATE {sums}",
            [value for row in rows for value in row],
        )


def _differs(rows: Sequence[Sequence[Any]], index: int) -> bool:
    value = rows[0][index]
    return any(row[index] != value for row in rows)


def dialect(connection: BaseDatabaseWrapper) -> Dialect:
    """Return the statements for a connection.

    Raises:
        NotImplementedError: The database is none of SQLite, PostgreSQL, MariaDB and MySQL.
    """
    kinds: dict[str, type[Dialect]] = {"sqlite": SQLite, "postgresql": PostgreSQL, "mysql": MariaDB}
    try:
        return kinds[connection.vendor](connection)
    except KeyError:
        raise NotImplementedError(
            f"django_jobs knows SQLite, PostgreSQL, MariaDB and MySQL, not {connection.vendor}"
        ) from None
