"""Import the jobs of django-apscheduler: each becomes one of ours, under its id and in its row."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from apscheduler.triggers.calendarinterval import CalendarIntervalTrigger
from apscheduler.triggers.combining import AndTrigger, OrTrigger
from apscheduler.triggers.cron import CronTrigger
from apscheduler.triggers.cron.expressions import MONTHS, WEEKDAYS, WeekdayPositionExpression
from apscheduler.triggers.date import DateTrigger
from apscheduler.triggers.interval import IntervalTrigger
from django.db import transaction
from django_apscheduler.models import DjangoJob

from django_jobs import signals, triggers
from django_jobs.exceptions import BadPayload, ConflictingIdError, FunctionNotAllowed, UnknownTrigger
from django_jobs.models import Job, Kind, Run, jobs_database
from django_jobs.operations.apscheduler import unpickling
from django_jobs.operations.apscheduler.unpickling import Record
from django_jobs.registry import arguments, decorators, functions
from django_jobs.registry.call_spec import CallSpec, columns_of
from django_jobs.registry.misplaced_options import of_schedule
from django_jobs.registry.option_checks import MAX_NAME_LENGTH
from django_jobs.storage import notifications, transactions
from django_jobs.storage.records import immediate_key

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import datetime

    from apscheduler.triggers.base import BaseTrigger

# Seconds after which a late firing is skipped, where nobody chose another limit: APScheduler's default.
_HASTY = 1


@dataclass(slots=True)
class Found:
    """A job of django-apscheduler's, and what it would be here."""

    id: str
    #: As the pickle names it; empty where that cannot be read.
    func: str
    #: In words; empty where it cannot be read.
    trigger: str
    #: None while it is paused.
    next_run_time: datetime | None
    #: Why it cannot be imported; empty where it can.
    problem: str
    #: What is not as it was.
    notes: list[str]
    row: Job | None = None


def find_jobs(
    ids: Collection[str] = (), *, late: bool = False, using: str | None = None, lock: bool = False
) -> list[Found]:
    """Return the jobs of django-apscheduler that are not ours yet, by id; all, or some.

    Args:
        ids: Which; empty for all.
        late: Whether they may be late without limit, in place of their own `misfire_grace_time`.
        using: Alias of the database; the jobs' one by default.
        lock: Whether to lock the rows, in the transaction under way.
    """
    using = using or jobs_database()
    rows = DjangoJob.objects.using(using).exclude(pk__in=Job.objects.using(using).values("pk"))
    if ids:
        rows = rows.filter(pk__in=list(ids))
    if lock:
        rows = rows.select_for_update()
    now = transactions.database_now(using)
    return [_found(row, late=late, now=now, using=using) for row in rows.order_by("pk")]


def import_jobs(ids: Collection[str] = (), *, late: bool = False, using: str | None = None) -> list[Found]:
    """Make jobs of django-apscheduler ours, all that can be, in one transaction; others stay as they are.

    Args:
        ids: As for `find_jobs`.
        late: As for `find_jobs`.
        using: As for `find_jobs`.

    Returns:
        Those that were imported, and those that could not be, by their `problem`.
    """
    using = using or jobs_database()
    with transactions.write_transaction(using):
        found = find_jobs(ids, late=late, using=using, lock=True)
        taken = [one.row for one in found if one.row is not None]
        for row in taken:
            row.save(using=using, force_insert=True)
        if taken:
            notifications.notify(notifications.JOBS, using=using)
        for row in taken:
            transaction.on_commit(partial(signals.emit, signals.job_added, job_id=row.pk), using=using)
    return found


def _found(old: DjangoJob, *, late: bool, now: datetime, using: str) -> Found:
    found = Found(id=old.pk, func="", trigger="", next_run_time=old.next_run_time, problem="", notes=[])
    try:
        state = _state(old)
        found.func = str(state["func"])
        trigger = triggers.check(_trigger(state["trigger"]))
        found.trigger = triggers.describe(trigger)
        row = _row(old, state, trigger, now)
        if late:
            row.misfire_grace_time = None
        notes = _notes(row, state)
        _refuse_taken_id(old.pk, using)
    except (
        BadPayload,
        UnknownTrigger,
        FunctionNotAllowed,
        ConflictingIdError,
        ValueError,
        TypeError,
    ) as error:
        found.problem = str(error)
    except (KeyError, AttributeError, IndexError, ArithmeticError, RecursionError) as error:
        found.problem = f"its pickle is not that of a job: {error!r}"
    else:
        found.row, found.notes = row, notes
    return found


def _state(old: DjangoJob) -> dict[str, Any]:
    state = unpickling.read(bytes(old.job_state))
    if not isinstance(state, dict) or state.get("version", 1) != 1:
        raise BadPayload("its pickle is not that of a job of APScheduler 3")
    return state


def _refuse_taken_id(job_id: str, using: str) -> None:
    key = immediate_key(job_id)
    if Run.objects.using(using).unfinished().filter(unique_key=key).exists():
        raise ConflictingIdError(job_id)


def _row(old: DjangoJob, state: dict[str, Any], trigger: BaseTrigger, now: datetime) -> Job:
    path, function = functions.path_of(str(state["func"]))
    args, kwargs = tuple(state["args"]), dict(state["kwargs"])
    arguments.check_arguments(path, function, args, kwargs)
    options = replace(
        of_schedule(decorators.options_of(function)), name=str(state["name"])[:MAX_NAME_LENGTH] or None
    )
    policy = {key: state[key] for key in ("max_instances", "misfire_grace_time")}
    for key, value in policy.items():
        if value is not None and (not isinstance(value, int) or not 0 < value < 2**31):
            raise ValueError(f"its {key} is {value!r:.50}")
    return Job(
        **columns_of(CallSpec.of_call(path, function, args, kwargs, options)),
        id=old.pk,
        kind=(Kind.SCHEDULED if triggers.is_once(trigger) else Kind.RECURRING).value,
        job_state=triggers.dumps(trigger),
        next_run_time=old.next_run_time,
        paused_at=now if old.next_run_time is None else None,
        coalesce=bool(state["coalesce"]),
        **policy,
    )


def _notes(row: Job, state: dict[str, Any]) -> list[str]:
    notes = []
    if row.func != state["func"]:
        notes.append(f"its function is now {row.func}")
    if row.misfire_grace_time == _HASTY:
        notes.append("skipped when it is more than 1 s late, APScheduler's default: see --run-late")
    if state["executor"] != "default":
        notes.append(f"its executor {state['executor']!r:.50} has no meaning here: see ENGINES")
    return notes


# Triggers


def _trigger(record: Any) -> BaseTrigger:
    if not isinstance(record, Record):
        raise UnknownTrigger(f"its trigger is a {type(record).__name__}")
    return _read(record.class_name, record.state)


def _read(name: str, state: dict[str, Any]) -> Any:
    if name == "CronTrigger":
        return CronTrigger(
            **{field["name"]: _text(field["expressions"]) for field in _fields(state["fields"])},
            start_date=state["start_date"],
            end_date=state["end_date"],
            timezone=state["timezone"],
            jitter=state["jitter"],
        )
    if name in _COMBINING:
        # Each part is named in words, as "apscheduler.triggers.date:DateTrigger".
        parts = [_read(path.rpartition(":")[2], part) for path, part in state["triggers"]]
        return _COMBINING[name](parts, jitter=state["jitter"])
    kind = _SIMPLE.get(name)
    if kind is None:
        raise UnknownTrigger(f"its trigger is a {name}")
    # As APScheduler does: past what a new trigger is asked for.
    trigger: Any = object.__new__(kind)
    trigger.__setstate__(state)
    return trigger


_SIMPLE: dict[str, type[BaseTrigger]] = {
    kind.__name__: kind for kind in (CalendarIntervalTrigger, DateTrigger, IntervalTrigger)
}
_COMBINING: dict[str, type[BaseTrigger]] = {kind.__name__: kind for kind in (AndTrigger, OrTrigger)}


def _fields(records: list[Record]) -> list[dict[str, Any]]:
    return [
        record.state
        for record in records
        if not record.state.get("is_default") and record.state["name"] in CronTrigger.FIELD_NAMES
    ]


def _text(expressions: list[Record]) -> str:
    """Return expressions as they are written: what APScheduler reads again means the same."""
    return ",".join(_expression(record.class_name, record.state) for record in expressions)


_POSITIONS = WeekdayPositionExpression.options


def _expression(name: str, state: dict[str, Any]) -> str:
    if name == "LastDayOfMonthExpression":
        return "last"
    if name == "WeekdayPositionExpression":
        return f"{_POSITIONS[state['option_num']]} {WEEKDAYS[state['weekday']]}"
    text = "*"
    if name != "AllExpression":
        first, last = int(state["first"]), state["last"]
        text = _number(name, first)
        if last is not None and last != first:
            text += f"-{_number(name, int(last))}"
    return text if state["step"] is None else f"{text}/{int(state['step'])}"


def _number(kind: str, number: int) -> str:
    if kind == "WeekdayRangeExpression":
        return str(WEEKDAYS[number])
    return str(MONTHS[number - 1]) if kind == "MonthRangeExpression" else str(number)
