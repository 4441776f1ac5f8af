"""`iterate`: the rows of a queryset in pages, with a cursor that is kept after each."""

from __future__ import annotations

import sys
import time
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from asgiref.sync import sync_to_async
from django.db import transaction

from django_jobs.exceptions import RunInterrupted, RunSuspended
from django_jobs.execution.steps import memory as memories
from django_jobs.execution.steps.keyset import Keyset
from django_jobs.execution.steps.memory import Memory, value_of
from django_jobs.models import StepKind
from django_jobs.texts import describe

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from contextlib import AbstractContextManager
    from types import FrameType

    from django.db.models import QuerySet

    from django_jobs.models import Step


# Errors of rows that one loop records; the next one ends the attempt.
MOST_FAILED = 1000
# After which the cursor is kept inside a page, too.
KEEP_SECONDS = 1.0


class Loop:
    """One loop over a queryset, which goes on where the last one of its run stopped.

    Args:
        memory: Of the run.
        queryset: Of model instances. Without `order_by` it goes by the primary key; with it that must be by
            columns of the model that are never null, and the primary key decides between equal ones.
        size: Rows of a page.
        pace: Rows a second, at most; None for no limit.
        is_atomic: What is done for the rows of a page, and the cursor, are one commit.
        on_error: Whether what the body raises for a row is recorded.
        name: That it is remembered by; the model's label where it is empty.
    """

    def __init__(
        self,
        memory: Memory,
        queryset: QuerySet[Any],
        *,
        size: int,
        pace: float | None,
        on_error: str,
        is_atomic: bool,
        name: str,
    ) -> None:
        _check(size, pace, on_error)
        self._keyset = Keyset(queryset)
        self._memory = memory
        self._size = size
        self._pace = pace
        self._is_atomic = is_atomic
        if is_atomic and self._keyset.queryset.db != memory.using:
            raise ValueError(
                f"one commit cannot be on two connections: the rows are in {self._keyset.queryset.db!r}, and the "
                f"runs in {memory.using!r}"
            )
        self._step: Step = memory.ask(StepKind.LOOP, name or queryset.model._meta.label)
        memory.check_blocks("iterate()")
        self._state: dict[str, Any] = {}
        self._records = on_error == "record"
        # The row at which its body was left, where, and how many of its page were done by then.
        self._left: tuple[Any, FrameType, int, list[Any]] | None = None
        # Of the page at hand: rows that are done, and not kept yet.
        self._done: list[Any] = []
        # What its body's steps belong to, and what those after the loop do.
        self._scope = self._outer = ""
        if self._records:
            memory.add_loop(self)
        # Since this attempt's first page, for the estimate of the end.
        self._began, self._done_before = time.monotonic(), 0
        # When the cursor was kept the last time.
        self._kept_at = self._began

    def rows(self) -> Iterator[Any]:
        """Yield the rows that are left."""
        is_over = self.begin()
        self._memory.loops.append(self)
        try:
            while not is_over:
                began = time.monotonic()
                with self._commit():
                    page = self.page()
                    done = kept = 0
                    for row in page:
                        if self._memory.attempt.context.must_stop:
                            break
                        self._done = page[kept:done]
                        if self._keyset.key(row) not in self._state.get("skip", ()):
                            yield from self._yield(row)
                        done += 1
                        if self._is_slow():
                            self._keep_part(page[kept:done])
                            kept = done
                    is_over = self._end_rows(page, kept, done)
                self._end_page(done == len(page))
                if not is_over:
                    self._rest(len(page), began)
        finally:
            self.leave()

    def _yield(self, row: Any) -> Iterator[Any]:
        self._enter(row)
        try:
            yield row
        except GeneratorExit:
            if self._records:
                # Left by `break`, or by an exception, which are told apart by where.
                frame = _caller()
                self._left = row, frame, frame.f_lasti, self._done
            raise
        finally:
            self.leave_row()

    def _enter(self, row: Any) -> None:
        """Have what is asked for from now on belong to a row."""
        self._outer = self._memory.scope
        self._memory.scope = self._scope = f"{self._step.key}:{row.pk}"

    def leave_row(self) -> None:
        """Have what is asked for belong to what the loop is in."""
        if self._scope and self._memory.scope == self._scope:
            self._memory.scope = self._outer

    def keep_done(self) -> None:
        """Keep the cursor before the row at hand: the run leaves its thread in the loop's body."""
        if self._done and not self._is_atomic:
            self.advance(self._done, is_over=False)

    def record(self, error: Exception) -> bool:
        """Record an error that the body raised for a row, and go on after that; return False if it was not."""
        left, self._left = self._left, None
        if left is None or len(self._state.get("failed", ())) >= MOST_FAILED:
            return False
        row, frame, instruction, done = left
        trace = error.__traceback__
        while trace is not None and (trace.tb_frame is not frame or trace.tb_lasti != instruction):
            trace = trace.tb_next
        if trace is None:
            return False
        text = describe.in_a_line(error)[:200]
        self._state.setdefault("failed", []).append([str(row.pk), text])
        self._memory.attempt.context.log("%s %s: %s", self._step.name, row.pk, text)
        if self._is_atomic:
            # What was done for the rows before is rolled back, and is done again without this one.
            self._state.setdefault("skip", []).append(self._keyset.key(row))
        else:
            self._state["after"] = self._keyset.key(row)
            self._state["done"] += len(done) + 1
        self._keep()
        return True

    async def arows(self) -> AsyncIterator[Any]:
        """Yield the rows that are left, to an async function."""
        is_over = await sync_to_async(self.begin)()
        self._memory.loops.append(self)
        while not is_over:
            began = time.monotonic()
            page = await sync_to_async(self.page)()
            done = kept = 0
            for row in page:
                if self._memory.attempt.context.must_stop:
                    break
                self._done = page[kept:done]
                self._enter(row)
                yield row
                self.leave_row()
                done += 1
                if self._is_slow():
                    await sync_to_async(self._keep_part)(page[kept:done])
                    kept = done
            is_over = await sync_to_async(self._end_rows)(page, kept, done)
            self._end_page(done == len(page))
            if not is_over:
                await sync_to_async(self._rest)(len(page), began)
        self.leave()

    def leave(self) -> None:
        """End the loop: `break` does not wait for the generator."""
        self.leave_row()
        if self in self._memory.loops:
            self._memory.loops.remove(self)

    def begin(self) -> bool:
        """Read the cursor, or begin; return whether the loop had ended in an earlier attempt."""
        memory = self._memory
        self._step = step = memory.find(self._step)
        self._state = value_of(step) or {"after": None, "done": 0, "total": None}
        if step.pk is None:
            self._state["total"] = self._keyset.queryset.count()
            self._keep()
        self._done_before = self._state["done"]
        memory.attempt.context.listen()
        self._show_progress()
        return step.finished_at is not None

    def page(self) -> list[Any]:
        """Return the next rows."""
        return self._keyset.page(self._state["after"], self._size)

    def _is_slow(self) -> bool:
        """Return whether a page takes long: it might never come to its end, and shows no progress."""
        return not self._is_atomic and time.monotonic() - self._kept_at > KEEP_SECONDS

    def _keep_part(self, rows: list[Any]) -> None:
        """Keep the cursor inside a page."""
        self._check_staying()
        self._done = []
        self.advance(rows, is_over=False)
        self._show_progress()

    def _check_staying(self) -> None:
        if self._memory.attempt.leaves_for is not None:
            # The body caught what was to end it: this is done again from where it was to leave.
            raise RunSuspended

    def _end_rows(self, page: list[Any], kept: int, done: int) -> bool:
        """Keep the cursor after the rows of a page that are done, and not kept yet; return whether it was the last."""
        self._check_staying()
        is_over = len(page) < self._size
        self._done = []
        self.advance(page[kept:done], is_over=is_over and done == len(page))
        return is_over

    def advance(self, rows: list[Any], *, is_over: bool) -> None:
        """Keep the cursor after some rows that are done."""
        if not rows and not is_over:
            return
        if rows:
            self._state["after"] = self._keyset.key(rows[-1])
            self._state["done"] += len(rows)
            self._state.pop("skip", None)
        self._keep(is_over=is_over)

    def _keep(self, *, is_over: bool = False) -> None:
        self._kept_at = time.monotonic()
        now = self._memory.now()
        self._memory.keep(
            self._step,
            value=memories.stored(self._state, f"the cursor of {self._step.name!r}"),
            started_at=self._step.started_at or now,
            finished_at=now if is_over else None,
        )

    def _commit(self) -> AbstractContextManager[object]:
        return transaction.atomic(using=self._memory.using) if self._is_atomic else nullcontext()

    def _end_page(self, is_whole: bool) -> None:
        self._show_progress()
        if not is_whole:
            raise RunInterrupted

    def _rest(self, count: int, began: float) -> None:
        """Wait as long as a page has to rest after it, for its pace."""
        seconds = 0.0 if self._pace is None else count / self._pace - (time.monotonic() - began)
        if seconds > 0:
            self._memory.attempt.context.wait(seconds)
        self._memory.check_end()

    def _show_progress(self) -> None:
        done, total = self._state["done"], self._state["total"]
        here = done - self._done_before
        ends_at = None
        if here and total is not None and total > done:
            seconds = (time.monotonic() - self._began) / here * (total - done)
            ends_at = datetime.now(UTC) + timedelta(seconds=min(seconds, 1e9))
        self._memory.attempt.context.show_progress(done, total, ends_at=ends_at)


class AsyncRows:
    """The rows of a loop for `async for`.

    Args:
        loop: The loop.
    """

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._rows = loop.arows()

    def __aiter__(self) -> AsyncRows:
        return self

    async def __anext__(self) -> Any:
        return await anext(self._rows)

    def __del__(self) -> None:
        self._loop.leave()


def _check(size: int, pace: float | None, on_error: str) -> None:
    if isinstance(size, bool) or not isinstance(size, int) or size < 1:
        raise ValueError(f"size must be a whole number of at least 1, not {size!r}")
    if pace is not None and not pace > 0:
        raise ValueError(f"pace must be rows a second, more than 0, not {pace!r}")
    if on_error not in {"raise", "record"}:
        raise ValueError(f'on_error must be "raise" or "record", not {on_error!r}')


def _caller() -> FrameType:
    """Return the frame that a generator is closed in."""
    frame = sys._getframe(2)
    while frame.f_code.co_filename == __file__ and frame.f_back is not None:
        frame = frame.f_back
    return frame
