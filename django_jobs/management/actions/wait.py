"""`--wait` of the actions that have something executed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django_jobs.api.manager import get_job_manager
from django_jobs.exceptions import JobCancelled, JobFailed
from django_jobs.management.actions.action import nothing_done
from django_jobs.management.actions.terminal import compact
from django_jobs.management.actions.values import duration

if TYPE_CHECKING:
    from argparse import ArgumentParser
    from datetime import timedelta

    from django_jobs.management.actions.terminal import Terminal


def add_wait(parser: ArgumentParser) -> None:
    """Say what `--wait` takes."""
    parser.add_argument(
        "--wait", type=duration, metavar="DURATION",
        help="Wait so long for its end, and write its result as JSON. Some other process must execute it.",
    )  # fmt: skip


def wait(terminal: Terminal, job_id: str, limit: timedelta) -> None:
    """Wait for a job's end, and write its result.

    Raises:
        CommandError: It failed, was cancelled, or has not ended in time.
    """
    try:
        result = get_job_manager().wait(job_id, limit.total_seconds())
    except JobFailed as failure:
        if failure.traceback:
            terminal.complain(failure.traceback.rstrip())
        raise nothing_done(str(failure)) from None
    except JobCancelled as cancelled:
        raise nothing_done(str(cancelled)) from None
    except TimeoutError as error:
        raise nothing_done(f"{error}; see `manage.py jobs status`") from None
    terminal.raw(compact(result))
