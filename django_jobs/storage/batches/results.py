"""The results that a run of a batch is given as arguments: those of the runs that it waited for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django_jobs import codec
from django_jobs.exceptions import JobCancelled, JobFailed, ObjectGone
from django_jobs.models import FINISHED, Dependency, Run, Status
from django_jobs.storage.transactions import BATCH as ROWS

if TYPE_CHECKING:
    from collections.abc import Sequence

# Of the results of one run's dependencies together: they are held in memory.
MOST_CHARACTERS = 64_000_000
_COLUMNS = ("pk", "job_id", "status", "result", "error", "errors")


def results_for(run_id: int, positions: Sequence[int], *, using: str) -> dict[int, Any]:
    """Return what a run's dependencies came to, by their positions.

    Of one that did not succeed it is the error that `wait` would raise for it.

    Raises:
        ObjectGone: A row is not there any more.
        ValueError: They are too large together, or one of them has not ended.
    """
    wanted = set(positions)
    edges = Dependency.objects.using(using).filter(run_id=run_id).values_list("position", "after_id")
    after = {position: after_id for position, after_id in edges if position in wanted}
    values: dict[int, Any] = {}
    size = 0
    ids = sorted(set(after.values()))
    for start in range(0, len(ids), ROWS):
        rows = Run.objects.using(using).filter(pk__in=ids[start : start + ROWS])
        for pk, *rest in rows.values_list(*_COLUMNS):
            size += len(rest[2] or "")
            if size > MOST_CHARACTERS:
                raise ValueError(
                    f"the results that it is given have more than {MOST_CHARACTERS} characters as JSON: store the "
                    "data elsewhere, return its path or id, or wait with after= and read the results one by one"
                )
            if rest[1] not in FINISHED:
                raise ValueError(f"run {pk}, whose result it is given, was retried and has not ended")
            values[pk] = _value(*rest)
    for position in positions:
        if after.get(position) not in values:
            raise ObjectGone(
                f"the result that argument {position} of its dependencies refers to is gone: the run "
                f"{after.get(position, '')} was deleted"
            )
    return {position: values[after[position]] for position in positions}


def _value(
    job_id: str, status: str, result: str | None, error: str, errors: list[dict[str, Any]] | None
) -> Any:
    if status == Status.SUCCESSFUL:
        return None if result is None else codec.loads(result)
    if status == Status.CANCELLED:
        return JobCancelled(job_id)
    return JobFailed(job_id, error, (errors or [{}])[-1].get("traceback", ""))
