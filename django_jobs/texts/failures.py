"""What failures have in common: the class that was raised, the place that raised it, and the key of both."""

from __future__ import annotations

import hashlib
import re
from pathlib import PurePath

_FRAME = re.compile(r'File "([^"]+)", line (\d+), in (\S+)')
_CLASS = re.compile(r"[\w.]+(?=:|$)")


def place_of(traceback: str) -> str:
    """Return where the last frame of a traceback is, as "shop/jobs.py:12 charge"; "" without one."""
    frames = _FRAME.findall(traceback)
    if not frames:
        return ""
    file, line, name = frames[-1]
    return f"{'/'.join(PurePath(file).parts[-2:])}:{line} {name}"


def exception_of(error: str) -> str:
    """Return the class that an error's line begins with, or that line."""
    line = error.partition("\n")[0]
    found = _CLASS.match(line)
    return found[0] if found else line[:80]


def key_of(exception: str, traceback: str, error: str, func: str) -> str:
    """Return what failures are grouped by: 32 hexadecimal digits of an exception and its place.

    Args:
        exception: The class, as module.qualname; empty where nothing was raised.
        traceback: Of what was raised; without a frame in it the function is the place.
        error: The error's line, whose beginning stands for the class where there is none.
        func: The function of the run.
    """
    parts = exception or exception_of(error), place_of(traceback) or func
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]
