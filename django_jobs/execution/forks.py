"""The end of a copy of this process that a function forked."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import NoReturn

from django_jobs.texts import describe


def end_fork(error: BaseException | None) -> NoReturn:
    """End this process, a copy that a function forked and let return: the run is the original's.

    Its threads are not here, and its locks may be held by them: it can do nothing but end.
    """
    code = 0 if error is None else 1
    if error is not None and describe.is_a(error, SystemExit):
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
    elif error is not None:
        with contextlib.suppress(Exception):
            sys.stderr.write(describe.formatted(error))
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()
    os._exit(code & 0xFF)
