"""Events, and the one subscriber that writes them to the log.

Receivers are called where the event happens (usually one of our threads, never inside our
transactions) and after the database has it. One that raises is logged and changes nothing.
"""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, Any

from django.dispatch import Signal

from django_jobs.exceptions import JobFailed
from django_jobs.texts import describe
from django_jobs.texts.printable import printable

if TYPE_CHECKING:
    from collections.abc import Callable

# A job row was written, changed or deleted: job_id.
job_added = Signal()
job_changed = Signal()
job_removed = Signal()
# A job row cannot be read and was set aside: job_id, reason.
job_broken = Signal()
# A due job became a run, or its firing was skipped: job_id, run_id (None where unknown),
# scheduled_at, skipped (the reason, or "").
job_fired = Signal()

# A run begins: run (`runs.ClaimedRun`).
run_started = Signal()
# An attempt ended and its row is written: run, outcome (`runs.Outcome`); outcome.status is READY
# when the run will be tried again.
run_finished = Signal()
# The result of a run was not taken, because the run had been given to another worker: run.
run_refused = Signal()
# A run left its thread, to begin again when its sleep is over or its event has come: run.
run_suspended = Signal()
# A run whose worker died was READY again, or ended: job_id, run_id, worker_id, status, reason.
run_rescued = Signal()
# Runs were cancelled while they waited: runs (pairs of id and options), reason ("" for none given).
runs_cancelled = Signal()
# A run cannot be called as stored and waits for a person: run, reason.
run_held = Signal()

# This process's worker: worker_id, and for `worker_started` queues, threads, has_clock.
worker_started = Signal()
worker_stopped = Signal()
# Its lease ended before it could extend it; its runs belong to others now: worker_id.
worker_lost = Signal()

# The database stopped answering this process, and answers all its threads again: who (the first
# or last thread's task), error or seconds.
database_lost = Signal()
database_back = Signal()

_loggers = {name: logging.getLogger(f"django_jobs.{name}") for name in ("clock", "worker", "manager")}
# Runs that failed for good have a logger of their own: who sends them elsewhere can leave it out.
FAILED_LOGGER = "django_jobs.worker.failed"
_loggers["failed"] = logging.getLogger(FAILED_LOGGER)


_LEVELS = {"SUCCESSFUL": logging.INFO, "CANCELLED": logging.INFO, "FAILED": logging.ERROR}


# What writes an event to the log. Not among the receivers, whose being asked costs more than most runs.
_lines: dict[Signal, Callable[..., None]] = {}


def emit(signal: Signal, **event: Any) -> None:
    """Write an event to the log, and send it to whoever listens; what a receiver raises goes to Django's log."""
    write = _lines.get(signal)
    if write is not None:
        try:
            write(**event)
        except BaseException as error:  # noqa: BLE001 - a handler of the project's, or a filter
            describe.log_error(_loggers["worker"], error, "an event could not be logged")
    if signal.receivers:
        try:
            signal.send_robust(sender=None, **event)
        except BaseException as error:  # noqa: BLE001 - SystemExit, or an exception that Django cannot log
            describe.log_error(_loggers["worker"], error, "a receiver of a signal failed")


def _ids(run: Any) -> dict[str, Any]:
    # As `logs.RunFilter` has them in a run; these lines are written outside of it.
    return {
        "job_id": printable(run.job_id),
        "attempt": run.attempt,
        "queue_name": printable(run.queue_name),
        "run_id": run.id,
    }


def log_of(status: str) -> tuple[logging.Logger, int]:
    """Return the logger and the level of the line that says how an attempt ended."""
    return _loggers["failed" if status == "FAILED" else "worker"], _LEVELS.get(status, logging.WARNING)


def unheard_ends() -> frozenset[str]:
    """Return the statuses of `run_finished` that nobody listens to, and no log takes."""
    if run_finished.receivers:
        return frozenset()
    return frozenset(status for status in _LEVELS if _is_unread(status))


def _is_unread(status: str) -> bool:
    log, level = log_of(status)
    return not log.isEnabledFor(level)


def _log_run_finished(*, run: Any, outcome: Any, **_: Any) -> None:
    log, level = log_of(outcome.status)
    if not log.isEnabledFor(level):
        return
    seconds = (outcome.finished_at - outcome.started_at).total_seconds()
    status, more = outcome.status, ""
    if outcome.error:
        more = f" error={printable(outcome.error)}"
    if status == "READY":
        status, more = "RETRY", f" retry_in={outcome.retry_in or 0:.1f}{more}"
    log.log(
        level,
        "job=%s run=%s status=%s attempt=%s func=%s seconds=%.3f%s",
        printable(run.job_id), run.id, status, run.attempt, printable(run.func), seconds, printable(more),
        extra=_ids(run), exc_info=_stored_error(run, outcome) if outcome.status == "FAILED" else None,
    )  # fmt: skip


def _stored_error(run: Any, outcome: Any) -> JobFailed | None:
    """Return an exception that a log shows with the attempt's traceback, which may be another process's."""
    if not outcome.traceback:
        return None
    trace = printable(outcome.traceback, keep_lines=True)
    error = JobFailed(run.job_id, printable(outcome.error), trace)
    error.add_note(trace)
    return error


def _log_run_refused(*, run: Any, **_: Any) -> None:
    _loggers["worker"].warning(
        "job=%s run=%s attempt=%s: result refused, the run was given to another worker meanwhile",
        printable(run.job_id), run.id, run.attempt, extra=_ids(run),
    )  # fmt: skip


def _log_run_rescued(*, job_id: str, run_id: int, worker_id: str, status: str, reason: str, **_: Any) -> None:
    _loggers["failed" if status == "FAILED" else "worker"].log(
        _LEVELS.get(status, logging.WARNING),
        "job=%s run=%s status=%s: rescued from worker %s: %s",
        printable(job_id), run_id, status, printable(worker_id), printable(reason),
        extra={"job_id": printable(job_id), "run_id": run_id},
    )  # fmt: skip


def _log_run_held(*, run: Any, reason: str, **_: Any) -> None:
    _loggers["worker"].error(
        "job=%s run=%s waits as broken: %s", printable(run.job_id), run.id, printable(reason), extra=_ids(run)
    )


def _log_job_broken(*, job_id: str, reason: str, **_: Any) -> None:
    _loggers["clock"].error(
        "job=%s is broken and does not fire: %s", printable(job_id), printable(reason),
        extra={"job_id": printable(job_id)},
    )  # fmt: skip


def _log_job_fired(*, job_id: str, run_id: int | None, scheduled_at: Any, skipped: str, **_: Any) -> None:
    if skipped:
        _loggers["clock"].warning(
            "job=%s run=%s status=SKIPPED at=%s: %s", printable(job_id), run_id, scheduled_at, printable(skipped),
            extra={"job_id": printable(job_id), "run_id": run_id or ""},
        )  # fmt: skip
    else:
        _loggers["clock"].debug("job=%s run=%s fired at=%s", printable(job_id), run_id, scheduled_at)


def _log_worker_started(*, worker_id: str, queues: Any, threads: int, has_clock: bool, **_: Any) -> None:
    names, clock = printable(",".join(queues) or "all"), "yes" if has_clock else "no"
    line = f"worker={worker_id} started: queues={names} threads={threads} clock={clock}"
    _loggers["worker"].info("%s", printable(line))
    if not _loggers["worker"].hasHandlers():
        # The project configured no log of ours, as startproject's settings do, and Python shows warnings only.
        sys.stderr.write(f"django_jobs: {line}\n")


def _log_worker_stopped(*, worker_id: str, **_: Any) -> None:
    _loggers["worker"].info("worker=%s stopped", printable(worker_id))


def _log_worker_lost(*, worker_id: str, **_: Any) -> None:
    _loggers["worker"].warning(
        "worker=%s was taken for dead, its lease had ended: what it runs now belongs to others",
        printable(worker_id),
    )


def _log_database_lost(*, who: str, error: BaseException, **_: Any) -> None:
    _loggers["worker"].error("the database does not answer, waiting for it (%s): %s", who, printable(error))


def _log_database_back(*, who: str, seconds: float, **_: Any) -> None:
    _loggers["worker"].warning("the database answers again after %.1f s (%s)", seconds, who)


def write_to_log() -> None:
    """Have every event written to the log; `AppConfig.ready` calls it."""
    _lines.update(
        {
            run_finished: _log_run_finished,
            run_refused: _log_run_refused,
            run_rescued: _log_run_rescued,
            run_held: _log_run_held,
            job_broken: _log_job_broken,
            job_fired: _log_job_fired,
            worker_started: _log_worker_started,
            worker_stopped: _log_worker_stopped,
            worker_lost: _log_worker_lost,
            database_lost: _log_database_lost,
            database_back: _log_database_back,
        }
    )
