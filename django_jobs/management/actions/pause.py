"""`manage.py jobs pause` and `resume`."""

from __future__ import annotations

import getpass
from abc import abstractmethod
from difflib import get_close_matches
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from django_jobs.api.manager import get_job_manager
from django_jobs.management.actions.action import wrong_usage
from django_jobs.management.actions.control import Control, add_ids
from django_jobs.management.actions.terminal import ids_from, safe
from django_jobs.models import Queue
from django_jobs.operations import listing

if TYPE_CHECKING:
    from argparse import ArgumentParser


class _QueueControl(Control):
    """Does something to jobs, or to queues."""

    why_not_queue: ClassVar[str]

    @classmethod
    def add_arguments(cls, parser: ArgumentParser) -> None:
        """See `--help`."""
        add_ids(parser, nargs="*")
        parser.add_argument(
            "--queue", action="append", default=[], metavar="NAME",
            help="A queue in place of jobs; may be given several times.",
        )  # fmt: skip

    def run(self, options: dict[str, Any]) -> None:
        """Do it."""
        if bool(options["ids"]) == bool(options["queue"]):
            raise wrong_usage(f"say which jobs to {self.name}, or which --queue")
        longest = Queue._meta.get_field("name").max_length or 0
        if too_long := [name for name in options["queue"] if len(name) > longest]:
            raise wrong_usage(f"{too_long[0]!r:.50}... is too long for a queue: at most {longest} characters")
        if options["queue"]:
            self.each("queue", options["queue"], self._act_on_queue)
        else:
            self.each_job(ids_from(options["ids"]), self._job)

    def _act_on_queue(self, name: str) -> str:
        return "" if self._queue(name) else f"queue {name!r} {self.why_not_queue}"

    @abstractmethod
    def _job(self, job_id: str) -> bool: ...

    @abstractmethod
    def _queue(self, name: str) -> bool: ...


class Pause(_QueueControl):
    """Pause jobs or queues."""

    name = "pause"
    help = "Keep jobs from firing and their waiting runs from starting, or a queue from being served."
    done = "Paused"
    why_not = "nothing of it waits"
    why_not_queue = "is paused already"

    def _job(self, job_id: str) -> bool:
        return get_job_manager().pause_job(job_id, by=_caller())

    def _queue(self, name: str) -> bool:
        if name not in self._known:
            similar = get_close_matches(name, self._known, n=1)
            hint = f"; did you mean {safe(similar[0])}?" if similar else ""
            self.terminal.complain(f"no job, run or worker names queue {safe(name)} yet{hint}")
        return get_job_manager().pause_queue(name)

    @cached_property
    def _known(self) -> set[str]:
        return listing.queue_names()


class Resume(_QueueControl):
    """Resume jobs or queues."""

    name = "resume"
    help = "Undo `pause`, and try broken jobs again."
    done = "Resumed"
    why_not = "it is not paused, and nothing of it is held"
    why_not_queue = "is not paused"

    def _job(self, job_id: str) -> bool:
        return get_job_manager().resume_job(job_id)

    def _queue(self, name: str) -> bool:
        return get_job_manager().resume_queue(name)


def _caller() -> str:
    try:
        return f"{getpass.getuser()}, manage.py jobs"
    except (OSError, KeyError):
        # A container's user may have no name.
        return "manage.py jobs"
