"""`manage.py jobs`: what an operator does to jobs from a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.core.management.base import BaseCommand

from django_jobs import resign

if TYPE_CHECKING:
    from argparse import ArgumentParser


class Command(BaseCommand):
    """Steer jobs from a terminal."""

    help = "Steer jobs from a terminal."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """See `manage.py jobs --help`."""
        actions = parser.add_subparsers(dest="action", required=True, title="actions")
        resign_parser = actions.add_parser(
            "resign",
            help="Sign what waits as broken with this project's SECRET_KEY, and let it run.",
            description=(
                "Jobs and runs that were signed with another SECRET_KEY wait as broken: in a copy of another "
                "project's database, or after the key was changed without SECRET_KEY_FALLBACKS. This signs them "
                "with the present key, and they run. Only do it where you trust everybody who could write "
                "to the database."
            ),
        )
        resign_parser.add_argument("--yes", action="store_true", help="Do not ask.")

    def handle(self, *, action: str, yes: bool = False, **_: Any) -> None:
        """Do it."""
        jobs, runs = resign.foreign()
        if not jobs and not runs:
            self.stdout.write("Nothing waits for a signature.")
            return
        for call in (*jobs, *runs):
            self.stdout.write(f"  {call.func}  ({getattr(call, 'job_id', None) or call.pk})")
        question = f"Sign {len(jobs)} jobs and {len(runs)} runs with this project's key, and let them run?"
        if not yes and input(f"{question} [y/N] ").strip().lower() not in {"y", "yes"}:
            self.stdout.write("Nothing was changed.")
            return
        resign.sign(jobs, runs)
        self.stdout.write(self.style.SUCCESS(f"Signed {len(jobs)} jobs and {len(runs)} runs."))
