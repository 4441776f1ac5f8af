"""`manage.py jobs pause` and `resume`."""

from __future__ import annotations

from abc import abstractmethod
from difflib import get_close_matches
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from django_jobs.api.manager import get_job_manager
from django_jobs.management.actions.action import wrong_usage
from django_jobs.management.actions.control import Control, add_ids, caller
from django_jobs.management.actions.terminal import ids_from, safe
from django_jobs.management.actions.values import duration, moment
from django_jobs.models import Queue, jobs_database
from django_jobs.operations import listing
from django_jobs.storage.transactions import database_now

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
    why_not = "none of it waits"
    why_not_queue = "is paused already"

    @classmethod
    def add_arguments(cls, parser: ArgumentParser) -> None:
        """See `manage.py jobs pause --help`."""
        super().add_arguments(parser)
        end = parser.add_mutually_exclusive_group()
        end.add_argument(
            "--until", type=moment, metavar="TIME",
            help="With --queue: when it is served again by itself, as 2026-12-01T03:30Z.",
        )  # fmt: skip
        end.add_argument(
            "--for", type=duration, dest="length", metavar="DURATION",
            help="With --queue: how long until then, as 2h30m.",
        )  # fmt: skip
        parser.add_argument("--reason", default="", metavar="TEXT", help="With --queue: why, for all to see.")

    def run(self, options: dict[str, Any]) -> None:
        """Do it."""
        self._reason, self._until = options["reason"], options["until"]
        if options["length"] is not None:
            self._until = database_now(jobs_database()) + options["length"]
        if not options["queue"] and (self._until is not None or self._reason):
            raise wrong_usage("--until, --for and --reason are for queues: add --queue")
        super().run(options)

    def _job(self, job_id: str) -> bool:
        return get_job_manager().pause_job(job_id, by=caller())

    def _queue(self, name: str) -> bool:
        if name not in self._known:
            similar = get_close_matches(name, self._known, n=1)
            hint = f"; did you mean {safe(similar[0])}?" if similar else ""
            self.terminal.complain(f"no job, run or worker names queue {safe(name)} yet{hint}")
        try:
            return get_job_manager().pause_queue(name, until=self._until, reason=self._reason, by=caller())
        except ValueError as error:
            raise wrong_usage(str(error)) from None

    @cached_property
    def _known(self) -> set[str]:
        return listing.queue_names()


class Resume(_QueueControl):
    """Resume jobs or queues."""

    name = "resume"
    help = "Undo `pause`, and try broken jobs again."
    done = "Resumed"
    why_not = "it is not paused, and none of it is held"
    why_not_queue = "is not paused"

    def _job(self, job_id: str) -> bool:
        return get_job_manager().resume_job(job_id)

    def _queue(self, name: str) -> bool:
        try:
            return get_job_manager().resume_queue(name)
        except ValueError as error:
            raise wrong_usage(str(error)) from None
