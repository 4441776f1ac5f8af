"""`manage.py jobs re-sign`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django_jobs.management.actions.action import Action
from django_jobs.management.actions.terminal import safe
from django_jobs.operations import re_sign

if TYPE_CHECKING:
    from argparse import ArgumentParser


class ReSign(Action):
    """Sign rows of another key."""

    name = "re-sign"
    help = "Sign what waits as broken with this project's SECRET_KEY, and let it run."
    more = (
        "Jobs and runs that were signed with another SECRET_KEY wait as broken: in a copy of another "
        "project's database, or after the key was changed without SECRET_KEY_FALLBACKS. This signs them "
        "with the present key, and they run. Only do it where you trust everybody who could write "
        "to the database."
    )

    @classmethod
    def add_arguments(cls, parser: ArgumentParser) -> None:
        """See `manage.py jobs re-sign --help`."""
        parser.add_argument(
            "--fallbacks",
            action="store_true",
            help="Sign what a key in SECRET_KEY_FALLBACKS has signed, and nothing else: before that key is removed.",
        )
        parser.add_argument("--yes", action="store_true", help="Do not ask.")

    def run(self, options: dict[str, Any]) -> None:
        """Sign them."""
        of_fallbacks = options["fallbacks"]
        jobs, runs = re_sign.of_fallbacks() if of_fallbacks else re_sign.foreign()
        for call in (*jobs, *runs):
            self.terminal.say(safe(f"  {call.func}  ({getattr(call, 'job_id', None) or call.pk})"))
        let_run = "" if of_fallbacks else ", and let them run"
        question = f"Sign {len(jobs)} jobs and {len(runs)} runs with this project's key{let_run}?"
        is_sure = not (jobs or runs) or self.confirmed(question, is_sure=options["yes"], to="sign them")
        if is_sure and (jobs or runs):
            re_sign.sign(jobs, runs, release=not of_fallbacks)
        self.terminal.json({
            "jobs": [job.pk for job in jobs], "runs": [run.pk for run in runs], "signed": is_sure
        })  # fmt: skip
        if not is_sure:
            self.terminal.say("Nothing was changed.")
        elif jobs or runs:
            self.terminal.say(f"Signed {len(jobs)} jobs and {len(runs)} runs.", "SUCCESS")
        elif of_fallbacks:
            self.terminal.say("Nothing is signed with a key of SECRET_KEY_FALLBACKS.")
        else:
            self.terminal.say("Nothing waits for a signature.")
