"""System checks: configuration mistakes, said before they cost anything.

Every command imports this module to register the checks; what a check looks at is imported when it runs.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Info, Warning
from django.db import connections

from django_jobs import conf

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from django.db.backends.base.base import BaseDatabaseWrapper

ROUTER = "django_jobs.routers.JobsRouter"
APPS = {"django_jobs", "django_apscheduler"}
SQLITE_OPTIONS = (
    '"OPTIONS": {"timeout": 20, "transaction_mode": "IMMEDIATE", "init_command": "PRAGMA journal_mode=WAL; '
    'PRAGMA synchronous=NORMAL;"}'
)
# Parameters that hold a secret, not ones that are about one: `token`, and not `token_count`.
SECRET = (
    r"(^|_)(password|passwd|passphrase|secret|token|credentials?|((api|private|secret|access|signing)_?key))$"  # noqa: S105 - a pattern
)


def _listed(ask: Callable[..., Iterator[CheckMessage]]) -> Callable[..., list[CheckMessage]]:
    """Make a check of what yields messages: Django wants a list."""

    @wraps(ask)
    def check(**more: Any) -> list[CheckMessage]:
        return list(ask(**more))

    return check


@_listed
def check_settings(**_: Any) -> Iterator[CheckMessage]:
    """E001: every key of DJANGO_JOBS exists and has a sensible value."""
    for problem in conf.problems(getattr(settings, "DJANGO_JOBS", None) or {}):
        yield Error(problem, hint="django_jobs.conf.JobsSettings has every key.", id="django_jobs.E001")


@_listed
def check_time_zones(**_: Any) -> Iterator[CheckMessage]:
    """E003: times are aware."""
    if not settings.USE_TZ:
        yield Error(
            f"{conf.NO_TIME_ZONES}.",
            hint="It is Django's default; TIME_ZONE keeps its meaning for pages and forms.",
            id="django_jobs.E003",
        )


@_listed
def check_database(**_: Any) -> Iterator[CheckMessage]:
    """E004, E005, E006, W001: the jobs' database is one that we know, is routed to, and commits."""
    alias = _raw().get("DATABASE")
    if alias and not any(
        router == ROUTER or type(router).__name__ == "JobsRouter" for router in settings.DATABASE_ROUTERS
    ):
        yield Error(
            f"DJANGO_JOBS['DATABASE'] is {alias!r}, but no router sends our tables there.",
            hint=f"Add {ROUTER!r} to DATABASE_ROUTERS.",
            id="django_jobs.E004",
        )
    connection = _connection()
    if connection.vendor not in {"sqlite", "postgresql", "mysql"}:
        yield Error(
            f"django_jobs knows SQLite, PostgreSQL, MariaDB and MySQL, not {connection.vendor}.",
            hint="Give it a database of its own with DJANGO_JOBS['DATABASE'].",
            id="django_jobs.E005",
        )
    if not connection.settings_dict.get("AUTOCOMMIT", True):
        yield Error(
            f"DATABASES[{connection.alias!r}] has AUTOCOMMIT off: no job can be added, and none be claimed.",
            hint="Leave it on, or give the jobs an alias of their own with DJANGO_JOBS['DATABASE'].",
            id="django_jobs.E006",
        )
    if connection.vendor == "sqlite" and connection.is_in_memory_db() and not _is_testing():  # type: ignore[attr-defined]
        yield Warning(
            "The jobs' SQLite database is in memory: threads wait for each other, and jobs end with the process.",
            hint="Use a file.",
            id="django_jobs.W001",
        )


@_listed
def check_declarations(**_: Any) -> Iterator[CheckMessage]:
    """E009: each declared schedule has an id of its own."""
    from django_jobs.registry import schedules

    for job_id, paths in schedules.contested_ids().items():
        yield Error(
            f"The job id {job_id!r} is declared more than once: by {', '.join(paths)}.",
            hint='Give each an id of its own, as in @recurring(minutes=30, job_id="...").',
            id="django_jobs.E009",
        )


@_listed
def check_installed_jobs(**_: Any) -> Iterator[CheckMessage]:
    """W009: what installed packages declare can be imported; their mistakes do not keep a project from starting."""
    from django_jobs.registry import discovery

    hint = "Tell its maintainers. If it is about something else: SILENCED_SYSTEM_CHECKS."
    for one in discovery.failures().values():
        yield Warning(f"{one}.", hint=hint, id="django_jobs.W009")


@_listed
def check_cron_zone(**_: Any) -> Iterator[CheckMessage]:
    """I001: the project's time zone is not UTC, and cron expressions go by UTC without anybody saying so."""
    from django_jobs.registry import schedules

    open_ids = [one.job_id for one in schedules.declarations() if one.has_default_zone]
    if open_ids and settings.TIME_ZONE not in {"UTC", "Etc/UTC"} and "CRON_TIME_ZONE" not in _raw():
        yield Info(
            f"Cron expressions without a time zone go by UTC, not by TIME_ZONE ({settings.TIME_ZONE}): "
            f"{', '.join(open_ids[:5])}{', ...' if len(open_ids) > 5 else ''}.",
            hint='Say which is meant: DJANGO_JOBS = {"CRON_TIME_ZONE": TIME_ZONE}, or "UTC"; or timezone="..." '
            "with each.",
            id="django_jobs.I001",
        )


@_listed
def check_sqlite(**_: Any) -> Iterator[CheckMessage]:
    """W002: requests and jobs can write to the jobs' SQLite file at the same time."""
    connection = _connection()
    if connection.vendor != "sqlite" or connection.is_in_memory_db():  # type: ignore[attr-defined]
        return
    options = connection.settings_dict["OPTIONS"]
    lacks = []
    if not re.search(r"journal_mode\s*=\s*.?wal", options.get("init_command") or "", re.IGNORECASE) and not (
        _is_in_wal_mode(Path(connection.settings_dict["NAME"]))
    ):
        lacks.append("it is not in WAL mode")
    if str(options.get("transaction_mode")).upper() not in {"IMMEDIATE", "EXCLUSIVE"}:
        lacks.append("its transactions do not begin as IMMEDIATE")
    if lacks:
        yield Warning(
            f"The jobs' SQLite database is not set up for more than one writer: {' and '.join(lacks)}. Requests "
            'and jobs that write at the same time fail with "database is locked".',
            hint=f"Add to this database in DATABASES: {SQLITE_OPTIONS}",
            id="django_jobs.W002",
        )


@_listed
def check_migrations(databases: Sequence[str] | None = None, **_: Any) -> Iterator[CheckMessage]:
    """W003: the tables are there, and as this version needs them."""
    connection = _connection()
    if connection.alias not in (databases or ()) or sys.argv[1:2] == ["migrate"]:
        return
    from django.db.migrations.executor import MigrationExecutor

    executor = MigrationExecutor(connection)
    targets = [node for node in executor.loader.graph.leaf_nodes() if node[0] in APPS]
    missing = [f"{step.app_label}.{step.name}" for step, _ in executor.migration_plan(targets)]
    if missing:
        option = "" if connection.alias == "default" else f" --database {connection.alias}"
        yield Warning(
            f"Migrations of the jobs' tables are not applied: {', '.join(missing)}. No jobs are executed "
            "until the tables are there, as this version has them.",
            hint=f"Run `manage.py migrate{option}`.",
            id="django_jobs.W003",
        )


@_listed
def check_commands(**_: Any) -> Iterator[CheckMessage]:
    """W007: `manage.py runjobs` is this app's command, and not that of another app."""
    from django.core.management import get_commands, load_command_class

    owner = get_commands().get("runjobs", "django_jobs")
    if owner == "django_jobs":
        return
    try:
        found: type = type(load_command_class(owner, "runjobs"))
    except Exception:  # noqa: BLE001 - the other app's mistake, which its command shows
        found = object
    # The project's own may be made from ours.
    if all(one.__module__ != "django_jobs.management.commands.runjobs" for one in found.__mro__):
        yield Warning(
            f"`manage.py runjobs` is the command of {owner}, which comes before django_jobs in INSTALLED_APPS: "
            "it executes no jobs of django_jobs.",
            hint="Use `manage.py jobs work`, which takes the same options. Or move django_jobs before "
            f"{owner}; to keep both, add django_jobs.W007 to SILENCED_SYSTEM_CHECKS.",
            id="django_jobs.W007",
        )


@_listed
def check_secrets(**_: Any) -> Iterator[CheckMessage]:
    """W004: no job takes a secret that it did not say is one."""
    from django_jobs.registry import decorators

    for path, function in sorted(decorators.decorated().items()):
        if names := _secrets(function):
            yield Warning(
                f"{path} takes {', '.join(names)} as an argument, which the database keeps in plain text.",
                hint="Pass an id and look the secret up in the job. If it may be kept, say so: "
                f"@job(sensitive={names!r}).",
                id="django_jobs.W004",
            )


def _secrets(function: Any) -> list[str]:
    from django_jobs.registry import decorators, parameters

    known = decorators.options_of(function).sensitive or ()
    signature = parameters.signature_of(function)
    names = () if signature is None else signature.parameters
    return [name for name in names if re.search(SECRET, name.lower()) and name not in known]


@_listed
def check_schedule_options(**_: Any) -> Iterator[CheckMessage]:
    """I002: options that only schedules have belong to a function with a schedule."""
    from django_jobs.registry import decorators, schedules
    from django_jobs.registry.options import OF_SCHEDULES

    scheduled = {declaration.func for declaration in schedules.declarations()}
    for path, function in sorted(decorators.decorated().items()):
        own = decorators.options_of(function)
        names = [name for name in OF_SCHEDULES if getattr(own, name) is not None]
        if names and function not in scheduled:
            yield Info(
                f"{path} has {', '.join(names)} in @job, which only jobs with a schedule use, and declares no "
                "schedule: it does nothing for what you enqueue.",
                hint=f"For jobs that you enqueue: {OF_SCHEDULES[names[0]]}. If you add a schedule with the manager, "
                "as with add_recurring_job, give the option there: using(...).",
                id="django_jobs.I002",
            )


@_listed
def check_environment(**_: Any) -> Iterator[CheckMessage]:
    """I003: where schedules name environments, this one has a name."""
    from django_jobs.registry import schedules

    names = schedules.named_environments()
    if names and not conf.jobs_settings().ENVIRONMENT:
        yield Info(
            f"Some declared schedules are for certain environments ({', '.join(sorted(names))}), and this one has no "
            "name: they do not fire here.",
            hint='Say which this is: DJANGO_JOBS = {"ENVIRONMENT": "..."}.',
            id="django_jobs.I003",
        )


@_listed
def check_atomic(**_: Any) -> Iterator[CheckMessage]:
    """E022: functions that are one commit with their outcomes write to the database of the runs."""
    from django_jobs.registry import atomicity, decorators

    for path, function in sorted(decorators.decorated().items()):
        atomic = decorators.options_of(function).atomic
        if not atomic:
            continue
        try:
            atomicity.check_database(atomicity.data_alias(atomic))
        except ValueError as error:
            hint = "Without atomic the run is executed at least once, as any other."
            yield Error(f"{path} is atomic: {error}.", hint=hint, id="django_jobs.E022")


@_listed
def check_database_itself(*, databases: Sequence[str] | None = None, **_: Any) -> Iterator[CheckMessage]:
    """W006, W008, W010: what only the jobs' database can say."""
    connection = _connection()
    if connection.alias in (databases or ()):
        from django_jobs.operations import database_checks

        yield from database_checks.ask(connection)


@_listed
def check_pooler_settings(**_: Any) -> Iterator[CheckMessage]:
    """W006: behind a pooler in transaction mode somebody chose how long new work may wait."""
    from django_jobs.operations import database_checks

    yield from database_checks.check_pooler_settings(_connection())


def _raw() -> dict[str, Any]:
    raw = getattr(settings, "DJANGO_JOBS", None) or {}
    return raw if isinstance(raw, dict) else {}


def _connection() -> BaseDatabaseWrapper:
    alias = _raw().get("DATABASE")
    return connections[alias if isinstance(alias, str) and alias in settings.DATABASES else "default"]


def _is_in_wal_mode(path: Path) -> bool:
    # Bytes 18 and 19 of the file: https://www.sqlite.org/fileformat2.html#file_format_version_numbers
    try:
        with path.open("rb") as file:
            return file.read(20)[18:] == b"\x02\x02"
    except OSError:
        return False


@_listed
def check_celery(**_: Any) -> Iterator[CheckMessage]:
    """E020: where a queue is Celery's, there is a Celery app that takes our messages."""
    if "celery" not in _engines():
        return
    from django_jobs.integrations.celery.app import complaints

    hint = 'DJANGO_JOBS["CELERY_APP"] is the path of your Celery app; import it in the __init__.py of the project.'
    for problem in complaints():
        yield Error(problem, hint=hint, id="django_jobs.E020")


@_listed
def check_executors(**_: Any) -> Iterator[CheckMessage]:
    """E021: what ENGINES has the path of can be imported, and be called for an executor."""
    paths = [path for path in _engines() if path not in conf.ENGINE_NAMES and conf.is_path(path)]
    if not paths:
        return
    from django_jobs.execution.engines.executor_factories import complaints

    hint = "Name a callable that is called with max_workers=... and returns a concurrent.futures.Executor."
    for problem in complaints(paths):
        yield Error(f"DJANGO_JOBS['ENGINES'] names {problem}.", hint=hint, id="django_jobs.E021")


def _engines() -> Sequence[Any]:
    engines = _raw().get("ENGINES")
    # What else it may be is E001's to say.
    return list(engines.values()) if isinstance(engines, Mapping) else []


def _is_testing() -> bool:
    return "test" in sys.argv[1:2] or "pytest" in sys.modules


ALL = (
    check_settings,
    check_time_zones,
    check_database,
    check_sqlite,
    check_declarations,
    check_installed_jobs,
    check_cron_zone,
    check_commands,
    check_secrets,
    check_schedule_options,
    check_environment,
    check_celery,
    check_executors,
    check_atomic,
)
# With `manage.py check --deploy` only: a project that is being tried out has other worries.
DEPLOY = (check_pooler_settings,)
# With `manage.py check --database default`: they ask it.
DATABASE = (check_migrations, check_database_itself)
