"""`manage.py jobs tail`."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from django_jobs.management.actions.action import Action, no_such_job, nothing_done
from django_jobs.management.actions.terminal import compact, safe
from django_jobs.management.actions.values import at_least
from django_jobs.models import jobs_database
from django_jobs.operations.run_log import LogReader, newest_run
from django_jobs.storage.logs import LEVELS, matching

if TYPE_CHECKING:
    from argparse import ArgumentParser

    from django_jobs.storage.logs import Line

# Between two looks at the database.
LOOK_SECONDS = 0.5
ROLES = {"WARNING": "WARNING", "ERROR": "ERROR", "CRITICAL": "ERROR"}


class Tail(Action):
    """Show what a run says, while it executes."""

    name = "tail"
    help = "Show the log of a run, and what it says until it ends."

    @classmethod
    def add_arguments(cls, parser: ArgumentParser) -> None:
        """See `manage.py jobs tail --help`."""
        which = parser.add_mutually_exclusive_group(required=True)
        which.add_argument("id", nargs="?", help="Id of the job, whose newest run is followed.")
        which.add_argument(
            "--run", type=at_least(1, "number"), metavar="NUMBER", help="Number of a run, as `list` shows it."
        )
        parser.add_argument(
            "--level", choices=LEVELS, type=str.upper, default=LEVELS[0],
            help="Only lines of this level or a higher one.",
        )  # fmt: skip
        parser.add_argument(
            "--search", default="", metavar="TEXT", help="Only lines with this text, in any case."
        )
        parser.add_argument(
            "--lines", "-n", type=at_least(0, "number"), metavar="N",
            help="Of what was said before, only the last N lines.",
        )  # fmt: skip
        parser.add_argument(
            "--no-follow", action="store_false", dest="follow", help="Show what is there, and end."
        )

    def run(self, options: dict[str, Any]) -> None:
        """Show it.

        Raises:
            CommandError: There is no such job or run.
        """
        run_id = options["run"] or newest_run(options["id"], using=jobs_database())
        if run_id is None:
            raise nothing_done(no_such_job(options["id"]))
        reader = LogReader(run_id, using=jobs_database())
        lines = matching(reader.read(), options["level"], options["search"])
        if not reader.status:
            raise nothing_done(f"there is no run {run_id}")
        if options["lines"] is not None:
            lines = lines[len(lines) - min(options["lines"], len(lines)) :]
        self._write(lines)
        while options["follow"] and not reader.is_over:
            try:
                time.sleep(LOOK_SECONDS)
            except KeyboardInterrupt:
                return
            self._write(matching(reader.read(), options["level"], options["search"]))

    def _write(self, lines: list[Line]) -> None:
        for line in lines:
            if self.terminal.is_json:
                at = line.at and line.at.isoformat()
                self.terminal.raw(compact({"at": at, "level": line.level, "text": line.text}))
            else:
                self.terminal.say(safe(line.raw, keep_lines=True), ROLES.get(line.level, ""))
