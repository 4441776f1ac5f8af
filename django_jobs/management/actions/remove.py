"""`manage.py jobs remove`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django_jobs.api.manager import get_job_manager
from django_jobs.management.actions.action import nothing_done
from django_jobs.management.actions.control import Control, add_ids
from django_jobs.management.actions.terminal import ids_from, safe

if TYPE_CHECKING:
    from argparse import ArgumentParser


class Remove(Control):
    """Remove jobs."""

    name = "remove"
    help = "Remove jobs and cancel their waiting runs; a running one finishes, and the history stays."
    done = "Removed"
    why_not = "none of it is still to run"

    @classmethod
    def add_arguments(cls, parser: ArgumentParser) -> None:
        """See `manage.py jobs remove --help`."""
        add_ids(parser)
        parser.add_argument("--yes", action="store_true", help="Do not ask.")

    def run(self, options: dict[str, Any]) -> None:
        """Remove them."""
        ids = ids_from(options["ids"])
        what = safe(ids[0]) if len(ids) == 1 else f"{len(ids)} jobs"
        if ids and not self.confirmed(f"Remove {what}?", is_sure=options["yes"], to="remove it"):
            raise nothing_done("nothing was removed")
        self.each_job(ids, get_job_manager().remove_job)
