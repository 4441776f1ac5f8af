"""Count the runs of keys with a limit, and let those in that wait for it."""

from __future__ import annotations

from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from django_jobs.storage.backends.words import Statement, Words, by_number
from django_jobs.storage.tables import RUN_TABLE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Self

# In the words of the index's condition, or SQLite does not use it.
OPEN = "status IN ('READY', 'RUNNING')"
# The line of a key: what waits for its limit, and for nothing else.
LINE = f"{OPEN} AND status = 'READY' AND run_after IS NULL AND waits_for = 'limit' AND held_run_after IS NULL"
# The order of a line; and where its runs have fair keys, of which few wait here.
BY_PRIORITY = "priority DESC, id"
BY_TURN = "priority DESC, COALESCE(turn_at, enqueued_at), id"
# The same, and those that wait for their turn.
_ANY_LINE = LINE.replace("= 'limit'", "IN ('limit', 'order')")


def _let_in(words: Limiting, keys: Sequence[str], room: int, order: str) -> Statement:
    firsts, params = words.first_of_each(
        words.source((("k", "text"),), [(key,) for key in keys]), room, order
    )
    return f"{words._made_due} WHERE id IN ({firsts}) RETURNING limit_key", params


class Limiting(Words):
    """The operations on keys with a limit. A key is `Run.limit_key`."""

    __slots__ = ()

    # Has the planner take the index of keys, whatever it thinks of it.
    by_limit_key: ClassVar[str] = ""

    def lock_keys(self, keys: Sequence[str]) -> None:
        """Have whoever else locks one of these keys wait until the transaction under way ends."""
        raise NotImplementedError

    def count_running(self, keys: Sequence[str]) -> dict[str, int]:
        """Return how many runs of each key are RUNNING; keys without are left out."""
        with self.connection.cursor() as cursor:
            cursor.execute(
                f"SELECT limit_key, COUNT(*) FROM {RUN_TABLE} WHERE {OPEN} AND status = 'RUNNING' "  # noqa: S608
                f"AND limit_key IN ({','.join(['%s'] * len(keys))}) GROUP BY limit_key",
                list(keys),
            )
            return dict(cursor.fetchall())

    def count_begun(self, keys: Sequence[str]) -> dict[str, int]:
        """Return how many runs of each key are RUNNING or due; keys without are left out."""
        with self.connection.cursor() as cursor:
            cursor.execute(
                f"SELECT limit_key, COUNT(*) FROM {RUN_TABLE} WHERE {OPEN} "  # noqa: S608
                f"AND limit_key IN ({','.join(['%s'] * len(keys))}) "
                f"AND (status = 'RUNNING' OR run_after <= {self.now}) GROUP BY limit_key",
                list(keys),
            )
            return dict(cursor.fetchall())

    def lines(self, keys: Sequence[str]) -> dict[str, int]:
        """Return of those keys that have a line how many of their runs are RUNNING or due."""
        of_key = f"FROM {RUN_TABLE} r {self.by_limit_key} WHERE r.limit_key = v.k AND"

        def ask(words: Self) -> Statement:
            source, params = words.source((("k", "text"),), [(key,) for key in keys])
            return (
                f"SELECT v.k, {words._begun_of('v.k')} FROM ({source}) v "  # noqa: S608
                # Not EXISTS: MariaDB would read all runs to answer it for all keys.
                f"WHERE (SELECT 1 {of_key} {LINE} LIMIT 1) IS NOT NULL",
                params,
            )

        with self.connection.cursor() as cursor:
            cursor.execute(*self.clocked(ask))
            return dict(cursor.fetchall())

    def _begun_of(self, key: str) -> str:
        """Return an expression of how many runs of a key are RUNNING or due."""
        counted = f"SELECT COUNT(*) FROM {RUN_TABLE} r {self.by_limit_key} WHERE r.limit_key = {key} AND r.{OPEN} AND"  # noqa: S608
        return (
            f"(({counted} r.status = 'RUNNING') + "
            f"({counted} r.status = 'READY' AND r.run_after <= {self.now}))"
        )

    def first_lines(self, after: str, limit: int) -> list[str]:
        """Return keys that have a line, in their order, however long the lines are.

        Args:
            after: The last key that is left out; empty for none.
            limit: How many at most.
        """
        return self.keys_after("limit_key", _ANY_LINE, after, limit)

    def first_in_lines(self, keys: Sequence[str]) -> list[int]:
        """Return the run that is first in the line of each key."""
        return self._first_ids(keys, _ANY_LINE)

    def open_keys(self, keys: Sequence[str]) -> set[str]:
        """Return those of some keys that have an unfinished run."""
        source, params = self.source((("k", "text"),), [(key,) for key in keys])
        with self.connection.cursor() as cursor:
            cursor.execute(
                f"SELECT v.k FROM ({source}) v WHERE (SELECT 1 FROM {RUN_TABLE} r {self.by_limit_key} "  # noqa: S608
                f"WHERE r.limit_key = v.k AND r.{OPEN} LIMIT 1) IS NOT NULL",
                params,
            )
            return {row[0] for row in cursor.fetchall()}

    def oldest(self, keys: Sequence[str], *, among: str = "") -> dict[str, int]:
        """Return the unfinished run of each key that was added first.

        Args:
            keys: The keys; those without an unfinished run are left out.
            among: More of a condition.
        """
        with self.connection.cursor() as cursor:
            cursor.execute(
                f"SELECT limit_key, MIN(id) FROM {RUN_TABLE} WHERE {OPEN} "  # noqa: S608
                f"AND limit_key IN ({','.join(['%s'] * len(keys))}) {among} GROUP BY limit_key",
                list(keys),
            )
            return dict(cursor.fetchall())

    def let_in(self, most: Mapping[str, int], *, order: str = BY_PRIORITY) -> dict[str, int]:
        """Make runs due that are first in the lines of some keys; those that others lock are passed over.

        Args:
            most: Keys, and how many runs of each may be RUNNING or due.
            order: Of the lines, `BY_PRIORITY` or `BY_TURN`.

        Returns:
            How many there were of each key; keys without are left out.
        """
        rooms = [
            (key, room) for key, held in self.lines(list(most)).items() if (room := most[key] - held) > 0
        ]
        return self._let_in(by_number(rooms), order) if rooms else {}

    def _let_in(self, rooms: Mapping[int, Sequence[str]], order: str) -> dict[str, int]:
        """Make runs due that are first in their lines: of each number the keys of which so many may be."""
        let_in = Counter[str]()
        for room, keys in rooms.items():
            with self.connection.cursor() as cursor:
                cursor.execute(*self.clocked(partial(_let_in, keys=keys, room=room, order=order)))
                let_in.update(row[0] for row in cursor.fetchall())
        return dict(let_in)

    def first_of_each(self, source: Statement, count: int, order: str = BY_PRIORITY) -> Statement:
        """Select the runs that are first in the lines of the keys `v.k`, so many of each; a condition may follow."""
        rows, params = source
        # CROSS JOIN keeps the order of the two.
        first, _ = self._first_in_line("", 1, order)
        return (
            f"SELECT f.id FROM ({rows}) v CROSS JOIN {RUN_TABLE} f WHERE f.id IN ({first % ('v.k', count)})",  # noqa: S608
            params,
        )

    def _firsts(self, keys: Sequence[str]) -> Statement:
        """Select the run that is first in the line of each of some keys, or NULL."""
        source, params = self.source((("k", "text"),), [(key,) for key in keys])
        first, _ = self._first_in_line("", 1)
        return f"SELECT ({first % ('v.k', '1')}) FROM ({source}) v", params  # noqa: S608

    def _first_ids(self, keys: Sequence[str], line: str = LINE) -> list[int]:
        """Return those; not locked, so who takes them asks again whether they are in a line."""
        statement, params = self._firsts(keys)
        rows = self.read_in_order(statement.replace(LINE, line), params)
        return [row[0] for row in rows if row[0] is not None]

    @property
    def _made_due(self) -> str:
        return (
            f"UPDATE {RUN_TABLE} SET run_after = {self.now}, waits_for = NULL, dispatched_at = NULL, "  # noqa: S608
            "redispatch_at = NULL"
        )

    @staticmethod
    def _first_in_line(key: str, room: int, order: str = BY_PRIORITY) -> Statement:
        params: list[Any] = [key, room]
        return (
            f"SELECT id FROM {RUN_TABLE} WHERE {LINE} AND limit_key = %s ORDER BY {order} LIMIT %s",  # noqa: S608
            params,
        )
