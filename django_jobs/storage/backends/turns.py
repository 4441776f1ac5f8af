"""The runs of fair keys: which of them claims see, and in which order."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, ClassVar

from django_jobs.storage.backends.values import read_time
from django_jobs.storage.backends.words import Words, by_number
from django_jobs.storage.tables import RUN_TABLE

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    from django_jobs.storage.backends.words import Statement

# In the words of the index's condition, or SQLite does not use it.
_READY = "status = 'READY' AND fair_key IS NOT NULL"
# The runs of a key that wait for their turn, and for nothing else. Their `run_after` is empty, which is not said:
# PostgreSQL would take the index of due times, which has them all beside each other.
WAITING = f"{_READY} AND waits_for = 'fair' AND held_run_after IS NULL"
# Those that have theirs, and wait in the line of a limit.
_IN_LINE = f"{_READY} AND waits_for IN ('limit', 'order') AND held_run_after IS NULL"
NOT_TOLD = "dispatched_at = NULL, redispatch_at = NULL"
# Nobody counts further than this how many runs of a key are due.
MOST_COUNTED = 100
# So many of the runs that are due first are looked at for the first of them with a fair key.
MOST_PASSED = 200


class Turns(Words):
    """The operations on fair keys. A key is `Run.fair_key`."""

    __slots__ = ()

    # Put before a column that the planner should not look for an index of.
    unindexed: ClassVar[str] = ""

    def _held_of(self, key: str) -> str:
        """Return an expression of how many runs of a key have their turn: they are due, or wait for their limit."""
        return (
            f"((SELECT COUNT(*) FROM {RUN_TABLE} h WHERE {_READY} AND waits_for IS NULL "  # noqa: S608
            f"AND run_after <= {self.now} AND h.fair_key = {key}) + {self._in_line_of(key)})"
        )

    @staticmethod
    def _in_line_of(key: str) -> str:
        return f"(SELECT COUNT(*) FROM {RUN_TABLE} h WHERE {_IN_LINE} AND h.fair_key = {key})"  # noqa: S608

    def places(self, keys: Sequence[str]) -> dict[str, datetime | None]:
        """Return those of some keys of which no run waits, each with when it was served last; None for never."""
        source, params = self.source((("k", "text"),), [(key,) for key in keys])
        # Not EXISTS, which may be answered for all keys from all that wait.
        has_any = f"({self._firsts_of('v.k', 1)}) IS NOT NULL OR {self._held_of('v.k')} > 0"
        served = (
            f"SELECT s.started_at FROM {RUN_TABLE} s WHERE s.fair_key = v.k AND s.started_at IS NOT NULL "  # noqa: S608
            "AND s.status <> 'READY' ORDER BY s.id DESC LIMIT 1"
        )
        # CASE: behind many that wait, the last one that was served is not looked for.
        found = self.read_in_order(
            f"SELECT v.k, CASE WHEN {has_any} THEN 1 ELSE 0 END, CASE WHEN {has_any} THEN NULL ELSE ({served}) END "  # noqa: S608
            f"FROM ({source}) v",
            params,
        )
        return {
            key: None if at is None else read_time(at, self.zone) for key, has_any, at in found if not has_any
        }

    def first_due(self, queue_name: str, priority: int) -> tuple[datetime | None, datetime]:
        """Return when the first run with a fair key is due in a queue; and the database's time.

        Returns:
            None for the first where none is due, or where it comes after `MOST_PASSED` others.
        """
        with self.connection.cursor() as cursor:
            cursor.execute(
                f"SELECT MIN(d.run_after), {self.now} FROM (SELECT run_after, fair_key FROM {RUN_TABLE} "  # noqa: S608
                f"WHERE status = 'READY' AND queue_name = %s AND priority = %s AND run_after <= {self.now} "
                f"ORDER BY run_after LIMIT {MOST_PASSED}) d WHERE d.fair_key IS NOT NULL",
                [queue_name, priority],
            )
            first, now = cursor.fetchone()
        return None if first is None else read_time(first, self.zone), read_time(now, self.zone)

    def take_turns(self, keys: Sequence[str], most: int, line: str = "") -> dict[str, tuple[int, int]]:
        """Make runs due that are the first to wait for their turn; those that others lock are passed over.

        The runs of a key are due some microseconds apart, so that keys take turns among those of each claim.

        Args:
            keys: The keys, each once.
            most: How many runs of each may have their turn.
            line: What they wait for next, of `Wait`; empty makes them due.

        Returns:
            For each key how many had their turn already, and how many have now.
        """
        had = self._held(keys)
        rooms = ((key, most - had.get(key, 0)) for key in keys)
        found = self._first_to_wait(by_number((key, room) for key, room in rooms if room > 0))
        now = self.read_now()
        rows = [
            (run_id, self.time(now + timedelta(microseconds=place - most)))
            for ids in found.values()
            for place, run_id in enumerate(ids, 1)
        ]
        made = set(self._make_due(rows, line)) if rows else set()
        return {key: (had.get(key, 0), len(made.intersection(found.get(key, ())))) for key in keys}

    def _held(self, keys: Sequence[str]) -> dict[str, int]:
        source, params = self.source((("k", "text"),), [(key,) for key in keys])
        with self.connection.cursor() as cursor:
            cursor.execute(f"SELECT v.k, {self._held_of('v.k')} FROM ({source}) v", params)  # noqa: S608
            return dict(cursor.fetchall())

    def _first_to_wait(self, rooms: Mapping[int, Sequence[str]]) -> dict[str, list[int]]:
        """Return the runs that are the first to wait for their turn, of each number the keys of which so many are wanted."""
        found: dict[str, list[int]] = {}
        with self.connection.cursor() as cursor:
            for room, keys in rooms.items():
                for statement, params in self._firsts_to_wait(keys, room):
                    cursor.execute(statement, params)
                    for key, run_id in sorted(cursor.fetchall()):
                        found.setdefault(key, []).append(run_id)
        return found

    def _firsts_to_wait(self, keys: Sequence[str], room: int) -> Iterable[Statement]:
        """Make statements that select so many runs of each key, with their keys."""
        source, params = self.source((("k", "text"),), [(key,) for key in keys])
        # CROSS JOIN keeps the order of the two.
        yield (
            f"SELECT f.fair_key, f.id FROM ({source}) v CROSS JOIN {RUN_TABLE} f "  # noqa: S608
            f"WHERE f.id IN ({self._firsts_of('v.k', room)})",
            params,
        )

    @staticmethod
    def _firsts_of(key: str, room: int) -> str:
        return (
            f"SELECT id FROM {RUN_TABLE} WHERE {WAITING} AND fair_key = {key} "  # noqa: S608
            f"ORDER BY run_after, id LIMIT {room}"
        )

    def _make_due(self, rows: Sequence[tuple[int, object]], line: str) -> list[int]:
        """Make runs due at some times, or wait in a line, if they still wait for their turn; return their ids."""
        source = self.source((("id", "bigint"), ("at", "timestamptz")), rows)
        changes = [
            ("run_after", "NULL" if line else "v.at"), ("turn_at", "v.at"),
            ("waits_for", f"'{line}'" if line else "NULL"),
            ("dispatched_at", "NULL"), ("redispatch_at", "NULL"),
        ]  # fmt: skip
        # By their ids: no index has so few of them.
        still = WAITING.replace("AND ", f"AND {self.unindexed}{RUN_TABLE}.")
        where = f"{RUN_TABLE}.id = v.id AND {self.unindexed}{RUN_TABLE}.{still}"
        with self.connection.cursor() as cursor:
            cursor.execute(*self.update(RUN_TABLE, changes, source, where))
            is_all = cursor.rowcount == len(rows)
        return [row[0] for row in rows] if is_all else []

    def fair_lines(self, after: str, limit: int) -> list[str]:
        """Return keys of which runs wait for their turn, in their order, however many wait.

        Args:
            after: The last key that is left out; empty for none.
            limit: How many at most.
        """
        return self.keys_after("fair_key", WAITING, after, limit)

    def due_of(self, key: str) -> list[int]:
        """Return the runs of a key that are due, in the order of claims."""
        with self.connection.cursor() as cursor:
            cursor.execute(
                f"SELECT id FROM {RUN_TABLE} WHERE {_READY} AND waits_for IS NULL AND fair_key = %s "  # noqa: S608
                f"AND run_after <= {self.now} ORDER BY run_after, id",
                [key],
            )
            return [row[0] for row in cursor.fetchall()]
