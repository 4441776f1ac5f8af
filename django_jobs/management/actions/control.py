"""`manage.py jobs pause`, `resume`, `run`, `cancel`, `retry` and `remove`."""

from __future__ import annotations

import getpass
from abc import abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

from django_jobs.api.manager import get_job_manager
from django_jobs.exceptions import JobLookupError
from django_jobs.management.actions.action import Action, no_such_job, nothing_done, wrong_usage
from django_jobs.management.actions.terminal import ids_from, safe
from django_jobs.management.actions.wait import add_wait, wait

if TYPE_CHECKING:
    from argparse import ArgumentParser
    from collections.abc import Callable, Sequence


class Control(Action):
    """Does one thing to each of some jobs, runs or queues, and goes on where one of them fails."""

    #: What was done, as in "Paused nightly."
    done: ClassVar[str]
    #: Why nothing was done to a job that is there.
    why_not: ClassVar[str]

    def each(self, noun: str, ids: Sequence[str], act: Callable[[str], str]) -> None:
        """Do it to each.

        Args:
            noun: "job", "run" or "queue".
            ids: To what.
            act: Returns why it was not done, or nothing.

        Raises:
            CommandError: It was not done to one or more of them; each was said.
        """
        if not ids:
            raise nothing_done("no ids were given, so nothing was done")
        done: list[str] = []
        failed: list[dict[str, str]] = []
        for one in self.terminal.progress(ids):
            reason = act(one)
            if reason:
                failed.append({"id": one, "reason": reason})
            else:
                done.append(one)
        self.terminal.json({"done": done, "not_done": failed})
        for one in done:
            name = f"{noun} {safe(one)}" if noun != "job" else safe(one)
            self.terminal.say(f"{self.done} {name}.", "SUCCESS")
        if not failed:
            return
        if len(ids) == 1:
            raise nothing_done(failed[0]["reason"])
        for failure in failed:
            self.terminal.complain(safe(failure["reason"]))
        raise nothing_done(f"{len(done)} of {len(ids)} were done")

    def act_on_job(self, method: Callable[[str], bool]) -> Callable[[str], str]:
        """Return what does it to one job by a method of the manager."""

        def act(job_id: str) -> str:
            if method(job_id):
                return ""
            if get_job_manager().get_job(job_id) is None:
                return no_such_job(job_id)
            return f"job {job_id!r}: {self.why_not}"

        return act


def _add_ids(parser: ArgumentParser, *, nargs: str = "+") -> None:
    parser.add_argument(
        "ids", nargs=nargs, metavar="ID", help="Ids of jobs; - reads them from standard input."
    )


def _run_number(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or len(text) > 18:
        raise wrong_usage(f"{text!r} is not the number of a run: `manage.py jobs list` shows them")
    return int(text)


class _QueueControl(Control):
    """Does something to jobs, or to queues."""

    why_not_queue: ClassVar[str]

    @classmethod
    def add_arguments(cls, parser: ArgumentParser) -> None:
        """See `--help`."""
        _add_ids(parser, nargs="*")
        parser.add_argument(
            "--queue", action="append", default=[], metavar="NAME",
            help="A queue in place of jobs; may be given several times.",
        )  # fmt: skip

    def run(self, options: dict[str, Any]) -> None:
        """Do it."""
        if bool(options["ids"]) == bool(options["queue"]):
            raise wrong_usage(f"say which jobs to {self.name}, or which --queue")
        if options["queue"]:
            self.each("queue", options["queue"], self._act_on_queue)
        else:
            self.each("job", ids_from(options["ids"]), self.act_on_job(self._job))

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
        return get_job_manager().pause_queue(name)


class Resume(_QueueControl):
    """Resume jobs or queues."""

    name = "resume"
    help = "Undo `pause`; broken jobs are looked at anew."
    done = "Resumed"
    why_not = "it is not paused, and nothing of it is held"
    why_not_queue = "is not paused"

    def _job(self, job_id: str) -> bool:
        return get_job_manager().resume_job(job_id)

    def _queue(self, name: str) -> bool:
        return get_job_manager().resume_queue(name)


class Run(Control):
    """Run jobs now."""

    name = "run"
    help = "Run jobs now, besides their schedules; a finished job runs once more."
    done = "Enqueued"

    @classmethod
    def add_arguments(cls, parser: ArgumentParser) -> None:
        """See `manage.py jobs run --help`."""
        _add_ids(parser)
        add_wait(parser)

    def run(self, options: dict[str, Any]) -> None:
        """Run them."""
        ids = ids_from(options["ids"])
        if options["wait"] is None:
            self.each("job", ids, self._run_job)
            return
        if len(ids) != 1:
            raise wrong_usage("--wait is for one job")
        reason = self._run_job(ids[0])
        if reason:
            raise nothing_done(reason)
        wait(self.terminal, ids[0], options["wait"])

    def _run_job(self, job_id: str) -> str:
        try:
            get_job_manager().run_job(job_id)
        except JobLookupError:
            return no_such_job(job_id)
        return ""


class _RunControl(Control):
    """Does something to jobs, or to single runs."""

    why_not_run: ClassVar[str]

    @classmethod
    def add_arguments(cls, parser: ArgumentParser) -> None:
        """See `--help`."""
        _add_ids(parser)
        parser.add_argument(
            "--runs", action="store_true", help="The ids are numbers of runs, as `list` shows them."
        )

    def run(self, options: dict[str, Any]) -> None:
        """Do it."""
        ids = ids_from(options["ids"])
        if not options["runs"]:
            self.each("job", ids, self.act_on_job(self._job))
            return
        for one in ids:
            _run_number(one)
        self.each("run", ids, self._act_on_run)

    def _act_on_run(self, text: str) -> str:
        return "" if self._run(int(text)) else f"run {text}: {self.why_not_run}"

    @abstractmethod
    def _job(self, job_id: str) -> bool: ...

    @abstractmethod
    def _run(self, run_id: int) -> bool: ...


class Cancel(_RunControl):
    """Cancel unfinished runs."""

    name = "cancel"
    help = "Cancel unfinished runs; one that executes is asked to end. Recurring jobs go on."
    done = "Cancelled"
    why_not = "nothing of it is unfinished"
    why_not_run = "there is no such run, or it has ended"

    def _job(self, job_id: str) -> bool:
        return get_job_manager().cancel_job(job_id)

    def _run(self, run_id: int) -> bool:
        return get_job_manager().cancel_run(run_id)


class Retry(_RunControl):
    """Retry what ended without success."""

    name = "retry"
    help = "Make the newest run of each job ready again, if it failed, was cancelled or was skipped."
    done = "Ready again:"
    why_not = "its newest run did not end without success; `jobs run` runs it once more"
    why_not_run = "there is no such run, it did not end without success, or its job was added anew meanwhile"

    def _job(self, job_id: str) -> bool:
        return get_job_manager().retry_job(job_id)

    def _run(self, run_id: int) -> bool:
        return get_job_manager().retry_run(run_id)


class Remove(Control):
    """Remove jobs."""

    name = "remove"
    help = "Remove jobs and cancel their waiting runs; a running one finishes, and the history stays."
    done = "Removed"
    why_not = "nothing of it is still to run"

    @classmethod
    def add_arguments(cls, parser: ArgumentParser) -> None:
        """See `manage.py jobs remove --help`."""
        _add_ids(parser)
        parser.add_argument("--yes", action="store_true", help="Do not ask.")

    def run(self, options: dict[str, Any]) -> None:
        """Remove them."""
        ids = ids_from(options["ids"])
        what = safe(ids[0]) if len(ids) == 1 else f"{len(ids)} jobs"
        if ids and not self.confirmed(f"Remove {what}?", is_sure=options["yes"]):
            raise nothing_done("nothing was removed")
        self.each("job", ids, self.act_on_job(get_job_manager().remove_job))

    def confirmed(self, question: str, *, is_sure: bool) -> bool:
        """Ask, where somebody can answer."""
        try:
            return self.terminal.confirm(question, is_sure=is_sure)
        except EOFError:
            raise wrong_usage("nobody is there to say whether to remove it: say --yes") from None


def _caller() -> str:
    try:
        return f"{getpass.getuser()}, manage.py jobs"
    except (OSError, KeyError):
        # A container's user may have no name.
        return "manage.py jobs"
