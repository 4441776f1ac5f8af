"""`manage.py jobs cancel` and `retry`."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

from django_jobs.api.manager import get_job_manager
from django_jobs.management.actions.action import wrong_usage
from django_jobs.management.actions.control import Control, add_ids
from django_jobs.management.actions.terminal import ids_from
from django_jobs.operations.run_query import run_number

if TYPE_CHECKING:
    from argparse import ArgumentParser


class _RunControl(Control):
    """Does something to jobs, or to single runs."""

    why_not_run: ClassVar[str]

    @classmethod
    def add_arguments(cls, parser: ArgumentParser) -> None:
        """See `--help`."""
        add_ids(parser)
        parser.add_argument(
            "--runs", action="store_true", help="The ids are numbers of runs, as `list` shows them."
        )

    def run(self, options: dict[str, Any]) -> None:
        """Do it."""
        ids = ids_from(options["ids"])
        if not options["runs"]:
            self.each_job(ids, self._job)
            return
        for one in ids:
            if run_number(one) is None:
                raise wrong_usage(f"{one!r} is not the number of a run: `manage.py jobs list` shows them")
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
    why_not = "none of it is unfinished"
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
    why_not_run = "there is no such run, it did not end without success, or its job was added again meanwhile"

    def _job(self, job_id: str) -> bool:
        return get_job_manager().retry_job(job_id)

    def _run(self, run_id: int) -> bool:
        return get_job_manager().retry_run(run_id)
