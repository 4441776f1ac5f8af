"""How many runs waited: counted once a minute by one of the live workers while some do, and read by pages.

A sample is one row for each queue in which something waits. Of old ones fewer are kept: one of ten, then one of
sixty.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from django.db.models import Count, Q, Sum

from django_jobs.models import DepthSample, Run
from django_jobs.storage.statistics.rows import HOUR, MINUTE

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from django.db.models import QuerySet

# How long samples are kept, by how far they are apart.
KEPT = {MINUTE: timedelta(days=2), 10 * MINUTE: timedelta(days=14), HOUR: timedelta(days=60)}
# Queues of one sample, those in which most waits: names of queues may be anything.
MOST_QUEUES = 200


def minute_of(now: datetime) -> datetime:
    """Return when a minute began."""
    return now.astimezone(UTC).replace(second=0, microsecond=0)


def is_sampled(minute: datetime, *, using: str) -> bool:
    """Return whether some process has counted what waited in a minute."""
    return DepthSample.objects.using(using).filter(sampled_at=minute).exists()


def sample(now: datetime, *, using: str) -> None:
    """Count what waits in each queue, with two queries. It reads all that waits.

    Two that do at the same time count twice, and one of them is kept.

    Args:
        now: The time by the database's clock.
        using: Alias of the database.
    """
    minute = minute_of(now)
    due = Run.objects.using(using).ready().filter(run_after__lte=now).order_by()
    counts = due.values_list("queue_name").annotate(count=Count("pk")).order_by("-count", "queue_name")
    every = max(size for size in KEPT if minute.timestamp() % size == 0)
    rows = [
        DepthSample(sampled_at=minute, queue_name=name, every_seconds=every, due=count)
        for name, count in counts[:MOST_QUEUES]
    ]
    DepthSample.objects.using(using).bulk_create(rows, ignore_conflicts=True)


def deepest(
    since: datetime, begins: Sequence[datetime], *, queue_names: Iterable[str] | None = None, using: str
) -> list[int]:
    """Return the most that waited at one time in each step, with one query.

    Args:
        since: When the first step begins.
        begins: When each step begins, in order.
        queue_names: In these queues together; None for all.
        using: Alias of the database.
    """
    rows = _samples(since, begins, using)
    if queue_names is not None:
        rows = rows.filter(queue_name__in=list(queue_names))
    sums = rows.values("sampled_at").annotate(due=Sum("due")).values_list("sampled_at", "due")
    return _highest(begins, sums)


def deepest_by_queue(since: datetime, begins: Sequence[datetime], *, using: str) -> dict[str, list[int]]:
    """Return the same for each queue in which something waited, with one query."""
    rows = _samples(since, begins, using)
    found: dict[str, list[tuple[datetime, int]]] = defaultdict(list)
    for name, at, due in rows.values_list("queue_name", "sampled_at", "due"):
        found[name].append((at, due))
    return {name: _highest(begins, several) for name, several in found.items()}


def _samples(since: datetime, begins: Sequence[datetime], using: str) -> QuerySet[DepthSample]:
    """Select samples that are far enough apart for steps of this length, and still kept."""
    step = (begins[1] - begins[0]).total_seconds() if len(begins) > 1 else MINUTE
    age = datetime.now(UTC) - since
    # Some tens of samples a step are enough.
    least = next((size for size, kept in KEPT.items() if step <= 30 * size and age <= kept), HOUR)
    end = begins[-1] + timedelta(seconds=step) if begins else since
    rows = DepthSample.objects.using(using).filter(sampled_at__gte=since, sampled_at__lt=end)
    return rows.filter(every_seconds__gte=least).order_by()


def _highest(begins: Sequence[datetime], samples: Iterable[tuple[datetime, int]]) -> list[int]:
    found = [0] * len(begins)
    for at, due in samples:
        index = bisect_right(begins, at) - 1
        if index >= 0:
            found[index] = max(found[index], due)
    return found


def outdated(now: datetime, *, using: str) -> QuerySet[DepthSample]:
    """Return the samples that are older than they are kept."""
    is_old = Q(pk__in=[])
    for size, kept in KEPT.items():
        is_old |= Q(every_seconds=size, sampled_at__lt=now - kept)
    return DepthSample.objects.using(using).filter(is_old)
