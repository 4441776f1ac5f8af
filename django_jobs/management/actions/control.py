"""What the actions have in common that do one thing to each of some jobs, runs or queues."""

from __future__ import annotations

import getpass
from typing import TYPE_CHECKING, ClassVar

from django_jobs.api.manager import get_job_manager
from django_jobs.management.actions.action import Action, no_such_job, nothing_done
from django_jobs.management.actions.terminal import safe

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
            act: Returns why it was not done, or an empty string.

        Raises:
            CommandError: It was not done to one or more of them; each was written.
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

    def each_job(self, ids: Sequence[str], method: Callable[[str], bool]) -> None:
        """Do it to each job, by a method of the manager."""

        def reason(job_id: str) -> str:
            if method(job_id):
                return ""
            if get_job_manager().get_job(job_id) is None:
                return no_such_job(job_id)
            return f"job {job_id!r}: {self.why_not}"

        self.each("job", ids, reason)


def add_ids(parser: ArgumentParser, *, nargs: str = "+") -> None:
    """Say that the action takes ids of jobs."""
    parser.add_argument(
        "ids", nargs=nargs, metavar="ID", help="Ids of jobs; - reads them from standard input."
    )


def caller() -> str:
    """Return who says it, for the log and for pages."""
    try:
        return f"{getpass.getuser()}, manage.py jobs"
    except (OSError, KeyError):
        # A container's user may have no name.
        return "manage.py jobs"
