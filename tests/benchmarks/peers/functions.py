"""What the other systems call."""

from __future__ import annotations

import time
from pathlib import Path


def nothing() -> None:
    """Do nothing."""


def note_time(path: str) -> None:
    """Write the monotonic time to a file, whole or not at all."""
    part = Path(f"{path}.part")
    part.write_text(repr(time.monotonic()))
    part.rename(path)


def part(path: str, number: int) -> int:
    """Write a line, take a few milliseconds, and return the number."""
    _append(path, f"part {number}")
    time.sleep(0.005)
    return number


def join(numbers: list[int], path: str) -> None:
    """Write how many parts came together, and their sum."""
    _append(path, f"joined {len(numbers)} {sum(numbers)}")


def _append(path: str, line: str) -> None:
    # One write: lines of several processes do not mix.
    with Path(path).open("ab", buffering=0) as file:
        file.write(f"{line}\n".encode())
