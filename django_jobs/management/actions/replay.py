"""`manage.py jobs replay`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django_jobs.management.actions import here
from django_jobs.management.actions.action import Action, nothing_done
from django_jobs.management.actions.values import at_least
from django_jobs.models import jobs_database
from django_jobs.operations import run_here

if TYPE_CHECKING:
    from argparse import ArgumentParser


class Replay(Action):
    """Call a finished run's function again, and undo what it wrote."""

    name = "replay"
    help = "Call a finished run's function again in this process, and roll back what it writes."
    more = (
        "Nothing is recorded. Mails and calls of other systems are not undone. On SQLite nobody else can "
        "write meanwhile."
    )

    @classmethod
    def add_arguments(cls, parser: ArgumentParser) -> None:
        """See `manage.py jobs replay --help`."""
        parser.add_argument("run", type=at_least(1, "number"), help="Number of the run, as `list` shows it.")
        parser.add_argument("--yes", action="store_true", help="Do not ask.")
        here.add_pdb(parser)

    def run(self, options: dict[str, Any]) -> None:
        """Do it.

        Raises:
            CommandError: There is no such run, it has not ended, or its function raised.
        """
        question = (
            f"Call the function of run {options['run']} again? What it writes to the databases is rolled back; "
            "mails and calls of other systems are not."
        )
        if not self.confirmed(question, is_sure=options["yes"], to="replay it"):
            raise nothing_done("nothing was done")
        try:
            executed = run_here.replay(options["run"], using=jobs_database())
        except run_here.NotHere as error:
            raise nothing_done(str(error)) from None
        here.show(self.terminal, executed, wants_pdb=options["pdb"])
        self.terminal.say("All that it wrote was rolled back.", "SUCCESS")
