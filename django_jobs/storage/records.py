"""A run as it is handed on: to insert, as claimed, and what one attempt came to; and what its row keeps."""

from __future__ import annotations

import hashlib
import json
from dataclasses import KW_ONLY, dataclass, fields
from datetime import UTC, datetime, timedelta
from operator import attrgetter
from typing import TYPE_CHECKING, Any, TypeAlias

from django.utils import timezone
from django.utils.module_loading import import_string

from django_jobs.conf import jobs_settings
from django_jobs.models import Kind, Run, Status
from django_jobs.registry.call_spec import CallSpec, columns_of, values_of
from django_jobs.registry.limits import digest, turns_key
from django_jobs.registry.options import NEEDS, JobOptions, renewals
from django_jobs.storage.unique_keys import without_mark
from django_jobs.texts import failures

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from django_jobs.models import Job

# Attempts that a run remembers, and how many times MAX_ERROR_BYTES their tracebacks may have:
# what a job that is tried forever adds to its row has an end.
MOST_ERRORS, MOST_TRACEBACKS = 200, 20
# What the error of a firing begins with that `max_instances` skipped.
TOO_MANY = "MaxInstances"
# What a run remembers of an attempt that is not counted, for its worker stopped before it ended.
INTERRUPTED = "WorkerStopped: its worker stopped"
# And of one that has kept something, so that the next goes on there.
PROGRESSED = f"{INTERRUPTED}; it goes on where it was"


# Of a run that stands for several scheduled times: the first of them, in ISO 8601.
MISSED_SINCE = "missed_since"

_RUNNING = Status.RUNNING.value

# Id and attempt of a run, and the number of its claim.
Key: TypeAlias = tuple[int, int, int]


@dataclass(slots=True)
class NewRun(CallSpec):
    """A run to insert. `run_after` is a time, or by the database's clock "now" or a delay, or "held"."""

    _: KW_ONLY
    job_id: str
    kind: str = Kind.IMMEDIATE.value
    run_after: datetime | timedelta | str = "now"
    scheduled_at: datetime | None = None
    unique_key: str | None = None
    status: str = Status.READY.value
    error: str = ""
    worker_id: str = ""
    fence: int | None = None
    # What it waits for besides its time, of `Wait`; `run_after` is "held" then.
    waits_for: str | None = None
    batch_id: int | None = None

    @property
    def limit_key(self) -> str | None:
        """The key whose limit it shares, as its row has it."""
        limit = self.options and self.options.get("limit")
        return digest(limit["key"]) if limit else None

    @property
    def fair_key(self) -> str | None:
        """The key whose turns it takes, as its row has it."""
        key = self.options and self.options.get("fair_key")
        return turns_key(self.queue_name, self.priority, self.options or {}) if key else None

    @property
    def about(self) -> str | None:
        """What it is about, as "app_label.model:pk"."""
        return self.options.get("about") if self.options else None

    @classmethod
    def of(
        cls, call: CallSpec | Job | Run, job_id: str, *, since: datetime | None = None, **more: Any
    ) -> NewRun:
        """Return a run of a call, whose time to expire counts from now on.

        Args:
            call: As it was asked for, or a row of a job or of another run.
            job_id: Of the job.
            since: From when the time to expire counts instead.
            **more: Other fields than the call's.
        """
        run = cls(*values_of(call), job_id=job_id, **more)
        if isinstance(call, Run):
            run.options = of_another_run(run.options)
        run.options = renewed(run.options, since)
        return run

    def row(self, as_time: Callable[[datetime | None], Any]) -> list[Any]:
        """Return the values of `INSERTED_COLUMNS`.

        Args:
            as_time: Returns a time as the database's driver takes it.
        """
        # One that is RUNNING has begun its first attempt.
        row = [*_inserted_values(self), 1 if self.status == _RUNNING else 0]
        row[_OPTIONS] = json.dumps(self.options) if self.options else None
        row[_SCHEDULED_AT] = as_time(self.scheduled_at)
        return row


# Columns that few runs have a value for.
OPTIONAL_COLUMNS = ("waits_for", "batch_id", "limit_key", "fair_key", "about")
# What an INSERT has of each run, but for `run_after`, which it may have to ask the database for.
_FIELDS = tuple(one.name for one in fields(NewRun) if one.name not in {"run_after", *OPTIONAL_COLUMNS})
_inserted_values = attrgetter(*_FIELDS)
INSERTED_COLUMNS = (*_FIELDS, "attempt")
_OPTIONS, _SCHEDULED_AT = INSERTED_COLUMNS.index("options"), INSERTED_COLUMNS.index("scheduled_at")


@dataclass(slots=True)
class ClaimedRun(CallSpec):
    """A run as the worker that claimed it sees it."""

    options: dict[str, Any]
    id: int
    job_id: str
    kind: str
    attempt: int
    rescues: int
    unique_key: str | None
    errors: list[dict[str, Any]]
    worker_id: str
    # Of this claim; never the same again, whatever becomes of the database. 0 for none.
    fence: int = 0
    # When it was due, as a raw cursor has it; None where that is not known.
    run_after: datetime | str | None = None
    # The scheduled time that it stands for, as a raw cursor has it; None for one that was added by hand.
    scheduled_at: datetime | str | None = None

    @property
    def key(self) -> Key:
        """Tells this attempt from all others."""
        return self.id, self.attempt, self.fence


# What a claim returns of a run.
CLAIMED_COLUMNS = tuple(one.name for one in fields(ClaimedRun))


def claimed(run: NewRun, run_id: int) -> ClaimedRun:
    """Return a run that was inserted as RUNNING, as if its worker had claimed it then."""
    begun = ClaimedRun(
        **columns_of(run),
        id=run_id,
        job_id=run.job_id,
        kind=run.kind,
        attempt=1,
        rescues=0,
        unique_key=run.unique_key,
        errors=[],
        worker_id=run.worker_id,
        fence=run.fence or 0,
        run_after=datetime.now(UTC),
        scheduled_at=run.scheduled_at,
    )
    begun.options = dict(run.options or {})
    return begun


@dataclass(slots=True)
class Outcome:
    """What one attempt came to.

    A status of READY means: again `retry_in` seconds after it is written, by the database's clock;
    or without that only when somebody releases it.
    """

    status: str
    started_at: datetime
    finished_at: datetime
    result: str | None = None
    error: str = ""
    traceback: str = ""
    retry_in: float | None = None
    log: str = ""
    # Whether some of the log was stored while the attempt was under way.
    has_chunks: bool = False
    progress: dict[str, Any] | None = None
    # The class of what was raised, as module.qualname; empty where nothing was.
    exception: str = ""
    # It was written already, in the function's own transaction.
    is_written: bool = False
    # The run leaves its thread, READY: the id of the step that it waits for.
    waits: int | None = None
    # What the run needs and this process does not know: a function's path, or "the type money". The run's
    # function was not called then, and a process of another version may call it.
    unknown: str = ""

    def error_key(self, func: str) -> str | None:
        """Return what a run of a function that FAILED so is grouped by; None for other outcomes."""
        if self.status != Status.FAILED or not self.error:
            return None
        return failures.key_of(self.exception, self.traceback, self.error, func)


def _short(job_id: str) -> str:
    # A key of 255 characters is the longest that MariaDB is sure to take, and an id may be as long.
    return job_id if len(job_id) <= 200 else f"sha256:{hashlib.sha256(job_id.encode()).hexdigest()}"


def immediate_key(job_id: str) -> str:
    """Return the unique key that an unfinished immediate job holds."""
    return f"i:{_short(job_id)}"


def occurrence_key(job_id: str, scheduled_at: datetime, since: datetime | None = None) -> str:
    """Return the unique key of one occurrence: one scheduled time of one job makes one run, ever.

    Args:
        job_id: Of the job.
        scheduled_at: Its scheduled time.
        since: Where an earlier job of this id has a run of this time: `Job.occurrences_since` of the new one.
    """
    of = "" if since is None else f"+{_microseconds(since)}"
    return f"f:{_short(job_id)}{of}@{_microseconds(scheduled_at)}"


def _microseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1_000_000)


_JOB_OPTIONS = frozenset(field.name for field in fields(JobOptions))


def of_another_run(options: dict[str, Any] | None) -> dict[str, Any] | None:
    """Return the options of one more run like another one."""
    if not isinstance(options, dict):
        return options
    kept = {
        name: value for name, value in without_mark(options).items() if name in _JOB_OPTIONS or name == NEEDS
    }
    for name, path in renewals.items():
        if name in options:
            kept[name] = import_string(path)(options[name])
    return kept


def renewed(options: dict[str, Any] | None, since: datetime | None = None) -> dict[str, Any] | None:
    """Return a run's options with its time to expire counted from some time, or from now."""
    if not options or "expires" not in options:
        return options
    return {**options, "expires_at": (since or timezone.now()).timestamp() + options["expires"]}


def lasting(options: dict[str, Any] | None) -> dict[str, Any] | None:
    """Return a run's options without when that run expires, as its job keeps them."""
    return options and {name: value for name, value in options.items() if name != "expires_at"}


def with_error(errors: Sequence[dict[str, Any]], entry: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a run's errors with another one; of very many, the first and the last are kept whole."""
    kept = [*errors, entry]
    if len(kept) > MOST_ERRORS:
        del kept[1]
    room = MOST_TRACEBACKS * jobs_settings().MAX_ERROR_BYTES
    for index in range(len(kept) - 1, 0, -1):
        room -= len(kept[index]["traceback"])
        if room < 0:
            kept[index] = {**kept[index], "traceback": ""}
    return kept


def error_entry(attempt: int, worker_id: str, outcome: Outcome) -> dict[str, Any]:
    """Return what `Run.errors` keeps of one attempt that did not succeed."""
    return {
        "attempt": attempt,
        "worker_id": worker_id,
        "started_at": outcome.started_at.isoformat(),
        "finished_at": outcome.finished_at.isoformat(),
        "error": outcome.error,
        "traceback": outcome.traceback,
        "exception": outcome.exception,
    }
