"""`manage.py jobs import-apscheduler`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.utils import timezone

from django_jobs.management.actions.action import Action, nothing_done
from django_jobs.management.actions.terminal import ids_from
from django_jobs.operations.apscheduler import import_jobs

if TYPE_CHECKING:
    from argparse import ArgumentParser
    from collections.abc import Sequence

    from django_jobs.operations.apscheduler.import_jobs import Found


class ImportApscheduler(Action):
    """Import the jobs of django-apscheduler."""

    name = "import-apscheduler"
    help = "Import the jobs that django-apscheduler keeps in the database, under their ids."
    more = (
        "Stop the old scheduler first, everywhere: it deletes jobs that it cannot read, and so all that were "
        "imported. Its history is left alone. What the rows hold are pickles; they are read without "
        "calling anything, and a row that has more than plain values in it is refused. A job's function and "
        "arguments are signed as they stand there: only do it where you trust everybody who could write to the "
        "database. Doing it again does nothing."
    )

    @classmethod
    def add_arguments(cls, parser: ArgumentParser) -> None:
        """See `manage.py jobs import-apscheduler --help`."""
        parser.add_argument(
            "ids", nargs="*", metavar="ID",
            help="Ids of jobs; - reads them from standard input. Default: all.",
        )  # fmt: skip
        parser.add_argument(
            "--dry-run", action="store_true", help="Only show what would be imported, and what not and why."
        )
        parser.add_argument(
            "--run-late", action="store_true",
            help="Let firings run however late they are, in place of each job's misfire_grace_time.",
        )  # fmt: skip
        parser.add_argument("--yes", action="store_true", help="Do not ask.")

    def run(self, options: dict[str, Any]) -> None:
        """Import them."""
        ids, late = ids_from(options["ids"]), options["run_late"]
        if options["ids"] and not ids:
            raise nothing_done("no ids were given, so nothing was done")
        found = import_jobs.find_jobs(ids, late=late)
        missing = [one for one in ids if one not in {job.id for job in found}]
        if missing:
            raise nothing_done(
                f"django-apscheduler has no job {missing[0]!r} that is not imported yet: "
                "`manage.py jobs import-apscheduler --dry-run` shows what it has"
            )
        if not options["dry_run"] and any(job.row for job in found):
            self._write_table(found)
            self._ask(found, is_sure=options["yes"])
            found = import_jobs.import_jobs(ids, late=late)
        else:
            self._write_table(found)
        self._sum_up(found, is_dry=options["dry_run"])

    def _ask(self, found: Sequence[Found], *, is_sure: bool) -> None:
        count = sum(job.row is not None for job in found)
        question = f"Is the old scheduler stopped everywhere, and do you want to import these {count} jobs?"
        is_confirmed = self.confirmed(question, is_sure=is_sure, to="import them")
        if not is_confirmed:
            raise nothing_done("nothing was changed")

    def _write_table(self, found: Sequence[Found]) -> None:
        if not found:
            return
        heads = ("JOB", "FUNCTION", "TRIGGER", "NEXT RUN", "REMARKS")
        rows = [
            (
                job.id,
                job.func,
                job.trigger,
                f"{timezone.localtime(job.next_run_time):%Y-%m-%d %H:%M:%S}"
                if job.next_run_time
                else "paused",
                f"REFUSED: {job.problem}" if job.problem else "; ".join(job.notes),
            )
            for job in found
        ]
        self.terminal.table(heads, rows, ["ERROR" if job.problem else "SUCCESS" for job in found])

    def _sum_up(self, found: Sequence[Found], *, is_dry: bool) -> None:
        good = [job.id for job in found if job.row is not None]
        self.terminal.json(
            {
                "dry_run": is_dry,
                "imported": [] if is_dry else good,
                "jobs": [
                    {
                        "id": job.id,
                        "func": job.func,
                        "trigger": job.trigger,
                        "next_run_time": job.next_run_time and job.next_run_time.isoformat(),
                        "problem": job.problem,
                        "notes": job.notes,
                    }
                    for job in found
                ],
            }
        )
        if not found:
            self.terminal.say("django-apscheduler has no jobs here to import.")
            return
        done = "would be imported" if is_dry else "were imported"
        if len(good) < len(found):
            raise nothing_done(f"{len(good)} of {len(found)} jobs {done}; the others stay as they are")
        self.terminal.say(f"{len(good)} of {len(found)} jobs {done}.", "SUCCESS")
