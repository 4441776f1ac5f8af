"""The parts of statements that differ between databases: times, and rows that an UPDATE joins."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar

from django_jobs.storage.backends.values import read_time
from django_jobs.storage.tables import RUN_TABLE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from datetime import datetime, tzinfo
    from typing import Self

    from django.db.backends.base.base import BaseDatabaseWrapper

Statement = tuple[str, list[Any]]
# What finds the runs of a key that wait.
INDEXES = {"limit_key": "django_jobs_run_limit", "fair_key": "django_jobs_run_fair"}


def by_number(numbers: Iterable[tuple[str, int]]) -> dict[int, list[str]]:
    """Return the keys that have each number."""
    keys = defaultdict[int, list[str]](list)
    for key, number in numbers:
        keys[number].append(key)
    return keys


@dataclass(frozen=True, slots=True)
class Words:
    """Expressions in the words of one database; subclasses say where it differs."""

    connection: BaseDatabaseWrapper

    json: ClassVar[str] = "%s"
    # Aggregate an expression, and make one value of two, as JSON.
    array: ClassVar[str]
    pair: ClassVar[str] = "JSON_ARRAY({})"
    # Three values as one text.
    concat: ClassVar[str] = "{} || {} || {}"

    @property
    def zone(self) -> tzinfo:
        """The zone of times that the database has without one, as DATABASES says; UTC unless it does."""
        return self.connection.timezone or UTC

    @property
    def now(self) -> str:
        """The database's time, which decides leases and due times."""
        raise NotImplementedError

    @property
    def now_as_value(self) -> Statement:
        """The same, as a value of a statement that is often sent: of the same text each time."""
        return self.now, []

    def read_now(self) -> datetime:
        """Return the database's time."""
        with self.connection.cursor() as cursor:
            cursor.execute(f"SELECT {self.now}", [])
            (value,) = cursor.fetchone()
        return read_time(value, self.zone)

    def clocked(self, make: Callable[[Self], Statement]) -> Statement:
        """A statement made of these words; one that is often used should be the same text each time."""
        return make(self)

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

    def source(self, columns: Sequence[tuple[str, str]], rows: Sequence[Sequence[Any]]) -> Statement:
        """A derived table of rows that an UPDATE can join; `columns` are names and SQL types.

        What all rows have in common is sent once: most of many outcomes differs in little.
        """
        # By columns, which Python compares and cuts without a step of its own for each row.
        values = list(zip(*rows, strict=True))
        first, count = rows[0], len(rows)
        varying = tuple([index for index, column in enumerate(values) if column.count(first[index]) < count])
        params = [value for index, value in enumerate(first) if index not in varying]
        cut = list(zip(*[values[index] for index in varying], strict=True)) if varying else [()] * count
        table, more = self.elements(cut)
        return f"SELECT {self._picked(tuple(columns), varying)} FROM {table}", [*params, *more]  # noqa: S608

    @classmethod
    @lru_cache(maxsize=256)
    def _picked(cls, columns: tuple[tuple[str, str], ...], varying: tuple[int, ...]) -> str:
        places = {index: place for place, index in enumerate(varying)}
        return ", ".join(
            f"{cls.element(places[index], kind) if index in places else cls.constant(kind)} AS {name}"
            for index, (name, kind) in enumerate(columns)
        )

    def elements(self, rows: Sequence[Sequence[Any]]) -> Statement:
        """A table `e` of the rows, which may be empty ones."""
        raise NotImplementedError

    @classmethod
    def element(cls, index: int, kind: str) -> str:
        """What a row of `elements` has at an index, as an SQL type."""
        raise NotImplementedError

    @classmethod
    def constant(cls, kind: str) -> str:
        """A parameter, as an SQL type."""
        return "%s"

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

    def by_index(self, name: str) -> str:
        """Words behind a table that have the planner take an index, where it can be told."""
        return ""

    def keys_after(self, column: str, where: str, after: str, limit: int) -> list[str]:
        """Return the different values of a column of runs, in their order, however many runs have each.

        From each to the next by an index: no database skips along one by itself for a DISTINCT.

        Args:
            column: Of texts, the first one of the index behind what `where` fixes.
            where: Which runs.
            after: The last value that is left out; empty for none.
            limit: How many at most.
        """
        # In an order that one index has: to statistics older than a backlog any other looks as good.
        following = (
            f"SELECT n.{column} FROM {RUN_TABLE} n {self.by_index(INDEXES[column])} WHERE {where} "  # noqa: S608
            f"AND n.{column} > {{}} ORDER BY n.{column} LIMIT 1"
        )
        return self._keys_after(following, after, limit)

    def _keys_after(self, following: str, after: str, limit: int) -> list[str]:
        """Go from key to key by a statement that finds the one behind another."""
        rows = self.read_in_order(
            f"WITH RECURSIVE line(k, place) AS (SELECT ({following.format('%s')}), 1 UNION ALL "  # noqa: S608
            f"SELECT ({following.format('line.k')}), line.place + 1 FROM line WHERE line.k IS NOT NULL "
            "AND line.place < %s) SELECT k FROM line WHERE k IS NOT NULL",
            [after, limit],
        )
        return [row[0] for row in rows]

    def read_in_order(self, statement: str, params: Sequence[Any]) -> list[Any]:
        """Return rows of a statement whose runs are to be read in the order of an index, whatever statistics say."""
        with self.connection.cursor() as cursor:
            cursor.execute(statement, params)
            return list(cursor.fetchall())
