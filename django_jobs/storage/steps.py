"""What runs keep while they go on: written under the claim that they are executed by, and read by the next."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from django.db.models import Exists, OuterRef

from django_jobs import codec
from django_jobs.exceptions import RunLost
from django_jobs.models import Run, Step
from django_jobs.storage import fences
from django_jobs.storage.transactions import write_transaction

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from django.db.models import QuerySet

    from django_jobs.storage.records import ClaimedRun


# Before all times that anything waits for.
_LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)


def key_of(kind: str, name: str, occurrence: int, scope: str = "") -> str:
    """Return what tells a step from all others of its run, or of a row of a loop in it."""
    return hashlib.sha256(json.dumps([kind, name, occurrence, scope]).encode()).hexdigest()


def of_run(run_id: int, *, most: int | None = None, using: str) -> list[Step]:
    """Return what a run keeps, in the order in which it began; of very much, the newest."""
    rows = Step.objects.using(using).filter(run_id=run_id).order_by("-pk")
    return list(rows[:most])[::-1]


def sign(step: Step) -> str:
    """Return the signature of a step with its value; of another run or another step it is none."""
    return codec.sign(*signed(step))


def verify(step: Step) -> None:
    """Check the signature of a step.

    Raises:
        BadPayload: Its row was changed outside django_jobs, or signed with another SECRET_KEY.
    """
    codec.verify(*signed(step), step.signature, name=f"{step.kind} {step.name!r}")


def signed(step: Step) -> tuple[str, str]:
    """Return what the signature of a step is of: what it is, and its value."""
    # No function has such a path.
    return json.dumps(["step", step.run_id, step.key]), step.value or ""


def hold(run: ClaimedRun, *, using: str) -> None:
    """Lock a run's row until the transaction under way ends, which should be soon.

    Raises:
        RunLost: The run is not under this claim any more.
    """
    if fences.of_claim(run, using=using).select_for_update().values_list("pk").first() is None:
        raise RunLost(run.id)


def write(run: ClaimedRun, step: Step, *, using: str) -> None:
    """Write a step, new or changed, in a transaction that only commits while the run is under this claim.

    Its value is signed here; only one that was verified, or made by this process, may be given.

    Raises:
        RunLost: The run is another worker's by now; nothing is written.
    """
    step.attempt, step.fence = run.attempt, run.fence or None
    step.signature = sign(step)
    with write_transaction(using):
        step.save(using=using)
        # Last: the row of the run is locked no longer than it takes to commit.
        hold(run, using=using)


def progressed(runs: Sequence[Run], *, using: str) -> set[int]:
    """Return the ids of those runs that kept something under the claim that they are or were held by."""
    claims = {(run.pk, run.fence) for run in runs if run.fence}
    rows = Step.objects.using(using).filter(run_id__in=[run_id for run_id, _ in claims])
    return {run_id for run_id, fence in rows.values_list("run_id", "fence") if (run_id, fence) in claims}


def wake(runs: Collection[int] | QuerySet[Run, int], *, using: str) -> None:
    """End what runs wait for by time, by their ids: who begins them sooner means that they are to go on."""
    waiting = Step.objects.using(using).filter(run_id__in=runs, finished_at__isnull=True)
    waiting.filter(until__isnull=False).update(until=_LONG_AGO)


def has_any(run_id: int | None = None, *, using: str) -> bool:
    """Return whether a run keeps anything, or any run."""
    rows = Step.objects.using(using).all()
    return (rows if run_id is None else rows.filter(run_id=run_id)).exists()


def delete_of(run_ids: Sequence[int], *, using: str) -> None:
    """Delete what runs kept that are no longer there."""
    runs = Run.objects.using(using).filter(pk=OuterRef("run_id"))
    kept: Any = Step.objects.using(using).filter(~Exists(runs), run_id__in=run_ids)
    kept._raw_delete(using)
