"""Linux's reports that a file was written, which the standard library does not give.

What it is kept for, instead of reading the change counter at short intervals (medians of three
turns of `python -m tests.benchmarks --database sqlite --only latency idle --quick`, two cores, loaded):

                                     inotify   each 10 ms   each 50 ms
    idle process, of one core         0.04 %       1.3 %        0.36 %
    start from another process, p50    5.7 ms      6.9 ms       9.7 ms
    the same, p95                       14 ms       15 ms        55 ms
    the same, after 5 s of rest        1.3 ms      7.2 ms        12 ms
"""

from __future__ import annotations

import ctypes
import os
import struct
import sys
from contextlib import suppress
from pathlib import Path

# From <sys/inotify.h>: written to, moved here, created.
_EVENTS = 0x00000002 | 0x00000080 | 0x00000100
# wd, mask, cookie, length of the name that follows.
_HEADER = struct.Struct("iIII")


class FileWrites:
    """Readable, for `select`, once a file or one whose name begins with its name was written.

    Args:
        path: Of the file; SQLite's log lies beside it, under a longer name.

    Raises:
        OSError: The system has no inotify, or has given all its watches away.
    """

    def __init__(self, path: str) -> None:
        file = Path(path).resolve()
        self._name = os.fsencode(file.name)
        libc = ctypes.CDLL(None, use_errno=True)
        try:
            self._fd: int = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
            if self._fd >= 0 and libc.inotify_add_watch(self._fd, os.fsencode(file.parent), _EVENTS) < 0:
                error = ctypes.get_errno()
                os.close(self._fd)
                raise OSError(error, os.strerror(error))
        except AttributeError:
            raise OSError("this system's C library has no inotify") from None
        if self._fd < 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))

    def fileno(self) -> int:
        """Return what `select` waits for."""
        return self._fd

    def happened(self) -> bool:
        """Forget the reports so far; return whether one was about the file."""
        found = False
        with suppress(BlockingIOError):
            while True:
                found |= self._is_about_file(os.read(self._fd, 65536))
        return found

    def _is_about_file(self, events: bytes) -> bool:
        start = 0
        while start < len(events):
            watch, _, _, length = _HEADER.unpack_from(events, start)
            start += _HEADER.size
            # The kernel dropped some events (no watch): one of them may have been ours.
            if watch < 0 or events[start : start + length].startswith(self._name):
                return True
            start += length
        return False

    def close(self) -> None:
        """Let go of the watch."""
        os.close(self._fd)


def file_writes(path: str) -> FileWrites | None:
    """Return the writes to a file; None where there is no file, or the system does not report them."""
    if not path or sys.platform != "linux":
        return None
    try:
        return FileWrites(path)
    except OSError:
        return None
