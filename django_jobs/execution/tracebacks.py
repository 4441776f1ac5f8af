"""The text of what an attempt raised."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from django_jobs.texts import describe

if TYPE_CHECKING:
    from types import TracebackType

_OWN = f"{Path(__file__).parents[1]}{os.sep}"


def formatted(error: BaseException) -> str:
    """Return an exception with its traceback from the first frame of the job's own code on.

    The frames before it are this package's, the same for all jobs. An error that only has those keeps them.
    """
    return describe.formatted(error, _from_users_code(describe.traceback_of(error)))


def _from_users_code(first: TracebackType | None) -> TracebackType | None:
    frame = first
    while frame is not None and frame.tb_frame.f_code.co_filename.startswith(_OWN):
        frame = frame.tb_next
    return frame or first
