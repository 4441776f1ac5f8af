"""MariaDB and MySQL: the lines of keys with a limit, and the turns of fair keys.

A column of another row bounds no walk of an index there, so keys are values wherever more than the first run of each
is looked for.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, ClassVar

from django.db import transaction

from django_jobs.storage.backends.base import Backend
from django_jobs.storage.backends.limiting import BY_PRIORITY, LINE
from django_jobs.storage.backends.turns import WAITING
from django_jobs.storage.backends.words import by_number
from django_jobs.storage.records import CLAIMED_COLUMNS
from django_jobs.storage.tables import RUN_TABLE
from django_jobs.storage.unique_keys import begun

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from django_jobs.storage.backends.claiming import Scope
    from django_jobs.storage.backends.words import Statement
    from django_jobs.storage.records import ClaimedRun

# A plan that walks the table instead waits for every row that others hold, and two such statements for each other.
BY_KEY = "FORCE INDEX (PRIMARY)"
# More runs of one key than this are found by a statement of its own.
_MOST_FIRSTS = 3


class MariaDBLines(Backend):
    """See `Limiting`, `Following` and `Turns`."""

    __slots__ = ()

    _by_key: ClassVar[str] = BY_KEY
    by_limit_key = "FORCE INDEX (django_jobs_run_limit)"

    def by_index(self, name: str) -> str:
        """See `Words`."""
        return f"FORCE INDEX ({name})"

    def _keys_after(self, following: str, after: str, limit: int) -> list[str]:
        """See `Words`; each key as a value: behind one of a row it walks all lines from the first on."""
        keys: list[str] = []
        with self.connection.cursor() as cursor:
            while len(keys) < limit:
                cursor.execute(following.format("%s"), [keys[-1] if keys else after])
                row = cursor.fetchone()
                if row is None:
                    break
                keys.append(row[0])
        return keys

    def lines(self, keys: Sequence[str]) -> dict[str, int]:
        """See `Limiting`; with the keys as values: for those of a row it walks a line to find what is due."""
        some = f"limit_key IN ({marks(keys)})"
        of_some = f"SELECT limit_key, COUNT(*) FROM {RUN_TABLE} {self.by_limit_key} WHERE {some}"  # noqa: S608
        source, params = self.source((("k", "text"),), [(key,) for key in keys])
        with self.connection.cursor() as cursor:
            cursor.execute(
                f"{of_some} AND status = 'RUNNING' GROUP BY limit_key UNION ALL "  # noqa: S608
                f"{of_some} AND status = 'READY' AND run_after <= {self.now} GROUP BY limit_key UNION ALL "
                f"SELECT v.k, -1 FROM ({source}) v WHERE (SELECT 1 FROM {RUN_TABLE} r {self.by_limit_key} "
                f"WHERE r.limit_key = v.k AND {LINE} LIMIT 1) IS NOT NULL",
                [*keys, *keys, *params],
            )
            rows = cursor.fetchall()
        held = Counter[str]()
        for key, count in rows:
            held[key] += max(count, 0)
        return {key: held[key] for key, count in rows if count < 0}

    def _let_in(self, rooms: Mapping[int, Sequence[str]], order: str) -> dict[str, int]:
        """See `Limiting`; selects, locks what is still in its line, and lets that in."""
        # What fails here undoes what it is part of, so that needs no savepoint.
        with transaction.atomic(self.connection.alias, savepoint=False), self.connection.cursor() as cursor:
            ids = self._first_in_each(rooms, order)
            if not ids:
                return {}
            cursor.execute(
                f"SELECT id, limit_key FROM {RUN_TABLE} {self._by_key} "  # noqa: S608
                f"WHERE id IN ({marks(ids)}) AND {LINE} FOR UPDATE SKIP LOCKED",
                ids,
            )
            firsts = dict(cursor.fetchall())
            if firsts:
                cursor.execute(f"{self._made_due} WHERE id IN ({marks(list(firsts))})", list(firsts))
        return dict(Counter(firsts.values()))

    def _first_in_each(self, rooms: Mapping[int, Sequence[str]], order: str = BY_PRIORITY) -> list[int]:
        """Return the runs that are first in their lines, of each number the keys of which so many are wanted.

        Some of one key are locked, and those passed over that others lock. Of many keys they are found without, in
        one statement, so who takes them asks again whether they are in a line.
        """
        ids: list[int] = []
        with self.connection.cursor() as cursor:
            for room, keys in rooms.items():
                if room > _MOST_FIRSTS:
                    for key in keys:
                        statement, params = self._first_in_line(key, room, order)
                        cursor.execute(f"{statement} FOR UPDATE SKIP LOCKED", params)
                        ids += [row[0] for row in cursor.fetchall()]
                    continue
                source, params = self.source((("k", "text"),), [(key,) for key in keys])
                first, _ = self._first_in_line("", 1, order)
                firsts = ", ".join(f"({first % ('v.k', f'1 OFFSET {place}')})" for place in range(room))
                cursor.execute(f"SELECT {firsts} FROM ({source}) v", params)  # noqa: S608
                ids += [run_id for row in cursor.fetchall() for run_id in row if run_id is not None]
        return ids

    def take_turns(self, keys: Sequence[str], most: int, line: str = "") -> dict[str, tuple[int, int]]:
        """See `Turns`; selects and locks first."""
        with transaction.atomic(using=self.connection.alias):
            return super().take_turns(keys, most, line)

    def _firsts_to_wait(self, keys: Sequence[str], room: int) -> Iterable[Statement]:
        """See `Turns`; locked, and those passed over that others lock, where an UPDATE would wait for them."""
        select = f"SELECT fair_key, id FROM {RUN_TABLE}"  # noqa: S608
        if room > _MOST_FIRSTS:
            for key in keys:
                first = f"WHERE {WAITING} AND fair_key = %s ORDER BY run_after, id LIMIT {room}"
                yield f"{select} {first} FOR UPDATE SKIP LOCKED", [key]
            return
        # Of many keys found without a lock, in one statement, so it is asked again whether they wait.
        source, params = self.source((("k", "text"),), [(key,) for key in keys])
        firsts = ", ".join(f"({self._firsts_of('v.k', 1)} OFFSET {place})" for place in range(room))
        with self.connection.cursor() as cursor:
            cursor.execute(f"SELECT {firsts} FROM ({source}) v", params)  # noqa: S608
            ids = [run_id for row in cursor.fetchall() for run_id in row if run_id is not None]
        if ids:
            yield (
                f"{select} {self._by_key} WHERE id IN ({marks(ids)}) AND {WAITING} FOR UPDATE SKIP LOCKED",
                ids,
            )

    def _follow(
        self, worker_id: str, fence: int, scope: Scope, rooms: Sequence[tuple[str, int]]
    ) -> list[ClaimedRun]:
        ids = self._first_in_each(by_number(rooms))
        if not ids:
            return []
        where, names = self._of_worker(worker_id, scope)
        # As they are now, not as the transaction saw them first.
        picked = (
            f"SELECT {', '.join(CLAIMED_COLUMNS)} FROM {RUN_TABLE} {self._by_key} "  # noqa: S608
            f"WHERE id IN ({marks(ids)}) AND {LINE} AND {where} FOR UPDATE SKIP LOCKED"
        )
        runs = self._fetch_claimed(picked, [*ids, *names])
        if runs:
            taken = self._take_from_line(f"{RUN_TABLE} {self._by_key}")
            self._execute(
                (f"{taken} WHERE id IN ({marks(runs)})", [worker_id, fence, *(run.id for run in runs)])
            )
        return as_taken(runs, worker_id, fence)


def as_taken(runs: list[ClaimedRun], worker_id: str, fence: int) -> list[ClaimedRun]:
    """Return runs as the claim has left them, which were read before it."""
    for run in runs:
        run.attempt += 1
        run.worker_id = worker_id
        run.fence = fence
        run.unique_key = begun(run.unique_key, run.id)
    return runs


def marks(values: Sequence[Any]) -> str:
    """Return a placeholder for each value."""
    return ",".join(["%s"] * len(values))
