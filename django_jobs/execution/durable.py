"""What a function keeps in its run, so that it goes on where it stopped: a part of `RunContext`.

What does it is imported by the first call: most runs keep nothing.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from asgiref.sync import sync_to_async

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
    from datetime import timedelta

    from django.db.models import Model, QuerySet

    from django_jobs.execution.attempt import Attempt
    from django_jobs.execution.steps.memory import Memory
    from django_jobs.registry.retry import Retry

    M = TypeVar("M", bound=Model)

R = TypeVar("R")


class Durable:
    """Steps, waits and loops; see `RunContext`, which is one."""

    # While the function is called.
    under_way: Attempt | None = None

    def _of_attempt(self) -> Attempt:
        if self.under_way is None:
            raise RuntimeError(
                "this run's function has returned: code that it left running cannot act for it"
            )
        return self.under_way

    def _memory(self) -> Memory:
        attempt = self._of_attempt()
        if attempt.memory is None:
            from django_jobs.execution.steps.memory import Memory

            attempt.memory = Memory(attempt)
        return attempt.memory

    def step(
        self,
        func: Callable[..., R],
        /,
        *args: Any,
        name: str | None = None,
        retry: Retry | None = None,
        atomic: bool = False,
    ) -> R:
        """Call a function once in this run: another attempt gets what it returned then, and does not call it.

        It is remembered by name, and by how often that name was asked for before; other steps may come and go
        in the code. A process that dies between the function's end and the note that is made of it has it called
        again, unless the step is atomic.

        Args:
            func: A plain function.
            *args: For the function; they are not remembered.
            name: 1 to 200 characters; the function's qualified name.
            retry: When the step is tried again, whatever the run's own policy says. A delay of more than a
                second is waited for without a thread: the run begins again at the top then.
            atomic: What the function writes, and the note, are one commit: it is done exactly once in the
                database of the runs.

        Returns:
            What the function returned, as it was stored and read again.

        Raises:
            BaseException: What the function raised; nothing is remembered then.
            GiveUp: The function returned what cannot be stored, or the run keeps MAX_STEPS already.
            RuntimeError: It is asked in another step, in a transaction, in an atomic function, or on an event
                loop.
            RunLost: The run was given to another worker; nothing is remembered.
        """
        from django_jobs.execution.steps import call

        result: R = call.call(self._memory(), func, args, name=name, policy=retry, atomic=atomic)
        return result

    async def astep(
        self,
        func: Callable[..., Awaitable[R] | R],
        /,
        *args: Any,
        name: str | None = None,
        retry: Retry | None = None,
    ) -> R:
        """Await `step`, of an `async def` function or of a plain one that blocks nothing; never atomic."""
        from django_jobs.execution.steps import call

        result: R = await call.acall(self._memory(), func, args, name=name, policy=retry)
        return result

    def sleep(self, duration: float | timedelta, *, name: str = "sleep") -> None:
        """Wait without a thread: the run begins again at the top when the time is over, with its steps remembered.

        It holds no lease meanwhile, and no attempt is counted. A person who runs it now ends the wait.

        Args:
            duration: Seconds, or a timedelta.
            name: That it is remembered by, together with how often that was asked for before.

        Raises:
            RunSuspended: It leaves the thread. Let it pass.
            ValueError: The duration is negative.
            RuntimeError: In a step, a transaction, an atomic function or an `at_most_once` run; or on an event
                loop.
        """
        from django_jobs.execution.steps import waits

        memory = self._memory()
        memory.check_thread("asleep")
        length = waits.length("duration", duration)
        waits.sleep(memory, waits.ask(memory, "sleep", name, "sleep()"), length)

    async def asleep(self, duration: float | timedelta, *, name: str = "sleep") -> None:
        """Await `sleep`."""
        from django_jobs.execution.steps import waits

        memory = self._memory()
        length = waits.length("duration", duration)
        asked = waits.ask(memory, "sleep", name, "sleep()")
        await sync_to_async(waits.sleep)(memory, asked, length)

    def wait_for(self, event: str, timeout: float | timedelta | None = None) -> Any:
        """Wait for an event without a thread, as `sleep` does; see `JobManager.send_event`.

        Args:
            event: Its name, 1 to 200 characters. Asked for again, it is the next event of that name.
            timeout: Seconds, or a timedelta; None waits without end.

        Returns:
            What was sent with it.

        Raises:
            TimeoutError: It was not sent in time; so it stays in later attempts.
            RunSuspended: It leaves the thread. Let it pass.
            RuntimeError: As for `sleep`.
        """
        from django_jobs.execution.steps import waits

        memory = self._memory()
        memory.check_thread("await_for")
        length = None if timeout is None else waits.length("timeout", timeout)
        return waits.wait_for(memory, waits.ask(memory, "event", event, "wait_for()"), length)

    async def await_for(self, event: str, timeout: float | timedelta | None = None) -> Any:
        """Await `wait_for`."""
        from django_jobs.execution.steps import waits

        memory = self._memory()
        length = None if timeout is None else waits.length("timeout", timeout)
        asked = waits.ask(memory, "event", event, "wait_for()")
        return await sync_to_async(waits.wait_for)(memory, asked, length)

    def iterate(
        self,
        queryset: QuerySet[M],
        *,
        size: int = 500,
        pace: float | None = None,
        on_error: Literal["raise", "record"] = "raise",
        atomic: bool = False,
        name: str = "",
    ) -> Iterator[M]:
        """Yield the rows of a queryset in pages; another attempt goes on after the last page that was done.

        The cursor is kept after each page, and progress and an estimate of the end are shown. When the worker
        stops, the loop ends after the row at hand, and another worker goes on there.

        Args:
            queryset: Of model instances, in the order of their primary key; or ordered by columns of the model
                that are never null. It may be of millions of rows: one page is in memory.
            size: Rows of a page. Where a process dies, one page at most is done twice.
            pace: Rows a second, at most.
            on_error: "record" keeps what the loop's body raises for a row, and goes on after that row with the
                function called again from its top; "raise" leaves it to the run's retry policy.
            atomic: What is done for a page, and its cursor, are one commit: each row is done once in the
                database of the runs. Leaving the loop with `break` rolls back the page at hand.
            name: That the loop is remembered by; the model's label.

        Raises:
            ValueError: The rows have no order to go on by; or atomic, and they are in another database.
            RuntimeError: As for `step`.
        """
        from django_jobs.execution.steps.loop import Loop

        memory = self._memory()
        memory.check_thread("aiterate")
        return Loop(
            memory, queryset, size=size, pace=pace, on_error=on_error, is_atomic=atomic, name=name
        ).rows()

    def aiterate(
        self, queryset: QuerySet[M], *, size: int = 500, pace: float | None = None, name: str = ""
    ) -> AsyncIterator[M]:
        """Yield what `iterate` does, for `async for`; never atomic."""
        from django_jobs.execution.steps.loop import AsyncRows, Loop

        loop = Loop(
            self._memory(), queryset, size=size, pace=pace, on_error="raise", is_atomic=False, name=name
        )
        return AsyncRows(loop)

    def key(self, name: str) -> str:
        """Return a key for calls to other services, the same in each attempt of this run, and in no other run.

        For what such services call an idempotency key: they do what comes with the same key once.

        Args:
            name: Tells the calls of one run apart.
        """
        run = self._of_attempt().run
        # A database that went back to an older state gives ids out again, to other calls.
        of = json.dumps(["key", run.job_id, run.id, run.payload, name])
        return hashlib.sha256(of.encode()).hexdigest()[:40]
