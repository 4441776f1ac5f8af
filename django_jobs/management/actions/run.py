"""`manage.py jobs run`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django_jobs.api.manager import get_job_manager
from django_jobs.exceptions import JobLookupError
from django_jobs.management.actions import here
from django_jobs.management.actions.action import no_such_job, nothing_done, wrong_usage
from django_jobs.management.actions.control import Control, add_ids
from django_jobs.management.actions.terminal import ids_from
from django_jobs.management.actions.values import moment
from django_jobs.management.actions.wait import add_wait, wait
from django_jobs.models import jobs_database
from django_jobs.operations import run_here

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
        parser.add_argument(
            "--as-of",
            type=moment,
            metavar="TIME",
            help="The scheduled time whose work they do, as 2026-12-01T03:30Z.",
        )
        add_wait(parser)
        parser.add_argument(
            "--here", action="store_true",
            help="Execute one job in this process, in the foreground; no worker gets it.",
        )  # fmt: skip
        here.add_pdb(parser)

    def run(self, options: dict[str, Any]) -> None:
        """Run them."""
        ids = ids_from(options["ids"])
        self._as_of = options["as_of"]
        if options["pdb"] and not options["here"]:
            raise wrong_usage("--pdb needs --here")
        if options["here"]:
            self._run_here(ids, options)
            return
        if options["wait"] is None:
            self.each("job", ids, self._run_job)
            return
        if len(ids) != 1:
            raise wrong_usage("--wait is for one job")
        reason = self._run_job(ids[0])
        if reason:
            raise nothing_done(reason)
        wait(self.terminal, ids[0], options["wait"])

    def _run_here(self, ids: list[str], options: dict[str, Any]) -> None:
        if len(ids) != 1 or options["wait"] is not None or options["as_of"] is not None:
            raise wrong_usage("--here is for one job, without --wait and --as-of")
        try:
            executed = run_here.run_here(ids[0], has_limit=not options["pdb"], using=jobs_database())
        except JobLookupError:
            raise nothing_done(no_such_job(ids[0])) from None
        except run_here.NotHere as error:
            raise nothing_done(str(error)) from None
        here.show(self.terminal, executed, wants_pdb=options["pdb"])

    def _run_job(self, job_id: str) -> str:
        try:
            get_job_manager().run_job(job_id, as_of=self._as_of)
        except JobLookupError:
            return no_such_job(job_id)
        except ValueError as error:
            return str(error)
        return ""
