"""What adding to a batch returns: runs to wait for, and whose results others are given."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, overload

from django_jobs.registry.handles import JobHandle

if TYPE_CHECKING:
    from django_jobs.api.batches.batch import Batch
    from django_jobs.api.enqueue import Part


class RunHandle(JobHandle[Any]):
    """A run of a batch; to everything else the id of its job.

    As an argument of `Batch.add`, alone or in lists, tuples and dicts, it means: wait for this run, and be
    given its result.

    Attributes:
        run_id: Id of the run.
        batch: The batch.
    """

    run_id: int
    batch: Batch

    @classmethod
    def of(cls, job_id: str, run_id: int, batch: Batch) -> RunHandle:
        """Return a handle of a run."""
        handle = cls(job_id)
        handle.run_id = run_id
        handle.batch = batch
        return handle

    def then(self, func: Part, /, *args: Any, **kwargs: Any) -> RunHandle:
        """Add a run to the batch that is given this one's result as its first argument.

        Args:
            func: As for `Batch.add`.
            *args: What follows the result.
            **kwargs: As for `Batch.add`.
        """
        return self.batch.add(func, self, *args, **kwargs)

    async def athen(self, func: Part, /, *args: Any, **kwargs: Any) -> RunHandle:
        """Await `then`."""
        return await self.batch.aadd(func, self, *args, **kwargs)


class RunHandles(Sequence[RunHandle]):
    """The runs that one `add_many` added, in order; eight bytes for each.

    Args:
        batch: The batch.
        prefix: What the ids of their jobs begin with; the number of each follows.
    """

    def __init__(self, batch: Batch, prefix: str) -> None:
        self._batch = batch
        self._prefix = prefix
        self.run_ids = array("q")

    def job_id(self, index: int) -> str:
        """Return the id of the job at an index."""
        return f"{self._prefix}-{index}"

    def __len__(self) -> int:
        return len(self.run_ids)

    @overload
    def __getitem__(self, index: int) -> RunHandle: ...
    @overload
    def __getitem__(self, index: slice) -> list[RunHandle]: ...
    def __getitem__(self, index: int | slice) -> RunHandle | list[RunHandle]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        position = range(len(self))[index]
        return RunHandle.of(self.job_id(position), self.run_ids[position], self._batch)

    def __iter__(self) -> Iterator[RunHandle]:
        return (self[index] for index in range(len(self)))

    def __repr__(self) -> str:
        return f"<{len(self)} runs of {self._batch!r}>"
