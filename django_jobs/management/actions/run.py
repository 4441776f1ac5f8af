"""`manage.py jobs run`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django_jobs.api.manager import get_job_manager
from django_jobs.exceptions import JobLookupError
from django_jobs.management.actions.action import no_such_job, nothing_done, wrong_usage
from django_jobs.management.actions.control import Control, add_ids
from django_jobs.management.actions.terminal import ids_from
from django_jobs.management.actions.wait import add_wait, wait

if TYPE_CHECKING:
    from argparse import ArgumentParser


class Run(Control):
    """Run jobs now."""

    name = "run"
    help = "Run jobs now, besides their schedules; a finished job runs once more."
    done = "Enqueued"

    @classmethod
    def add_arguments(cls, parser: ArgumentParser) -> None:
        """See `manage.py jobs run --help`."""
        add_ids(parser)
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
