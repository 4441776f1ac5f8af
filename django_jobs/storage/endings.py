"""What else is done in the transaction in which runs end, for runs that carry a mark.

A mark is a key of `Run.options`. Runs without one are written as if this module were not there: no
statement and no transaction more.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from django.utils.module_loading import import_string

from django_jobs.storage.batch_locks import MARK

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    Handler: TypeAlias = Callable[..., None]

# Dotted paths by mark, imported with the first run that needs them. Those of the rooms above are here, so that
# every process knows them that may end a run. Batches are the first to be told: their locks come before those of
# runs that wait.
_when_ended: dict[str, str] = {
    MARK: "django_jobs.storage.batches.ends.note_ended",
    "limit": "django_jobs.storage.limits.line.when_ended",
    "overlap": "django_jobs.scheduler.overlaps.runs_ended",
    "pause_after_failures": "django_jobs.scheduler.failures.runs_ended",
    "keep": "django_jobs.storage.retention.own.note_ended",
    "keep_arguments": "django_jobs.storage.retention.own.remove_arguments",
}
_when_reopened: dict[str, str] = {
    MARK: "django_jobs.storage.batches.revival.note_reopened",
    "keep": "django_jobs.storage.retention.own.note_reopened",
}
# What is called with all runs that FAILED, whatever their options.
_when_failed: set[str] = set()


@dataclass(frozen=True, slots=True)
class Ended:
    """A run that ended, or an attempt that did."""

    run_id: int
    # What it came to; READY where only the attempt ended, and the run waits again.
    status: str
    options: dict[str, Any]
    error: str = ""
    # Of a run that its worker returned without having begun it, which attempt that was; 0 for others.
    unstarted: int = 0
    # Of one that is made READY again: its status before.
    was: str = ""


def when_ended(mark: str, path: str) -> None:
    """Have a function called when runs with a mark end: finished, cancelled, lost, or waiting again.

    Args:
        mark: A key of `Run.options`.
        path: The function's dotted path. It is given a list of `Ended`, and `using`, inside the transaction
            that writes these ends, after they are written. Their rows are locked by then; what it raises
            undoes them, and they are written again later.
    """
    _when_ended[mark] = path


def when_reopened(mark: str, path: str) -> None:
    """Have a function called when runs with a mark that had ended wait again, because somebody retries them.

    Args:
        mark: A key of `Run.options`.
        path: The function's dotted path. It is given a list of `Ended`, each READY, and `using`, inside the
            transaction that reopens them.
    """
    _when_reopened[mark] = path


def when_failed(path: str) -> None:
    """Have a function called with all runs that FAILED, as by `when_ended`."""
    _when_failed.add(path)


def concerns(options: Mapping[str, Any] | None, status: str = "") -> bool:
    """Return whether anything else is to be done when a run with these options ends, in this status."""
    if options and not _when_ended.keys().isdisjoint(options):
        return True
    return status == "FAILED" and bool(_when_failed)


def ended(runs: Sequence[Ended], *, using: str, told: str = "") -> None:
    """Do what else is to be done for runs that just ended, in the transaction under way.

    Args:
        runs: They may be without marks.
        using: Alias of the database.
        told: The mark of who ended them, and need not be told.
    """
    _call(_when_ended, runs, using, told)
    failed = [run for run in runs if run.status == "FAILED"] if _when_failed else []
    if failed:
        for path in sorted(_when_failed):
            handler: Handler = import_string(path)
            handler(failed, using=using)


def reopened(runs: Sequence[Ended], *, using: str, told: str = "") -> None:
    """Do what else is to be done for runs that were just made READY again; arguments as for `ended`."""
    _call(_when_reopened, runs, using, told)


def _call(handlers: Mapping[str, str], runs: Sequence[Ended], using: str, told: str) -> None:
    for mark, path in handlers.items():
        marked = [run for run in runs if mark in run.options and mark != told]
        if marked:
            handler: Handler = import_string(path)
            handler(marked, using=using)
