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
        "with the present key, the steps that runs keep and events that were sent among them, and they run. Only do it where you trust everybody who could write "
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
        found = re_sign.of_fallbacks() if of_fallbacks else re_sign.foreign()
        for call in (*found.jobs, *found.runs):
            self.terminal.say(safe(f"  {call.func}  ({getattr(call, 'job_id', None) or call.pk})"))
        let_run = "" if of_fallbacks else ", and let them run"
        question = f"Sign {_counts(found)} with this project's key{let_run}?"
        is_sure = not found or self.confirmed(question, is_sure=options["yes"], to="sign them")
        if is_sure and found:
            re_sign.sign(found, release=not of_fallbacks)
        self.terminal.json({
            "jobs": [job.pk for job in found.jobs], "runs": [run.pk for run in found.runs],
            "steps": len(found.kept), "events": len(found.events), "signed": is_sure,
        })  # fmt: skip
        if not is_sure:
            self.terminal.say("Nothing was changed.")
        elif found:
            self.terminal.say(f"Signed {_counts(found)}.", "SUCCESS")
        elif of_fallbacks:
            self.terminal.say("Nothing is signed with a key of SECRET_KEY_FALLBACKS.")
        else:
            self.terminal.say("Nothing waits for a signature.")


def _counts(found: re_sign.Found) -> str:
    """Return how much was found: "2 jobs and 1 runs, with 3 steps, and 1 events"."""
    text = f"{len(found.jobs)} jobs and {len(found.runs)} runs"
    if found.kept:
        text += f", with {len(found.kept)} steps"
    if found.events:
        text += f", and {len(found.events)} events"
    return text
