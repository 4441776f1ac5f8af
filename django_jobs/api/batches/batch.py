"""A batch as a project holds it: it adds runs, which may wait for each other, until it is closed."""

from __future__ import annotations

import itertools
import uuid
from typing import TYPE_CHECKING, Any, Unpack

from django_jobs.api import enqueue
from django_jobs.api.batches.handles import RunHandle, RunHandles
from django_jobs.api.batches.references import Dependencies
from django_jobs.exceptions import FunctionNotAllowed
from django_jobs.execution import adapters, instrumentation
from django_jobs.registry.misplaced_options import refuse_schedule_options
from django_jobs.registry.options import options_from
from django_jobs.storage import notifications
from django_jobs.storage.batches import members
from django_jobs.storage.batches.members import Member
from django_jobs.storage.transactions import BATCH as ROWS
from django_jobs.worker import inline

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from types import TracebackType
    from typing import Self

    from django_jobs.api.batches.state import State
    from django_jobs.api.enqueue import Part
    from django_jobs.registry.options import JobOptions, OptionWords

AFTER_FAILURE = ("cancel", "run", "skip")


class Batch:
    """Runs that belong together; made by `JobManager.batch`.

    As a context manager it is one transaction: its runs are added together or not at all, and it is closed
    at the end of the block. Otherwise it can be added to until `close`. Once closed it takes more only from
    its own runs, while they run, and ends with the last of them.
    """

    def __init__(self, state: State, options: JobOptions) -> None:
        self._state = state
        self._options = options

    def __repr__(self) -> str:
        # Without a look at the database.
        return f"<batch {self._state.name!r} {self._state.key or self._state.row_id}>"

    def __str__(self) -> str:
        # Methods that take an id take the batch, too.
        return self.id

    @property
    def id(self) -> str:
        """What `JobManager.wait`, `get_batch`, `cancel_batch` and `retry_batch` take."""
        return self._state.named().key

    @property
    def name(self) -> str:
        """What pages call it."""
        return self._state.named().name

    @property
    def using_database(self) -> str:
        """Alias of the database that it is kept in."""
        return self._state.using

    def using(self, **options: Unpack[OptionWords]) -> Batch:
        """Return a view of this batch whose runs are added with these options, as `JobManager.using` does."""
        chosen = options_from(options)
        chosen.validate()
        return type(self)(self._state, chosen.over(self._options))

    # Adding

    def add(
        self, func: Part, /, *args: Any, after: Any = (), after_failure: str = "cancel", **kwargs: Any
    ) -> RunHandle:
        """Have a function called as part of the batch.

        Args:
            func: As for `JobManager.add_immediate_job`; or a Task, whose run is one of its framework's.
            *args: For the function. A handle, or one in a list, tuple or dict: wait for that run, and be given
                its result.
            after: A handle or several to wait for without taking their results.
            after_failure: What to do when one of those that it waits for fails: "cancel" it, "run" it all the same
                (in the place of a result it is given the error that `wait` would raise), or "skip" it.
            **kwargs: For the function; handles as in `args`.

        Returns:
            The run's handle.

        Raises:
            ValueError: A handle is of another batch, of another database, or of a transaction that was not
                committed; or as for `add_immediate_job`.
            TypeError: As for `add_immediate_job`.
            BatchClosed: The batch takes no more.
        """
        return self._state.call(lambda: self._add(func, args, kwargs, after, after_failure))

    def add_many(self, jobs: Iterable[Any], *, after: Any = (), after_failure: str = "cancel") -> RunHandles:
        """Add many runs, a few hundred to a statement; a generator is read as they are inserted.

        Outside a `with` block and of other transactions, each few hundred are a transaction.

        Args:
            jobs: As for `JobManager.add_many`; arguments may have handles.
            after: As for `add`, for each of them.
            after_failure: As for `add`.

        Returns:
            Their handles, in order.

        Raises:
            TypeError: As for `add`, naming the position of the job; so do all others.
        """
        return self._state.call(lambda: self._add_many(jobs, after, after_failure))

    def chain(self, *calls: Any) -> RunHandle:
        """Add runs that follow each other, each given the result of the one before as its first argument.

        Args:
            *calls: Functions, or tuples of a function, its arguments and, if any, its keyword arguments. The
                first may be a handle.

        Returns:
            The last one's handle.
        """
        return self._state.call(lambda: self._chain(calls))

    def close(self) -> None:
        """Take no more from outside; the batch ends with the last of its runs."""
        self._state.call(self._close)

    async def aadd(self, func: Part, /, *args: Any, **kwargs: Any) -> RunHandle:
        """Await `add`."""
        return await self._state.acall(lambda: self.add(func, *args, **kwargs))

    async def aadd_many(self, jobs: Iterable[Any], **words: Any) -> RunHandles:
        """Await `add_many`."""
        return await self._state.acall(lambda: self.add_many(jobs, **words))

    async def achain(self, *calls: Any) -> RunHandle:
        """Await `chain`."""
        return await self._state.acall(lambda: self.chain(*calls))

    async def aclose(self) -> None:
        """Await `close`."""
        await self._state.acall(self.close)

    # As a context manager

    def __enter__(self) -> Self:
        self._state.prepare_block()
        self._state.call(self._state.begin)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._state.call(lambda: self._state.end(kind, error, trace))
        finally:
            self._state.leave_block()

    async def __aenter__(self) -> Self:
        self._state.prepare_block()
        await self._state.acall(self._state.begin)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await self._state.acall(lambda: self._state.end(kind, error, trace))
        finally:
            self._state.leave_block()

    def _add(
        self, func: Part, args: tuple[Any, ...], kwargs: Any, after: Any, after_failure: str
    ) -> RunHandle:
        member = self._member(func, args, kwargs, after, after_failure)
        (run_id,) = self._insert([member])
        return RunHandle.of(member.run.job_id, run_id, self)

    def _add_many(self, jobs: Iterable[Any], after: Any, after_failure: str) -> RunHandles:
        handles = RunHandles(self, uuid.uuid4().hex)
        numbered = enumerate(jobs)
        while chunk := list(itertools.islice(numbered, ROWS)):
            handles.run_ids.extend(self._insert(list(self._members(chunk, handles, after, after_failure))))
        return handles

    def _members(
        self, jobs: Sequence[tuple[int, Any]], handles: RunHandles, after: Any, after_failure: str
    ) -> Iterator[Member]:
        for index, entry in jobs:
            try:
                func, args, kwargs = enqueue.entry_of(entry)
                member = self._member(func, args, kwargs, after, after_failure)
            except (TypeError, ValueError, FunctionNotAllowed) as error:
                raise type(error)(f"job {index} of add_many: {error}") from error
            member.run.job_id = handles.job_id(index)
            yield member

    def _chain(self, calls: Sequence[Any]) -> RunHandle:
        if not calls:
            raise ValueError("a chain needs at least one function")
        last = calls[0] if isinstance(calls[0], RunHandle) else None
        for entry in calls[1:] if last is not None else calls:
            func, args, kwargs = enqueue.entry_of(entry)
            given = args if last is None else (last, *args)
            last = self._add(func, given, kwargs, (), "cancel")
        assert last is not None  # noqa: S101 - there was at least one
        return last

    def _member(
        self, func: Part, args: tuple[Any, ...], kwargs: dict[str, Any], after: Any, after_failure: str
    ) -> Member:
        refuse_schedule_options(self._options)
        if after_failure not in AFTER_FAILURE:
            raise ValueError(f'after_failure must be "cancel", "run" or "skip", not {after_failure!r}')
        dependencies = Dependencies(self)
        args = tuple(dependencies.referred(value) for value in args)
        kwargs = {name: dependencies.referred(value) for name, value in kwargs.items()}
        dependencies.wait_for(after)
        try:
            run, options = enqueue.new_part(self._options, func, args, kwargs)
        except ValueError as error:
            count = len(dependencies.run_ids)
            if count > 1000 and "MAX_PAYLOAD_BYTES" in str(error):
                raise ValueError(
                    f"the results of {count} runs are too many to be passed as arguments: wait for them with after=, "
                    "and have each part store what the next one reads"
                ) from error
            raise
        if options.uniqueness is not None:
            raise TypeError(
                f"{run.func} is unique by a key or debounced, and a run of a batch can be neither: its batch needs a run "
                "of its own. Enqueue it from a run of the batch, or take the option from this call"
            )
        return Member(run, dependencies.run_ids, after_failure)

    def _insert(self, added: Sequence[Member]) -> list[int]:
        state = self._state
        row_id = self._state.known_row_id()
        runs = [member.run for member in added]
        with instrumentation.adding(runs):
            if state.block is not None:
                ids = members.insert(row_id, added, using=state.using)
                state.added += len(ids)
                state.has_dependencies = state.has_dependencies or any(member.after for member in added)
            else:
                ids = members.add(row_id, added, from_run=state.from_run, using=state.using)
                notifications.notify(notifications.RUNS, using=state.using)
        adapters.tell_added(runs)
        for run_id, member in zip(ids, added, strict=True):
            if not member.after and inline.is_inline(member.run.queue_name):
                inline.execute_on_commit(run_id, using=state.using)
        return ids

    def _close(self) -> None:
        if self._state.block is not None:
            raise RuntimeError("a batch in a with block is closed by the end of the block")
        members.close(self._state.known_row_id(), using=self._state.using)
        notifications.notify(notifications.RUNS, using=self._state.using)
