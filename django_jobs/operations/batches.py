"""Batches for people who look at them: the newest, their runs, and what led to a failure."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from django.db.models import Q, QuerySet

from django_jobs.models import Batch, Dependency, Dependent, InStatus, Run, Status

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

# Runs that are read of one batch, to be drawn or listed.
MOST_RUNS = 200
_CHUNK = 300

# Conditions of the states that a batch can be in, by `Batch.state`.
STATES = {
    "open": Q(ended_at=None, cancelled_at=None, closed_at=None),
    "running": Q(ended_at=None, cancelled_at=None, closed_at__isnull=False),
    "cancelling": Q(ended_at=None, cancelled_at__isnull=False),
    "successful": Q(ended_at__isnull=False, status=Status.SUCCESSFUL),
    "failed": Q(ended_at__isnull=False, status=Status.FAILED),
    "cancelled": Q(ended_at__isnull=False, status=Status.CANCELLED),
}


def newest(state: str = "", *, using: str) -> QuerySet[Batch]:
    """Return batches, the newest first.

    Args:
        state: One of STATES, or "" for all.
        using: Alias of the database.
    """
    rows = Batch.objects.using(using).order_by("-pk")
    return rows.filter(STATES[state]) if state else rows


@dataclass(slots=True)
class Node:
    """A run of a batch, and how it hangs together with others."""

    run: Run
    # Ids of the runs that it waits for.
    after: list[int] = field(default_factory=list)
    # The run for whose failure it was ended.
    ended_by: int | None = None


def nodes_of(batch: Batch, *, using: str, most: int = MOST_RUNS) -> list[Node]:
    """Return runs of a batch with their dependencies: those that failed, run or wait to run come first.

    Of a batch with more runs than `most` these are the ones to look at. In the order of their ids.
    """
    nodes = {run.pk: Node(run) for run in _runs_of(batch, using=using, most=most)}
    if batch.has_dependencies:
        for ids in _cut(list(nodes)):
            edges = Dependency.objects.using(using).filter(run_id__in=ids).order_by("position")
            for run_id, after_id in edges.values_list("run_id", "after_id"):
                nodes[run_id].after.append(after_id)
            ended = Dependent.objects.using(using).filter(pk__in=ids, ended_by__isnull=False)
            for run_id, ended_by in ended.values_list("run_id", "ended_by"):
                nodes[run_id].ended_by = ended_by
    return [nodes[pk] for pk in sorted(nodes)]


def _runs_of(batch: Batch, *, using: str, most: int) -> list[Run]:
    runs = Run.objects.using(using).filter(batch_id=batch.pk).order_by("pk")
    runs = runs.defer("payload", "log", "errors", "result")
    if batch.total <= most:
        return list(runs[:most])
    # Each by the index of its status, among the ids that the batch has: a sort would read all of its runs.
    first = runs.values_list("pk", flat=True).first() or 0
    found: dict[int, Run] = {}
    for status in (Status.FAILED, Status.RUNNING, Status.CANCELLED, Status.SKIPPED):
        is_there = status == Status.RUNNING or getattr(batch, status.lower())
        if is_there and len(found) < most:
            of_status = runs.filter(InStatus(status), pk__gte=first)
            found.update((run.pk, run) for run in of_status[: most - len(found)])
    for run in runs[:most]:
        if len(found) == most:
            break
        found.setdefault(run.pk, run)
    return list(found.values())


def failed_paths(nodes: Iterable[Node]) -> list[list[Node]]:
    """Return the runs that failed, each followed by those that were ended for its failure."""
    by_id = {node.run.pk: node for node in nodes}
    following: dict[int, list[Node]] = defaultdict(list)
    for node in by_id.values():
        if node.ended_by is not None:
            following[node.ended_by].append(node)
    paths = []
    for node in by_id.values():
        if node.run.status in {Status.FAILED, Status.CANCELLED, Status.SKIPPED} and node.ended_by is None:
            path = [node]
            for one in path:
                path += following.get(one.run.pk, ())
            paths.append(path)
    return sorted(paths, key=lambda path: path[0].run.status != Status.FAILED)


def _cut(ids: Sequence[int]) -> Iterable[Sequence[int]]:
    for start in range(0, len(ids), _CHUNK):
        yield ids[start : start + _CHUNK]
