"""What modules do when this process forks: all that they keep for the process must be new in the child.

Threads do not live on in a forked child, and locks that they held stay locked there.
"""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING, TypeVar

from django_jobs.texts.printable import printable

if TYPE_CHECKING:
    from collections.abc import Callable

    Call = Callable[[], object]

logger = logging.getLogger(__name__)

C = TypeVar("C", bound="Call")

# Another number in each forked child than in its parent. To ask the system for the id of the process takes ten
# times as long. Not to be imported by itself: it changes.
generation = 0

_before: list[Call] = []
_in_parent: list[Call] = []
_in_child: list[Call] = []


def on_fork_reset(reset: C) -> C:
    """Have a function called in each forked child, before the code that forked goes on; a decorator."""
    _in_child.append(reset)
    return reset


@on_fork_reset
def _count() -> None:
    global generation
    generation += 1


def on_fork(*, before: Call, in_parent: Call) -> None:
    """Have functions called in the process that forks, just before and just after."""
    _before.append(before)
    _in_parent.append(in_parent)


def _call_all(calls: list[Call]) -> None:
    # A copy: what is called may import modules that add theirs, with nothing in them to reset yet.
    for call in tuple(calls):
        try:
            call()
        except Exception:  # or the modules after it would keep what is the parent's
            logger.exception("%s failed at a fork", printable(getattr(call, "__qualname__", call)))


# Windows has no fork.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=lambda: _call_all(_before),
        after_in_parent=lambda: _call_all(_in_parent),
        after_in_child=lambda: _call_all(_in_child),
    )
