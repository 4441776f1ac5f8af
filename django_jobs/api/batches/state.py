"""What all views of one batch share, and the transaction and the thread of its `with` block."""

from __future__ import annotations

import asyncio
import contextvars
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from asgiref.sync import sync_to_async
from django.db import transaction

from django_jobs.api.async_support import called_in_a_loop, is_in_a_loop
from django_jobs.storage import connections, notifications
from django_jobs.storage.batches import members

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from typing import Self

    from django_jobs.models import Batch as Row

T = TypeVar("T")


@dataclass(slots=True)
class State:
    """What all views of one batch share."""

    using: str
    # Empty until its row is read, of one that is known by its row only.
    key: str = ""
    name: str = ""
    # Inserts its row, for one that is not there yet.
    create: Callable[[], Row] | None = None
    row_id: int | None = None
    # The run of the batch that holds this, if one does.
    from_run: int | None = None
    # In a `with` block: its transaction, what it has added, and the thread of one that an event loop entered.
    block: AbstractContextManager[Any] | None = None
    added: int = 0
    has_dependencies: bool = False
    thread: ThreadPoolExecutor | None = None
    # It was entered or added to.
    was_used: bool = False

    def prepare_block(self) -> None:
        """Enter a `with` block, once."""
        if self.was_used:
            raise RuntimeError(
                "a batch is entered once, before anything is added to it: make another one, or add to it without with"
            )
        self.was_used = True
        if is_in_a_loop():
            # A transaction is one connection's, and a connection one thread's. Threads of ours would end what
            # a call leaves open.
            self.thread = ThreadPoolExecutor(1, "django_jobs-batch")

    def begin(self) -> None:
        """Begin the transaction of a `with` block, and insert the batch."""
        block = transaction.atomic(using=self.using)
        block.__enter__()
        self.block = block
        try:
            self.known_row_id()
        except BaseException as error:
            self.block = None
            block.__exit__(type(error), error, error.__traceback__)
            raise

    def end(self, kind: Any, error: Any, trace: Any) -> None:
        """End the transaction of a `with` block."""
        block, self.block = self.block, None
        if block is None:
            return
        if kind is None:
            try:
                members.count(
                    self.known_row_id(), self.added, has_dependencies=self.has_dependencies, using=self.using
                )
            except BaseException as mistake:
                block.__exit__(type(mistake), mistake, mistake.__traceback__)
                raise
            notifications.notify(notifications.RUNS, using=self.using)
        block.__exit__(kind, error, trace)

    def leave_block(self) -> None:
        """Let go of the thread of a block that an event loop entered."""
        thread, self.thread = self.thread, None
        if thread is not None:
            thread.submit(connections.give_back)
            thread.shutdown(wait=False)

    # On the thread that has the connection

    def call(self, work: Callable[[], T]) -> T:
        """Call something where the batch's connection is, from plain or async code."""
        thread = self.thread
        if thread is not None and is_in_a_loop():
            result: T = thread.submit(contextvars.copy_context().run, work).result()
            return result
        return called_in_a_loop(work) if is_in_a_loop() else work()

    async def acall(self, work: Callable[[], T]) -> T:
        """Await something that is called where the batch's connection is."""
        thread = self.thread
        if thread is None:
            return await sync_to_async(work)()
        result: T = await asyncio.wrap_future(thread.submit(contextvars.copy_context().run, work))
        return result

    def named(self) -> Self:
        """Return this with the batch's id and name known."""
        if not self.key:
            assert self.row_id is not None  # noqa: S101 - or it has its name
            row_id = self.row_id
            self.key, self.name = self.call(lambda: members.names_of(row_id, using=self.using))
        return self

    def known_row_id(self) -> int:
        """Return the id of its row, which is inserted first if it is not there."""
        if self.row_id is None:
            assert self.create is not None  # noqa: S101 - one that is there has its id
            self.was_used = True
            self.row_id = self.create().pk
        return self.row_id
