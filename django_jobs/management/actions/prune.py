"""`manage.py jobs prune`."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from django_jobs.conf import jobs_settings
from django_jobs.management.actions.action import Action, wrong_usage
from django_jobs.management.actions.terminal import sum_up
from django_jobs.management.actions.values import LONGEST, at_least
from django_jobs.storage import retention

if TYPE_CHECKING:
    from argparse import ArgumentParser

    from django_jobs.storage.retention import Pruned


class Prune(Action):
    """Delete old history."""

    name = "prune"
    help = "Delete old finished runs, now and all of them; workers do so by themselves, a little at a time."
    more = "Without options by the settings KEEP_DAYS and KEEP_RUNS_PER_JOB; with one of them by that alone."

    @classmethod
    def add_arguments(cls, parser: ArgumentParser) -> None:
        """See `manage.py jobs prune --help`."""
        parser.add_argument("--keep-days", type=_days, metavar="N", help="Days since a run finished.")
        parser.add_argument(
            "--keep-runs-per-job",
            type=at_least(1, "number"),
            metavar="N",
            help="The newest runs of each job.",
        )
        parser.add_argument("--dry-run", action="store_true", help="Only count what would be deleted.")

    def run(self, options: dict[str, Any]) -> None:
        """Delete it."""
        days, runs = options["keep_days"], options["keep_runs_per_job"]
        if days is None and runs is None:
            days, runs = jobs_settings().KEEP_DAYS, jobs_settings().KEEP_RUNS_PER_JOB
        if days is None and runs is None:
            raise wrong_usage("no limit is set: say --keep-days or --keep-runs-per-job")
        pruned = retention.prune(
            keep_days=days, keep_runs_per_job=runs, dry_run=options["dry_run"], on_progress=self._show
        )
        self.terminal.end_progress()
        self.terminal.json(asdict(pruned))
        would = "Would delete" if options["dry_run"] else "Deleted"
        self.terminal.say(f"{would} {_words(pruned) or 'nothing'}.", "SUCCESS")

    def _show(self, pruned: Pruned) -> None:
        self.terminal.progress_text(_words(pruned))


def _days(text: str) -> float:
    try:
        days = float(text)
    except ValueError:
        days = -1
    if not 0 <= days <= LONGEST.days:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of days from 0 to {LONGEST.days}")
    return days


def _words(pruned: Pruned) -> str:
    counts = [(pruned.runs, "run"), (pruned.workers, "worker"), (pruned.rollups, "count")]
    return sum_up((count, word if count == 1 else f"{word}s") for count, word in counts)
