"""The one settings dict, `DJANGO_JOBS`, with its defaults and its rules."""

from __future__ import annotations

import dataclasses
import difflib
import logging
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from zoneinfo import ZoneInfo

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed

from django_jobs.texts.printable import printable

logger = logging.getLogger(__name__)

# Said by a check, by processes that do not start for it, and to those who add jobs.
NO_TIME_ZONES = "django_jobs needs aware datetimes, and USE_TZ is False: set USE_TZ = True"
ENGINE_NAMES = ("threads", "processes", "inline", "celery")
LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
AUTOSTART_VARIABLE = "DJANGO_JOBS_AUTOSTART"


@dataclass(frozen=True, kw_only=True, repr=False)
class JobsSettings:
    """Every key of `DJANGO_JOBS`. Durations are seconds, sizes are bytes of UTF-8."""

    # Start the manager in `AppConfig.ready`: True, False, or None to start it where requests are
    # served. The environment variable DJANGO_JOBS_AUTOSTART (1 or 0) has the last word.
    AUTOSTART: bool | None = None
    # Alias that `django_jobs.routers.JobsRouter` sends our tables to; None leaves them where
    # the project's other routers put them.
    DATABASE: str | None = None
    # Turn due jobs into runs in this process.
    CLOCK: bool = True
    # Execute runs in this process.
    WORKER: bool = True
    # Queues that this process serves; empty means all.
    QUEUES: tuple[str, ...] = ()
    # Runs of plain functions that execute at the same time in one process.
    THREADS: int = 10
    # Queues that take at most so many of a process's threads: {"mail": 4}.
    QUEUE_THREADS: Mapping[str, int] = field(default_factory=dict)
    # Queues whose runs are executed by another engine than threads: {"name": "processes"}. An engine
    # is one of ENGINE_NAMES, or the path of a callable that returns a `concurrent.futures.Executor`.
    ENGINES: Mapping[str, str] = field(default_factory=dict)
    # Runs of "processes" queues that execute at the same time in one process, each in a child process.
    PROCESSES: int = 2
    # Runs after which such a child process is replaced by a new one; None keeps it.
    MAX_RUNS_PER_CHILD: int | None = None
    # Runs that execute at the same time on each executor that ENGINES has a path of; its `max_workers`.
    EXECUTOR_RUNS: int = 4
    # Path of the Celery app that "celery" queues are dispatched to; None is Celery's current app.
    CELERY_APP: str | None = None
    # Time after which a message that nobody took is taken for lost, and sent again.
    REDISPATCH_SECONDS: float = 300
    # Runs of `async def` functions that are awaited at the same time in one process.
    ASYNC_RUNS: int = 1000
    # Longest time until a process sees work that nobody told it of.
    POLL_SECONDS: float = 6
    # How often a process says that it lives, and looks for work that others left behind.
    HEARTBEAT_SECONDS: float = 6
    # Time without a heartbeat after which the runs of a process are given to others.
    LEASE_SECONDS: float = 30
    # How long `shutdown` lets running work finish before it is handed back.
    SHUTDOWN_SECONDS: float = 30
    # How often a run may be given to another process after its own died; then it is FAILED.
    MAX_RESCUES: int = 3
    # How long a run waits for a process that knows its function, when no live one does: as long as a deploy
    # takes. 0 ends it immediately.
    VERSION_SKEW_SECONDS: float = 300
    # Finished runs are deleted this many days after they finished; None keeps them forever.
    KEEP_DAYS: float | None = 90
    # Of each job the newest runs are kept, whatever their age up to KEEP_DAYS; None sets no limit.
    KEEP_RUNS_PER_JOB: int | None = 10_000
    # Modules (with all below them) whose functions may be called; None allows the modules of
    # installed apps and of functions that the code itself decorated with `@job`.
    ALLOWED_MODULES: tuple[str, ...] | None = None
    # Functions that were renamed: {"old.module:name": "new.module:name"}.
    MOVED: Mapping[str, str] = field(default_factory=dict)
    # Largest stored arguments and results. Larger arguments are refused at the call; a larger
    # result fails its run.
    MAX_PAYLOAD_BYTES: int = 1_000_000
    MAX_RESULT_BYTES: int = 1_000_000
    # Longer tracebacks and logs are cut, with a mark where.
    MAX_ERROR_BYTES: int = 50_000
    MAX_LOG_BYTES: int = 100_000
    # Steps, loops and waits that one run may keep.
    MAX_STEPS: int = 1000
    # An event that no run waited for is kept so long, for one that will.
    KEEP_EVENTS_DAYS: float = 7
    # Level from which records of `logging` in a run's code are lines of its log, too; None for no level.
    LOG_LEVEL: str | None = None
    # Zone of cron expressions that name none.
    CRON_TIME_ZONE: str = "UTC"
    # Which of the project's environments this is, such as "production": see `environments` of @recurring and @cron.
    ENVIRONMENT: str = ""
    # Where people are told what is wrong, and when: see docs/alerts.md. Empty: nowhere.
    ALERTS: Mapping[str, Any] = field(default_factory=dict)
    # Show django-apscheduler's own two admin pages beside ours.
    SHOW_APSCHEDULER_ADMIN: bool = False
    # What addresses of live pages' sockets begin with; None to find out, "" to poll instead.
    SOCKET_URL: str | None = None


KEYS: dict[str, dataclasses.Field[Any]] = {f.name: f for f in dataclasses.fields(JobsSettings)}

_LISTS = {"QUEUES", "ALLOWED_MODULES"}
_MAPPINGS = {"ENGINES", "MOVED"}
# What ALERTS may have, each with what it must be.
_ALERTS: dict[str, tuple[Any, str]] = {
    "MAIL": (lambda v: v is True or _is_names(v), "a list of addresses, or True for ADMINS"),
    "WEBHOOK": (lambda v: _is_web_address(v), "an http:// or https:// address"),
    "WEBHOOK_SECRET": (lambda v: isinstance(v, str) and len(v) >= 16, "a text of at least 16 characters"),
    "SLACK": (lambda v: _is_web_address(v), "an http:// or https:// address"),
    "AFTER": (
        lambda v: isinstance(v, int) and not isinstance(v, bool) and v >= 0,
        "a whole number of at least 0",
    ),
    "ONCE_PER_SECONDS": (lambda v: _is_number(v) and 0 <= v <= 31_622_400, "a number of seconds"),
    "URL": (lambda v: _is_web_address(v), "the http:// or https:// address of the admin"),
}
_AT_LEAST: dict[str, float] = {
    "THREADS": 1,
    "PROCESSES": 1,
    "MAX_RUNS_PER_CHILD": 1,
    "EXECUTOR_RUNS": 1,
    "REDISPATCH_SECONDS": 1,
    "ASYNC_RUNS": 1,
    "POLL_SECONDS": 0.01,
    "HEARTBEAT_SECONDS": 0.01,
    "LEASE_SECONDS": 0.05,
    "SHUTDOWN_SECONDS": 0,
    "MAX_RESCUES": 0,
    "VERSION_SKEW_SECONDS": 0,
    "KEEP_DAYS": 0,
    "KEEP_RUNS_PER_JOB": 1,
    "MAX_PAYLOAD_BYTES": 100,
    "MAX_RESULT_BYTES": 100,
    "MAX_ERROR_BYTES": 100,
    "MAX_LOG_BYTES": 100,
    "MAX_STEPS": 1,
    "KEEP_EVENTS_DAYS": 0,
}


def problems(raw: object) -> Iterator[str]:
    """Yield what is wrong with a `DJANGO_JOBS` value, one sentence each."""
    if not isinstance(raw, Mapping):
        yield f"DJANGO_JOBS must be a dict, not {type(raw).__name__}."
        return
    for key, value in raw.items():
        if key not in KEYS:
            yield f"DJANGO_JOBS: {unknown_key(key, sorted(KEYS))}"
            continue
        if problem := _described_problem(key, value):
            yield problem
    values = {**{k: f.default for k, f in KEYS.items()}, **raw}
    heartbeat, lease = values["HEARTBEAT_SECONDS"], values["LEASE_SECONDS"]
    if _is_number(heartbeat) and _is_number(lease) and lease < 2 * heartbeat:
        yield (
            f"DJANGO_JOBS: LEASE_SECONDS ({lease}) must be at least twice HEARTBEAT_SECONDS ({heartbeat}), "
            "or one late heartbeat gives away running work."
        )


def _described_problem(key: str, value: object) -> str:
    problem = _value_problem(key, value)
    return f"DJANGO_JOBS[{key!r}] is {value!r}: {problem}" if problem else ""


def unknown_key(key: object, known: Collection[str]) -> str:
    """Return the sentence that tells of a key that there is none of, with the nearest one if any is near."""
    near = difflib.get_close_matches(str(key), known, n=1)
    return f"unknown key {key}" + (
        f", did you mean {near[0]}?" if near else f"; the keys are {', '.join(known)}."
    )


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _value_problem(key: str, value: object) -> str:
    if value is None and _may_be_none(key):
        return ""
    if key in _AT_LEAST:
        return _number_problem(key, value)
    if key in _SPECIAL:
        return _SPECIAL[key](value)
    is_right, expected = _EXPECTED.get(key, (lambda v: isinstance(v, bool), "True or False"))
    return "" if is_right(value) else f"expected {expected}."


def _may_be_none(key: str) -> bool:
    return "None" in str(KEYS[key].type)


def _number_problem(key: str, value: object) -> str:
    is_whole = str(KEYS[key].type).startswith("int")
    if not _is_number(value) or (is_whole and not isinstance(value, int)):
        number = "a whole number" if is_whole else f"a number of {key.rpartition('_')[2].lower()}"
        return f"expected {number}{' or None' if _may_be_none(key) else ''}."
    least = _AT_LEAST[key]
    return "" if value >= least else f"expected at least {least}."  # type: ignore[operator]


def _moved_problem(value: object) -> str:
    if not isinstance(value, Mapping):
        return "expected a dict of old to new names."
    wrong = [n for pair in value.items() for n in pair if not isinstance(n, str) or n.count(":") != 1]
    return f"{wrong[0]!r} is not of the form module:qualname." if wrong else ""


def _engines_problem(value: object) -> str:
    if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
        return "expected a dict of names of queues to names of engines."
    wrong = [engine for engine in value.values() if engine not in ENGINE_NAMES and not is_path(engine)]
    if not wrong:
        return ""
    return (
        f"no such engine as {wrong[0]!r}; they are {', '.join(ENGINE_NAMES)}, or the path of a callable that "
        "returns an executor."
    )


def _database_problem(value: object) -> str:
    if isinstance(value, str) and value in settings.DATABASES:
        return ""
    return f"no such alias in DATABASES ({', '.join(settings.DATABASES)})."


def _alerts_problem(value: object) -> str:
    if not isinstance(value, Mapping):
        return "expected a dict."
    for name, one in value.items():
        if name not in _ALERTS:
            return unknown_key(name, sorted(_ALERTS))
        is_right, expected = _ALERTS[name]
        if not is_right(one):
            shown = "" if name == "WEBHOOK_SECRET" else f", not {one!r:.100}"
            return f"{name}: expected {expected}{shown}."
    if value.get("WEBHOOK") and not value.get("WEBHOOK_SECRET"):
        return "WEBHOOK needs WEBHOOK_SECRET, by which its messages are signed."
    return ""


def _is_names(value: object) -> bool:
    return isinstance(value, list | tuple | set | frozenset) and all(isinstance(name, str) for name in value)


def _is_counts(value: object) -> bool:
    return isinstance(value, Mapping) and all(
        isinstance(name, str) and isinstance(most, int) and not isinstance(most, bool) and most >= 1
        for name, most in value.items()
    )


def _is_web_address(value: object) -> bool:
    return isinstance(value, str) and value.startswith(("http://", "https://"))


def _is_zone(value: object) -> bool:
    try:
        ZoneInfo(value if isinstance(value, str) else "")
    except (LookupError, ValueError, OSError):
        return False
    return True


def is_path(value: object) -> bool:
    """Return whether a value looks like package.module.name or package.module:name."""
    if not isinstance(value, str):
        return False
    module, _, name = value.rpartition(":" if ":" in value else ".")
    return all(part.isidentifier() for part in [*module.split("."), name])


# Of keys that are neither numbers nor switches: what a value must be, None apart, and how a check says it.
_EXPECTED: dict[str, tuple[Callable[[Any], bool], str]] = {
    "QUEUES": (_is_names, "a list of names"),
    "ALLOWED_MODULES": (_is_names, "a list of names"),
    "QUEUE_THREADS": (_is_counts, "a dict of names of queues to whole numbers of at least 1"),
    "CELERY_APP": (is_path, "the path of a Celery app, as 'project.celery.app', or None"),
    "LOG_LEVEL": (
        lambda v: isinstance(v, str) and v in LOG_LEVELS,
        f"one of {', '.join(LOG_LEVELS)}, or None",
    ),
    "ENVIRONMENT": (lambda v: isinstance(v, str), "a name, as 'production'"),
    "CRON_TIME_ZONE": (_is_zone, "the name of a time zone, as TIME_ZONE or 'Europe/Berlin'"),
    "SOCKET_URL": (
        lambda v: isinstance(v, str) and (not v or v.startswith(("/", "ws"))),
        "a path or a ws:// or wss:// address, or None",
    ),
}
# Of those whose check says more.
_SPECIAL: dict[str, Callable[[object], str]] = {
    "ALERTS": _alerts_problem,
    "DATABASE": _database_problem,
    "ENGINES": _engines_problem,
    "MOVED": _moved_problem,
}


def queues_of(engine: str) -> tuple[str, ...]:
    """Return the queues whose runs are executed by an engine."""
    return tuple(name for name, value in jobs_settings().ENGINES.items() if value == engine)


def require_time_zones() -> None:
    """Refuse work that no process could execute.

    Raises:
        ImproperlyConfigured: USE_TZ is False.
    """
    if not settings.USE_TZ:
        raise ImproperlyConfigured(NO_TIME_ZONES)


_current: JobsSettings | None = None


def jobs_settings() -> JobsSettings:
    """Return the settings in force.

    A value of the wrong type is logged, and the default is in force: all processes start, `manage.py check`
    among them, which says the same. Unknown keys are left to it.
    """
    global _current
    if _current is None:
        raw = getattr(settings, "DJANGO_JOBS", None) or {}
        if not isinstance(raw, Mapping):
            logger.error("%s The defaults are in force.", *map(printable, problems(raw)))
            raw = {}
        _current = JobsSettings(**{key: _in_force(key, value) for key, value in raw.items() if key in KEYS})
    return _current


def _in_force(key: str, value: object) -> Any:
    if not _has_usable_type(key, value):
        field = KEYS[key]
        default = field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
        if key == "ALLOWED_MODULES":
            # Its default allows more than whoever set it wanted.
            default = ()
        logger.error("%s In force is %r.", printable(_described_problem(key, value)), default)
        return default
    return tuple(value) if key in _LISTS and isinstance(value, Iterable) else value


def _has_usable_type(key: str, value: object) -> bool:
    if value is None and _may_be_none(key):
        return True
    if key in _AT_LEAST:
        return _is_number(value)
    if key in _LISTS or key in {"QUEUE_THREADS", "ALERTS"}:
        return not _value_problem(key, value)
    if key in _MAPPINGS:
        return isinstance(value, Mapping) and all(isinstance(n, str) for pair in value.items() for n in pair)
    if str(KEYS[key].type).startswith("str"):
        return isinstance(value, str)
    # What is true of it says enough.
    return True


def autostart() -> bool | None:
    """Return whether to start by itself: True, False, or None to decide by the kind of process."""
    word = os.environ.get(AUTOSTART_VARIABLE, "").strip().lower()
    if word in {"1", "true", "yes", "on"}:
        return True
    if word in {"0", "false", "no", "off"}:
        return False
    return jobs_settings().AUTOSTART


def _forget(*, setting: str, **_: object) -> None:
    global _current
    if setting == "DJANGO_JOBS":
        _current = None


setting_changed.connect(_forget)
