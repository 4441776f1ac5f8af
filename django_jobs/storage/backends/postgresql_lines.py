"""PostgreSQL: the lines of keys with a limit, the turns of fair keys, and words for its planner."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from django_jobs.storage.backends.base import Backend
from django_jobs.storage.backends.claiming import claimed_run
from django_jobs.storage.backends.limiting import BY_PRIORITY, LINE, OPEN
from django_jobs.storage.backends.turns import MOST_COUNTED, NOT_TOLD, WAITING
from django_jobs.storage.backends.words import Words
from django_jobs.storage.records import CLAIMED_COLUMNS
from django_jobs.storage.tables import RUN_TABLE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from django_jobs.storage.backends.claiming import Scope
    from django_jobs.storage.backends.words import Statement
    from django_jobs.storage.records import ClaimedRun

# What a plan does that does not read a line in the order of its index.
_UNSORTED = ("sort", "incremental_sort", "bitmapscan")
CLAIMED = ", ".join(f"{RUN_TABLE}.{column}" for column in CLAIMED_COLUMNS)


class Hinted(Words):
    """A database whose planner is told what not to do."""

    __slots__ = ()

    @property
    def is_hinted(self) -> bool:
        """Whether two statements can be sent as one: not with psycopg 2, nor as a prepared statement."""
        options = self.connection.settings_dict["OPTIONS"]
        driver = self.connection.Database.__name__  # type: ignore[attr-defined] # psycopg's wrapper has it
        return driver == "psycopg" and not options.get("server_side_binding")

    def _hints(self, *plans: str) -> tuple[str, str]:
        """Words before and after a statement that forbid the planner some plans for it; none where they cannot be sent."""
        return (planning("off", *plans), planning("on", *plans)) if self.is_hinted else ("", "")


class PostgreSQLLines(Hinted, Backend):
    """See `Limiting`, `Following` and `Turns`."""

    __slots__ = ()

    def let_in(self, most: Mapping[str, int], *, order: str = BY_PRIORITY) -> dict[str, int]:
        """See `Limiting`; one statement for all keys."""
        source, params = self.source((("k", "text"), ("most", "int")), list(most.items()))
        first = self._first_in_lines(f"GREATEST(0, {self._room})", order)
        # As for a claim, and over again before the transaction goes on, which may be anybody's. Turns are sorted.
        plans = _UNSORTED if order == BY_PRIORITY else ("bitmapscan",)
        before, after = self._hints(*plans)
        with self.connection.cursor() as cursor:
            cursor.execute(
                f"{before}{self._made_due} WHERE id = ANY(ARRAY("  # noqa: S608
                f"SELECT r.id FROM ({source}) v CROSS JOIN LATERAL ({first}) r)) RETURNING limit_key; {after}",
                params,
            )
            if before:
                cursor.nextset()
            return dict(Counter(row[0] for row in cursor.fetchall()))

    def follow(
        self, worker_id: str, fence: int, scope: Scope, ended: Mapping[str, tuple[int, int]]
    ) -> list[ClaimedRun]:
        """See `Following`; one statement for all keys."""
        columns = (("k", "text"), ("most", "int"), ("ended", "int"))
        source, params = self.source(columns, [(key, *counts) for key, counts in ended.items()])
        first = self._first_in_lines(f"GREATEST(0, LEAST(v.ended, {self._room}))")
        where, names = self._of_worker(worker_id, scope)
        before, after = self._hints(*_UNSORTED)
        with self.connection.cursor() as cursor:
            cursor.execute(
                f"{before}{self._take_from_line(RUN_TABLE)} WHERE id = ANY(ARRAY("  # noqa: S608
                f"SELECT r.id FROM ({source}) v CROSS JOIN LATERAL ({first}) r)) AND {where} "
                f"RETURNING {CLAIMED}; {after}",
                [worker_id, fence, *params, *names],
            )
            if before:
                cursor.nextset()
            return [claimed_run(row) for row in cursor.fetchall()]

    def read_in_order(self, statement: str, params: Sequence[Any]) -> list[Any]:
        """See `Words`."""
        before, after = self._hints(*_UNSORTED)
        with self.connection.cursor() as cursor:
            cursor.execute(f"{before}{statement}; {after}", params)
            if before:
                cursor.nextset()
            return list(cursor.fetchall())

    @staticmethod
    def _first_in_line(key: str, room: int, order: str = BY_PRIORITY) -> Statement:
        # As for `_first_in_lines`.
        return Backend._first_in_line(key, room, f"run_after, {order}")

    @property
    def _room(self) -> str:
        """How many more of a key `v` may be RUNNING or due."""
        of_key = f"FROM {RUN_TABLE} r WHERE r.limit_key = v.k AND r.{OPEN} AND"
        # In an order that one index has: to statistics older than a backlog that of what is due looks as good.
        due = (
            f"SELECT r.run_after {of_key} r.status = 'READY' AND r.run_after <= {self.now} "
            "ORDER BY r.run_after, r.priority DESC, r.id LIMIT v.most"
        )
        return f"v.most - (SELECT COUNT(*) {of_key} r.status = 'RUNNING') - (SELECT COUNT(*) FROM ({due}) d)"  # noqa: S608

    @staticmethod
    def _first_in_lines(most: str, order: str = BY_PRIORITY) -> str:
        """Select and lock the first runs in the line of a key `v`."""
        # By `run_after`, which is empty in all of them, too: no other order is taken from the index.
        return (
            f"SELECT id FROM {RUN_TABLE} WHERE {LINE} AND limit_key = v.k "  # noqa: S608
            f"ORDER BY run_after, {order} LIMIT {most} FOR UPDATE SKIP LOCKED"
        )

    def _held_of(self, key: str) -> str:
        due = f"{_of_fair_key(key, 'waits_for IS NULL')} LIMIT {MOST_COUNTED}"
        return f"((SELECT COUNT(*) FROM ({due}) d WHERE d.run_after <= {self.now}) + {self._in_line_of(key)})"  # noqa: S608

    @staticmethod
    def _in_line_of(key: str) -> str:
        # Each wait for itself, or all are passed that wait for their turn.
        lines = [_of_fair_key(key, f"waits_for = '{wait}'") for wait in ("limit", "order")]
        return " + ".join(
            f"(SELECT COUNT(*) FROM ({line}) l WHERE l.held_run_after IS NULL)"  # noqa: S608
            for line in lines
        )

    def take_turns(self, keys: Sequence[str], most: int, line: str = "") -> dict[str, tuple[int, int]]:
        """See `Turns`; one statement for all keys."""
        source, params = self.source((("k", "text"),), [(key,) for key in keys])
        first = (
            f"SELECT id FROM {RUN_TABLE} WHERE {WAITING} AND fair_key = v.k "  # noqa: S608
            "ORDER BY run_after, id LIMIT GREATEST(0, %s - v.held) FOR UPDATE SKIP LOCKED"
        )
        # Two arrays that are made once: a look into `first` for each run reads all of it.
        ids, places = ("ARRAY(SELECT f.id FROM first f)", "ARRAY(SELECT f.place FROM first f)")
        place = f"({places})[ARRAY_POSITION({ids}, {RUN_TABLE}.id)]"
        at = f"{self.now} + ({place} - %s) * INTERVAL '1 microsecond'"
        waits_for = f"'{line}'" if line else "NULL"
        due = f"run_after = {'NULL' if line else at}, turn_at = {at}, waits_for = {waits_for}"
        before, after = self._hints(*_UNSORTED)
        with self.connection.cursor() as cursor:
            cursor.execute(
                f"{before}WITH v AS MATERIALIZED (SELECT s.k, {self._held_of('s.k')} AS held FROM ({source}) s), "  # noqa: S608
                "first AS MATERIALIZED (SELECT r.id, r.place FROM v CROSS JOIN LATERAL "
                # No order of its own: a plan that cannot but sort looks so dear that it is compiled (1.5 s).
                f"(SELECT w.id, ROW_NUMBER() OVER () AS place FROM ({first}) w) r), "
                f"made AS (UPDATE {RUN_TABLE} SET {due}, {NOT_TOLD} "
                f"WHERE id = ANY({ids}) RETURNING fair_key) SELECT v.k, v.held, 0 FROM v "
                f"UNION ALL SELECT m.fair_key, NULL, COUNT(*) FROM made m GROUP BY m.fair_key; {after}",
                [*params, most, *([most] if line else [most, most])],
            )
            if before:
                cursor.nextset()
            rows = cursor.fetchall()
        made = {key: count for key, held, count in rows if held is None}
        return {key: (held, made.get(key, 0)) for key, held, _ in rows if held is not None}


def _of_fair_key(key: str, waits: str) -> str:
    """Select waiting runs of a key in an order that one index has: to old statistics any other looks as good."""
    return (
        f"SELECT run_after, held_run_after FROM {RUN_TABLE} h WHERE status = 'READY' AND fair_key IS NOT NULL "  # noqa: S608
        f"AND h.fair_key = {key} AND {waits} ORDER BY waits_for, run_after, id"
    )


def planning(word: str, *plans: str) -> str:
    """Words before a statement that forbid the planner some plans for it, in the same round trip; or allow them.

    As by SET LOCAL: over with the transaction, so a transaction pooler's next client sees nothing. What a role or
    session forbids is allowed, too, for the rest of a transaction in which it was allowed again.
    """
    settings = ", ".join(f"set_config('enable_{plan}', '{word}', true)" for plan in plans)
    return f"SELECT {settings}; "
