"""Raise an exception into the thread of a function that does not listen: the last means there is."""

from __future__ import annotations

import ctypes
import threading
from typing import TYPE_CHECKING, TypeVar

from django_jobs.exceptions import RunInterrupted

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

_set_exception = ctypes.pythonapi.PyThreadState_SetAsyncExc


class Interruptible:
    """One call that another thread may end with `RunInterrupted`, once.

    Python raises it between two steps of Python code. A call into C (a sleep, a query, a read from a
    socket) returns first, however long it takes; and code that catches `BaseException` goes on.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._thread_id: int | None = None
        self._is_over = False
        self._was_raised = False

    def call(self, function: Callable[[], T]) -> T:
        """Call a function on this thread.

        Raises:
            RunInterrupted: It was interrupted, during the call or before it.
        """
        with self._lock:
            if self._is_over:
                raise RunInterrupted
            self._thread_id = threading.get_ident()
        try:
            return function()
        finally:
            self._close()

    def interrupt(self) -> None:
        """Raise `RunInterrupted` in the call, if it goes on or is still to begin."""
        with self._lock:
            if not self._is_over and self._thread_id is not None:
                self._was_raised = True
                _set_exception(ctypes.c_ulong(self._thread_id), ctypes.py_object(RunInterrupted))
            self._is_over = True

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
