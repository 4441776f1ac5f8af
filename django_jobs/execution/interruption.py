"""Raise an exception into the thread of a function that does not listen: the last means there is."""

from __future__ import annotations

import ctypes
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from django_jobs.exceptions import RunInterrupted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

T = TypeVar("T")

_set_exception = ctypes.pythonapi.PyThreadState_SetAsyncExc


# Threads on which an interruption was raised since their call began.
_delivered: set[int] = set()


class _Interruption(RunInterrupted):
    """What is raised: Python makes an instance on the thread that it is raised in."""

    def __init__(self) -> None:
        super().__init__()
        _delivered.add(threading.get_ident())


# In tracebacks and by its users it is the public one.
_Interruption.__name__ = _Interruption.__qualname__ = RunInterrupted.__qualname__
_Interruption.__module__ = RunInterrupted.__module__


class Interruptible:
    """One call that another thread may end with `RunInterrupted`; again, where it goes on.

    Python raises it between two steps of Python code. A call into C (a sleep, a query, a read from a
    socket) returns first, however long it takes; and code that catches `BaseException` goes on.

    Attributes:
        was_interrupted: The exception was raised in the call, which may have caught it.
    """

    was_interrupted = False
    _thread_id: int | None = None
    _is_over = False
    _was_raised = False
    _is_shielded = False

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def call(self, function: Callable[[], T]) -> T:
        """Call a function on this thread.

        Raises:
            RunInterrupted: It was interrupted, during the call or before it.
        """
        thread_id = threading.get_ident()
        _delivered.discard(thread_id)
        with self._lock:
            if self._is_over:
                raise RunInterrupted
            self._thread_id = thread_id
        try:
            result = function()
            # Now: one that comes while the call is left did not come in it.
            self.was_interrupted = thread_id in _delivered
            return result
        finally:
            self._close()

    def interrupt(self) -> None:
        """Raise `RunInterrupted` in the call, if it goes on or is still to begin."""
        with self._lock:
            if self._is_over or self._is_shielded:
                return
            if self._thread_id is None:
                self._is_over = True
                return
            self._was_raised = True
            _set_exception(ctypes.c_ulong(self._thread_id), ctypes.py_object(_Interruption))

    @contextmanager
    def shielded(self) -> Iterator[None]:
        """Keep interruptions out of a few steps that must not be cut in two: whoever asks, asks again.

        Raises:
            RunInterrupted: One came just before.
        """
        with self._lock:
            is_pending = self._was_raised and not self._is_over and threading.get_ident() not in _delivered
            self._is_shielded = True
            if is_pending:
                _set_exception(ctypes.c_ulong(threading.get_ident()), None)
        try:
            if is_pending:
                raise RunInterrupted
            yield
        finally:
            self._is_shielded = False

    def _close(self) -> None:
        while True:
            try:
                with self._lock:
                    self._is_over = True
                    if self._was_raised:
                        # One that was not delivered yet would hit whatever this thread does next.
                        _set_exception(ctypes.c_ulong(threading.get_ident()), None)
            except RunInterrupted:
                # It came while the call was being left, and the call has its outcome.
                continue
            return
