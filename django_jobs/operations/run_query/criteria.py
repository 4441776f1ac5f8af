"""Filters of runs, from an address or from JSON, and the queryset that they make."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from django.db.models import Q, Value
from django.db.models.functions import Coalesce
from django.db.models.lookups import Exact
from django.utils import timezone

from django_jobs import codec
from django_jobs.models import BLOCKED, BROKEN, HELD, UNFINISHED, Batch, InStatus, Kind, Run, Status
from django_jobs.operations.run_query import conditions, search_words
from django_jobs.operations.run_query.search_words import WAITING, local_time
from django_jobs.storage import tags

if TYPE_CHECKING:
    from collections.abc import Mapping

    from django_jobs.models import RunQuerySet

# Finished without success. One index holds the three, and SQLite uses it only when asked for all of them.
UNSUCCESSFUL = (Status.FAILED, Status.CANCELLED, Status.SKIPPED)
# Columns that can hold megabytes, and that no list shows.
LARGE_COLUMNS = ("payload", "result", "errors", "log")
# Fields of `Criteria` that are times.
TIMES = ("since", "until", "ended_since", "ended_until", "started_since", "started_until")
# Those that an address has under their names, and as they are.
_TEXTS = ("queue", "func", "worker_id", "job_id", "about", "tag", "batch", "failure")
# Any number of so many digits is an id that every database can compare.
ID_DIGITS = 18


@dataclass(frozen=True, slots=True, kw_only=True)
class Criteria:
    """Filters of runs. A run matches if it passes all of them; without any, every run matches.

    Args:
        status: One status, or one of `WAITING`: due (waits for a worker), deferred (for its time), retrying
            (deferred after an attempt), blocked (for a limit, its turn, other runs, an event), held (for a
            person), broken (held, and not only paused).
        kind: One kind.
        queue: Name of a queue.
        func: A function, as module:qualname.
        func_start: What the function begins with, as module:qualname or without its module.
        worker_id: The worker that has or had the run.
        job_id: Id of its job.
        batch: Id of its batch.
        named: Id of its job, or its own id.
        error: Text that its error contains, in upper or lower case.
        failure: Those that FAILED with an exception at a place, as `Run.error_key`.
        since: Enqueued at this time or later; aware.
        until: Enqueued before this time; aware.
        ended_since: Ended at this time or later; those that are unfinished were enqueued then.
        ended_until: Likewise, before this time.
        started_since: Whose latest attempt started at this time or later; aware.
        started_until: Likewise, before this time.
        text: Words, each of which its function, its job's id (from the beginning) or its error contains.
        argument: Text that its stored arguments contain, or with a name before it, "order_id:4711", the value
            of an argument or key of that name. Runs that may have secrets among their arguments are left out:
            what they are could be guessed otherwise.
        tag: One of its tags.
        about: What it is about, as "app_label.model:pk".
        took: More seconds than this from start to end, as "5"; fewer as "<5".
        attempts: More attempts than this, as "1"; fewer as "<3".
    """

    status: str = ""
    kind: str = ""
    queue: str = ""
    func: str = ""
    func_start: str = ""
    worker_id: str = ""
    job_id: str = ""
    batch: str = ""
    named: str = ""
    error: str = ""
    failure: str = ""
    since: datetime | None = None
    until: datetime | None = None
    ended_since: datetime | None = None
    ended_until: datetime | None = None
    started_since: datetime | None = None
    started_until: datetime | None = None
    text: str = ""
    argument: str = ""
    tag: str = ""
    about: str = ""
    took: str = ""
    attempts: str = ""

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Criteria:
        """Return the criteria that `plain` returned.

        Raises:
            ValueError: A filter is unknown. Without it, more runs would match.
        """
        known = {field.name for field in fields(cls)}
        if unknown := sorted(set(plain) - known):
            raise ValueError(f"runs cannot be selected by {unknown[0]!r}; only by {', '.join(sorted(known))}")
        times = {name: datetime.fromisoformat(plain[name]) for name in TIMES if name in plain}
        return cls(**{**plain, **times})

    def plain(self) -> dict[str, str]:
        """Return the filters that are set, as values for JSON."""
        return {
            name: value.isoformat() if isinstance(value, datetime) else value
            for name, value in asdict(self).items()
            if value
        }

    def searching(self, text: str, *, with_arguments: bool = True, using: str) -> Criteria:
        """Add what somebody wrote into a search form; see `search_words`. A lone word may name a job or a run.

        Args:
            text: The search.
            with_arguments: Whether arguments may be searched. Without it their term is a plain word.
            using: Alias of the database.
        """
        criteria = replace(self, **search_words.read(codec.storable(text), with_arguments=with_arguments))
        term = criteria.text
        if term and not term.count(" ") and Run.objects.using(using).filter(_is_named(term)).exists():
            return replace(criteria, named=term, text="")
        return criteria

    @property
    def row_status(self) -> str:
        """The status that the rows have; empty for any."""
        return Status.READY.value if self.status in WAITING else self.status

    @property
    def is_searched(self) -> bool:
        """Whether no index narrows the runs down, so that rows must be read one by one."""
        if self.job_id or self.batch or self.named or self.row_status in UNFINISHED:
            return False
        return self.status == Status.SUCCESSFUL or bool(
            (self.about and (self.status or self.failure)) or self.kind or self.queue or self.func or self.func_start or self.worker_id or self.error
            or self.ended_since or self.ended_until or self.started_since or self.started_until or self.text or self.argument or self.tag or self.took
            or self.attempts
        )  # fmt: skip

    def apply(self, runs: RunQuerySet, *, by_id: bool = False) -> RunQuerySet:
        """Return the runs that match.

        Args:
            runs: The runs to choose from. No index has their times: with `since` or `until`, also apply
                what `bounds_of` returns.
            by_id: Whether the runs are read in the order of their ids, some at a time. The index of
                waiting runs would sort all of them each time.
        """
        runs = self._of_status(runs, by_id=by_id)
        if self.batch:
            runs = runs.filter(batch_id=Batch.objects.using(runs.db).filter(key=self.batch).values("pk")[:1])
        if self.named:
            runs = runs.filter(_is_named(self.named))
        if self.failure:
            runs = runs.filter(InStatus(Status.FAILED), error_key=self.failure)
        if self.func_start:
            is_name = Q(func__contains=f":{self.func_start}")
            runs = runs.filter(Q(func__startswith=self.func_start) | is_name)
        runs = runs.filter(*conditions.of_times(self.row_status, self.ended_since, self.ended_until))
        runs = runs.filter(*conditions.of_words(self.text), *conditions.of_numbers(self.took, self.attempts))
        if self.argument:
            runs = runs.filter(conditions.of_argument(self.argument)).exclude(conditions.may_have_secrets())
        if self.tag:
            runs = runs.filter(tags.of_runs(self.tag))
        exact = {
            "kind": self.kind,
            "queue_name": self.queue,
            "func": self.func,
            "worker_id": "" if self.row_status in UNFINISHED else self.worker_id,
            "job_id": self.job_id,
            "about": self.about,
            "error__icontains": self.error,
            "enqueued_at__gte": self.since,
            "enqueued_at__lt": self.until,
            "started_at__gte": self.started_since,
            "started_at__lt": self.started_until,
        }
        runs = runs.filter(**{name: value for name, value in exact.items() if value})
        if self.worker_id and self.row_status in UNFINISHED:
            # Wrapped: PostgreSQL's statistics say that the worker has many runs, and it would walk along
            # the ids. Most of them have finished.
            runs = runs.filter(Exact(Coalesce("worker_id", Value("")), self.worker_id))
        return runs

    def _of_status(self, runs: RunQuerySet, *, by_id: bool) -> RunQuerySet:
        if self.row_status and (self.about or (by_id and self.row_status in UNFINISHED)):
            # Wrapped, so that no index of the status is used: there may be many of it, and few about an object.
            # Of what is unfinished about one there is an index.
            runs = runs.unfinished() if self.about and self.row_status in UNFINISHED and not by_id else runs
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
            return HELD
        case "blocked":
            return BLOCKED
        case _:
            return BROKEN


def run_number(text: str) -> int | None:
    """Return the id of a run that somebody wrote, or None if it cannot be one."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= ID_DIGITS else None


def _is_named(term: str) -> Q:
    number = run_number(term)
    return Q(job_id=term) if number is None else Q(job_id=term) | Q(pk=number)


def from_address(query: Mapping[str, str]) -> Criteria:
    """Return the filters of a page's address, without those that have an impossible value.

    Besides the names of `Criteria`, the address may have `since` as "hour", "today" or "week", and `from`
    and `until`, `ended_from`, `ended_until`, `started_from` and `started_until` as times, of the reader's zone
    where they have no offset.
    """
    status, kind = query.get("status", ""), query.get("kind", "")
    if query.get("failure"):
        status = status or Status.FAILED.value
    times: dict[str, Any] = {name: local_time(query.get(name.replace("since", "from"), "")) for name in TIMES}
    times["since"] = _latest(_time_ago(query.get("since", "")), times["since"])
    texts: dict[str, Any] = {name: codec.storable(query.get(name, "")) for name in _TEXTS}
    return Criteria(
        status=status if status in {*Status.values, *WAITING} else "",
        kind=kind if kind in Kind.values else "",
        error=codec.storable(query.get("error", "")).strip(),
        **texts,
        **times,
    )


def _time_ago(word: str) -> datetime | None:
    now = timezone.localtime()
    times = {
        "hour": now - timedelta(hours=1),
        "today": now.replace(hour=0, minute=0, second=0, microsecond=0),
        "week": now - timedelta(days=7),
    }
    return times.get(word)


def _latest(*times: datetime | None) -> datetime | None:
    return max((at for at in times if at is not None), default=None)
