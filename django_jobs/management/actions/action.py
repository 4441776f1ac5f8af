"""What all actions of `manage.py jobs` have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from django.core.management.base import CommandError

from django_jobs.management.actions.values import duration as read_duration
from django_jobs.operations import listing

if TYPE_CHECKING:
    from argparse import ArgumentParser

    from django_jobs.management.actions.terminal import Terminal

# Exit codes. What was asked for was done, or all is well.
DONE = 0
# There is no such job, nothing was to be done, or something is wrong.
NOTHING = 1
# The command was used in a way that it does not understand; argparse's own code too.
USAGE = 2
# The database does not answer, or lacks our tables.
NO_DATABASE = 3

# Between two looks of `--watch`, and in seconds at least.
WATCH_EVERY, LEAST_WATCH = timedelta(seconds=2), 0.2


def nothing_done(message: str) -> CommandError:
    """Return what ends the command with 1."""
    return CommandError(message, returncode=NOTHING)


def add_watch(parser: ArgumentParser) -> None:
    """Add `--watch` to what an action understands."""
    parser.add_argument(
        "--watch", nargs="?", type=read_duration, const=WATCH_EVERY, metavar="DURATION",
        help="Show it again and again, until Ctrl-C. Default: every 2s.",
    )  # fmt: skip


def watched(options: dict[str, Any], *others: str) -> float | None:
    """Return the seconds between two looks; None without `--watch`.

    Raises:
        CommandError: One of the other options was given too, which say something once.
    """
    if options["watch"] is None:
        return None
    for name in ("json", *others):
        if options.get(name):
            raise wrong_usage(f"--watch and --{name.replace('_', '-')} exclude each other")
    every: timedelta = options["watch"]
    return max(LEAST_WATCH, every.total_seconds())


def wrong_usage(message: str) -> CommandError:
    """Return what ends the command with 2."""
    return CommandError(message, returncode=USAGE)


class Action(ABC):
    """One thing that `manage.py jobs` can do.

    Args:
        terminal: Where to write.
    """

    name: ClassVar[str]
    #: One line, in the list of actions.
    help: ClassVar[str]
    #: What `--help` of the action says besides.
    more: ClassVar[str] = ""

    def __init__(self, terminal: Terminal) -> None:
        self.terminal = terminal

    @classmethod
    @abstractmethod
    def add_arguments(cls, parser: ArgumentParser) -> None:
        """Say what the action takes."""

    @abstractmethod
    def run(self, options: dict[str, Any]) -> None:
        """Do it.

        Raises:
            CommandError: It could not be done, or there was nothing to do.
            CommandError: The arguments do not fit each other.
        """

    def confirmed(self, question: str, *, is_sure: bool, to: str) -> bool:
        """Ask a person, unless the caller is sure.

        Args:
            question: The question.
            is_sure: Whether `--yes` was given.
            to: What the question is about, as "remove it".

        Raises:
            CommandError: Nobody can answer.
        """
        try:
            return self.terminal.confirm(question, is_sure=is_sure)
        except EOFError:
            raise wrong_usage(
                f"this is not a terminal, so nobody can confirm whether to {to}: add --yes"
            ) from None


def no_such_job(job_id: str) -> str:
    """Say that there is no job of an id, and which ones there are that look like it."""
    similar = listing.similar_ids(job_id)
    way_out = (
        f"did you mean {' or '.join(similar)}?" if similar else "`manage.py jobs list` shows what there is"
    )
    return f"there is no job {job_id!r}: {way_out}"
