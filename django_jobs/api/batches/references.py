"""RunHandles among the arguments of a call: they become references to results, and the run waits for them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from django_jobs.api.batches.handles import RunHandle, RunHandles
from django_jobs.codec import Reference
from django_jobs.registry.handles import JobHandle

if TYPE_CHECKING:
    from django_jobs.api.batches.batch import Batch


class Dependencies:
    """The runs that a new one waits for, in the order in which its arguments refer to them.

    Args:
        batch: That the new run is added to.
    """

    def __init__(self, batch: Batch) -> None:
        self._batch = batch
        self._positions: dict[int, int] = {}

    @property
    def run_ids(self) -> tuple[int, ...]:
        """Their ids."""
        return tuple(self._positions)

    def wait_for(self, after: object) -> None:
        """Add what `after=` names: a handle, or several.

        Raises:
            TypeError: It is something else.
            ValueError: A handle is of another batch or database.
        """
        if isinstance(after, RunHandle):
            self._position(after)
        elif isinstance(after, RunHandles):
            self._check(after[0]) if after else None
            for run_id in after.run_ids:
                self._positions.setdefault(run_id, len(self._positions))
        elif isinstance(after, Iterable) and not isinstance(after, str | bytes | Mapping):
            for one in after:
                self.wait_for(one)
        else:
            raise TypeError(
                f"after must be handles that batch.add or add_many returned, not {after!r:.100}: to wait for another "
                "batch, start this one with its on_success"
            )

    def referred(self, value: Any) -> Any:
        """Return an argument with references in the places of its handles.

        Raises:
            ValueError: A handle is of another batch or database.
            TypeError: A handle is in a set, or a key of a dict.
        """
        kind = type(value)
        if kind is RunHandle:
            return Reference(self._position(value))
        if kind is JobHandle:
            raise ValueError(
                f"job {value!s} is not part of a batch, so nothing can wait for it: add it with batch.add, or pass str(handle) if "
                "its id is meant"
            )
        if kind in {list, tuple, RunHandles}:
            items = [self.referred(item) for item in value]
            return tuple(items) if kind is tuple else items
        if kind is dict:
            self._refuse_in_hashes(value)
            return {key: self.referred(item) for key, item in value.items()}
        if kind in {set, frozenset}:
            self._refuse_in_hashes(value)
        return value

    def _refuse_in_hashes(self, values: Iterable[object]) -> None:
        """Refuse handles where a result may have no place, since not all can be hashed."""
        for value in values:
            if isinstance(value, RunHandle):
                raise TypeError(
                    f"job {value!s} is in a set, or a key of a dict, where no result can be put: use a list, or pass "
                    "str(handle) if its id is meant"
                )

    def _position(self, handle: RunHandle) -> int:
        self._check(handle)
        return self._positions.setdefault(handle.run_id, len(self._positions))

    def _check(self, handle: RunHandle) -> None:
        """Refuse a handle that this batch cannot wait for."""
        if handle.batch.using_database != self._batch.using_database:
            raise ValueError(
                f"job {handle!s} is kept in the database {handle.batch.using_database!r}, and this batch in "
                f"{self._batch.using_database!r}: a run can wait only for runs of its own database"
            )
        if handle.batch.id != self._batch.id:
            raise ValueError(
                f"job {handle!s} is part of another batch ({handle.batch.name!r}), and runs can wait only for runs of "
                f"their own ({self._batch.name!r}): add both to one batch, or start this one with on_success of "
                "the other"
            )
