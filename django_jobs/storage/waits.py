"""End what runs wait for besides time and people: see `Run.waits_for`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db import transaction
from django.db.models import Case, Value, When

from django_jobs.models import Run
from django_jobs.storage import notifications
from django_jobs.storage.outbox import NOT_DISPATCHED
from django_jobs.storage.transactions import database_now

if TYPE_CHECKING:
    from django.db.models import Q


def end_waits(where: Q, *, using: str) -> int:
    """Let runs be claimed that wait for something, in the caller's transaction; workers hear of it on commit.

    A run whose job is paused goes on waiting for its resume.

    Args:
        where: Which of the runs that wait; name `waits_for`, or the wait for something else ends, too.
        using: Alias of the database.

    Returns:
        How many waited. A run is counted by one caller only, however many end its wait at the same time.
    """
    count = (
        Run.objects.using(using)
        .ready()
        .filter(where, waits_for__isnull=False)
        .update(
            # In this order: MariaDB computes each value from what those before it have set.
            run_after=Case(When(held_run_after__isnull=True, then=Value(database_now(using)))),
            waits_for=None,
            **NOT_DISPATCHED,
        )
    )
    if count:
        transaction.on_commit(lambda: notifications.notify(notifications.RUNS, using=using), using=using)
    return count
