"""Filters of runs, from an address or from JSON, and the queryset that they make."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from django.db.models import Q, Value
from django.db.models.functions import Coalesce
from django.db.models.lookups import Exact
from django.utils import timezone

from django_jobs import codec
from django_jobs.models import PAUSED, UNFINISHED, InStatus, Kind, Run, Status

if TYPE_CHECKING:
    from collections.abc import Mapping

    from django_jobs.models import RunQuerySet

# Finished without success. One index holds the three, and SQLite uses it only when asked for all of them.
UNSUCCESSFUL = (Status.FAILED, Status.CANCELLED, Status.SKIPPED)
# What READY runs wait for, as choices beside the statuses.
WAITING = ("due", "deferred", "retrying", "held", "broken")
# Columns that can hold megabytes, and that no list shows.
LARGE_COLUMNS = ("payload", "result", "errors", "log")
# No run was enqueued earlier or will be later. Beyond, a time cannot be converted to another zone.
EARLIEST, LATEST = datetime(1970, 1, 1, tzinfo=UTC), datetime(9990, 1, 1, tzinfo=UTC)
# Any number of so many digits is an id that every database can compare.
ID_DIGITS = 18


@dataclass(frozen=True, slots=True, kw_only=True)
class Criteria:
    """Filters of runs. A run matches if it passes all of them; without any, every run matches.

    Args:
        status: One status, or one of `WAITING`: due (waits for a worker), deferred (for its time), retrying
            (deferred after an attempt), held (for a person), broken (held, and not only paused).
        kind: One kind.
        queue: Name of a queue.
        func: A function, as module:qualname.
        func_start: What the function begins with, as module:qualname or without its module.
        worker_id: The worker that has or had the run.
        job_id: Id of its job.
        named: Id of its job, or its own id.
        error: Text that its error contains, in upper or lower case.
        since: Enqueued at this time or later; aware.
        until: Enqueued before this time; aware.
    """

    status: str = ""
    kind: str = ""
    queue: str = ""
    func: str = ""
    func_start: str = ""
    worker_id: str = ""
    job_id: str = ""
    named: str = ""
    error: str = ""
    since: datetime | None = None
    until: datetime | None = None

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Criteria:
        """Return the criteria that `plain` returned.

        Raises:
            ValueError: A filter is unknown. Without it, more runs would match.
        """
        known = {field.name for field in fields(cls)}
        if unknown := sorted(set(plain) - known):
            raise ValueError(f"runs cannot be selected by {unknown[0]!r}; only by {', '.join(sorted(known))}")
        times = {name: datetime.fromisoformat(plain[name]) for name in ("since", "until") if name in plain}
        return cls(**{**plain, **times})

    def plain(self) -> dict[str, str]:
        """Return the filters that are set, as values for JSON."""
        return {
            name: value.isoformat() if isinstance(value, datetime) else value
            for name, value in asdict(self).items()
            if value
        }

    def searching(self, text: str, *, using: str) -> Criteria:
        """Add the word of a search form: a job's id, a run's id, or the beginning of a function's name."""
        term = codec.storable(text).strip()
        if not term:
            return self
        is_there = Run.objects.using(using).filter(_is_named(term)).exists()
        return replace(self, named=term) if is_there else replace(self, func_start=term)

    @property
    def row_status(self) -> str:
        """The status that the rows have; empty for any."""
        return Status.READY.value if self.status in WAITING else self.status

    @property
    def is_searched(self) -> bool:
        """Whether no index narrows the runs down, so that rows must be read one by one."""
        if self.job_id or self.named or self.row_status in UNFINISHED:
            return False
        return self.status == Status.SUCCESSFUL or bool(
            self.kind or self.queue or self.func or self.func_start or self.worker_id or self.error
        )

    def apply(self, runs: RunQuerySet, *, by_id: bool = False) -> RunQuerySet:
        """Return the runs that match.

        Args:
            runs: The runs to choose from. No index has their times: with `since` or `until`, also apply
                what `bounds_of` returns.
            by_id: Whether the runs are read in the order of their ids, some at a time. The index of
                waiting runs would sort all of them each time.
        """
        runs = self._of_status(runs, by_id=by_id)
        if self.named:
            runs = runs.filter(_is_named(self.named))
        if self.func_start:
            is_name = Q(func__contains=f":{self.func_start}")
            runs = runs.filter(Q(func__startswith=self.func_start) | is_name)
        exact = {
            "kind": self.kind,
            "queue_name": self.queue,
            "func": self.func,
            "worker_id": "" if self.row_status in UNFINISHED else self.worker_id,
            "job_id": self.job_id,
            "error__icontains": self.error,
            "enqueued_at__gte": self.since,
            "enqueued_at__lt": self.until,
        }
        runs = runs.filter(**{name: value for name, value in exact.items() if value})
        if self.worker_id and self.row_status in UNFINISHED:
            # Wrapped: PostgreSQL's statistics say that the worker has many runs, and it would walk along
            # the ids. Most of them have finished.
            runs = runs.filter(Exact(Coalesce("worker_id", Value("")), self.worker_id))
        return runs

    def _of_status(self, runs: RunQuerySet, *, by_id: bool) -> RunQuerySet:
        if by_id and self.row_status in UNFINISHED:
            # Wrapped, so that no index of the status is used.
            runs = runs.filter(Exact(Coalesce("status", Value("")), self.row_status))
        elif self.status:
            status = Status(self.row_status)
            if status in UNSUCCESSFUL:
                runs = runs.filter(InStatus(*UNSUCCESSFUL))
            runs = runs.filter(InStatus(status))
        return runs.filter(_waits_for(self.status)) if self.status in WAITING else runs


def _waits_for(what: str) -> Q:
    # Each is a range of the index by status and `run_after`.
    now = timezone.now()
    match what:
        case "due":
            return Q(run_after__lte=now)
        case "deferred":
            return Q(run_after__gt=now)
        case "retrying":
            return Q(run_after__gt=now, attempt__gt=0)
        case "held":
            return Q(run_after__isnull=True)
        case _:
            return Q(run_after__isnull=True) & ~PAUSED


def run_number(text: str) -> int | None:
    """Return the id of a run that somebody wrote, or None if it cannot be one."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= ID_DIGITS else None


def _is_named(term: str) -> Q:
    number = run_number(term)
    return Q(job_id=term) if number is None else Q(job_id=term) | Q(pk=number)


def from_address(query: Mapping[str, str]) -> Criteria:
    """Return the filters of a page's address, without those that have an impossible value.

    Besides the names of `Criteria`, the address may have `since` as "hour", "today" or "week", and `from`
    and `until` as times of the reader's zone without an offset.
    """
    status, kind = query.get("status", ""), query.get("kind", "")
    return Criteria(
        status=status if status in {*Status.values, *WAITING} else "",
        kind=kind if kind in Kind.values else "",
        queue=codec.storable(query.get("queue", "")),
        func=codec.storable(query.get("func", "")),
        worker_id=codec.storable(query.get("worker_id", "")),
        job_id=codec.storable(query.get("job_id", "")),
        error=codec.storable(query.get("error", "")).strip(),
        since=_latest(_time_ago(query.get("since", "")), _local_time(query.get("from", ""))),
        until=_local_time(query.get("until", "")),
    )


def _time_ago(word: str) -> datetime | None:
    now = timezone.localtime()
    times = {
        "hour": now - timedelta(hours=1),
        "today": now.replace(hour=0, minute=0, second=0, microsecond=0),
        "week": now - timedelta(days=7),
    }
    return times.get(word)


def _local_time(text: str) -> datetime | None:
    try:
        at = datetime.fromisoformat(text)
        at = at if timezone.is_aware(at) else timezone.make_aware(at)
        return min(max(at, EARLIEST), LATEST)
    except (ValueError, OverflowError):
        return None


def _latest(*times: datetime | None) -> datetime | None:
    return max((at for at in times if at is not None), default=None)
