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
