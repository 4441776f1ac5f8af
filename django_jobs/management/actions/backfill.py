"""`manage.py jobs backfill`."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from django_jobs.api.manager import get_job_manager
from django_jobs.exceptions import JobLookupError
from django_jobs.management.actions.action import Action, no_such_job, nothing_done, wrong_usage
from django_jobs.management.actions.values import moment

if TYPE_CHECKING:
    from argparse import ArgumentParser

    from django_jobs.scheduler.backfill import Backfill


class BackfillJob(Action):
    """Run a job for scheduled times in the past."""

    name = "backfill"
    help = "Run a job for each scheduled time in the past that it has no run of."
    more = (
        "They run in order, as many at the same time as the job may have, and are a batch: `jobs batch` shows how far "
        "it is, and cancels it. Call it again as often as you like."
    )

    @classmethod
    def add_arguments(cls, parser: ArgumentParser) -> None:
        """See `manage.py jobs backfill --help`."""
        parser.add_argument("job_id", metavar="ID", help="Id of the job.")
        parser.add_argument("start", type=moment, metavar="START", help="A time, as 2026-12-01T00:00Z.")
        parser.add_argument("end", type=moment, metavar="END", help="A time that has come.")
        parser.add_argument("--dry-run", action="store_true", help="Only count the runs.")

    def run(self, options: dict[str, Any]) -> None:
        """Add the runs."""
        job_id, is_dry = options["job_id"], options["dry_run"]
        try:
            found = get_job_manager().backfill(job_id, options["start"], options["end"], dry_run=is_dry)
        except JobLookupError:
            raise nothing_done(no_such_job(job_id)) from None
        except ValueError as error:
            raise wrong_usage(str(error)) from None
        self.terminal.json(asdict(found))
        self.terminal.say(_words(found, is_dry=is_dry), "SUCCESS")
        if found.batch_id:
            self.terminal.say(f"Follow it: manage.py jobs batch show {found.batch_id}")


def _words(found: Backfill, *, is_dry: bool) -> str:
    runs = "1 run" if found.added == 1 else f"{found.added:,} runs"
    times = "1 scheduled time" if found.times == 1 else f"{found.times:,} scheduled times"
    there = f"; {found.existing:,} of them had a run" if found.existing else ""
    return f"{'Would add' if is_dry else 'Added'} {runs} for {times}{there}."
