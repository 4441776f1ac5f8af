"""Declared schedules: what running versions of the code declare becomes jobs, once over all processes.

Each process with a clock says which release its code is of: what it declares, by a fingerprint.
Jobs are then what the releases of the running processes say together, and where they differ what
the newest says, by when it was first seen. So an old process that is started again during a deploy
changes nothing back, and what only it declares stays until it ends. A release that was the newest
counts a while longer than its last process: its processes may just be restarting.
"""

from __future__ import annotations

import json
import logging
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from django.db import (
    DatabaseError,
    IntegrityError,
    InterfaceError,
    OperationalError,
    connections,
    transaction,
)
from django.db.models import DateTimeField
from django.db.models.expressions import RawSQL

from django_jobs import codec, signals, triggers
from django_jobs.conf import jobs_settings
from django_jobs.exceptions import UnknownTrigger
from django_jobs.models import DEFAULT_QUEUE_NAME, Declarer, Job, Kind, Release
from django_jobs.printable import printable
from django_jobs.registry import arguments, decorators, functions, schedules
from django_jobs.storage import identity, notifications, queue, sql

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from apscheduler.triggers.base import BaseTrigger

    Definitions = dict[str, dict[str, Any]]

logger = logging.getLogger(__name__)

# How often a process says that it lives and looks at the others, and how often while several
# releases run: deploys are short.
LOOK_SECONDS = 60.0
DEPLOY_SECONDS = 10.0
# Time without a word after which a process is dead. On its own host that is known at once.
EXPIRES = timedelta(seconds=180)
# How long a release that no process has is remembered, and with it its place in the order.
REMEMBERED = timedelta(days=30)

# The row that is locked, so that processes go one after the other. In place of definitions it has
# what persons had changed of jobs that were retired, should they be declared again.
_LOCK = ""
# Columns of a job that are its declaration's, always, and those that a person may change.
_FIXED = ("name", "func", "payload", "signature", "options", "coalesce", "misfire_grace_time")
POLICY = ("queue_name", "priority", "max_instances")


# What this code declares


def own() -> tuple[str, Definitions]:
    """Return the fingerprint of what this process's code declares, and the definitions by job id.

    Raises:
        ValueError: A function cannot be found by its name; or as `arguments.stored_arguments`.
    """
    definitions = {declared.job_id: _definition(declared) for declared in schedules.declarations()}
    # As others will read it: tuples are lists then.
    definitions = json.loads(json.dumps(definitions))
    # A set is stored in an order of its own in each process, and is the same nevertheless.
    told = {
        job_id: {**definition, "payload": codec.plain(definition["payload"]), "signature": ""}
        for job_id, definition in definitions.items()
    }
    # Signed, so that a new SECRET_KEY makes a new release, which signs the jobs anew.
    return codec.sign("", json.dumps(told, sort_keys=True)), definitions


def _definition(declared: schedules.Declaration) -> dict[str, Any]:
    path, function = functions.path_of(declared.func)
    options = declared.options.over(decorators.options_of(function))
    payload = arguments.stored_arguments(declared.args, declared.kwargs)
    return {
        "name": options.name or path.rpartition(":")[2],
        "func": path,
        "payload": payload,
        # The declaring process's: another that applies it signs nothing that it only read.
        "signature": codec.sign(path, payload),
        "options": arguments.stored_options(options, function, declared.args),
        "coalesce": options.coalesce is not False,
        "misfire_grace_time": options.misfire_grace_time,
        "queue_name": options.queue_name or DEFAULT_QUEUE_NAME,
        "priority": options.priority or 0,
        "max_instances": options.max_instances or 1,
        "trigger": triggers.rule(declared.trigger),
    }


# What all processes declare


class ScheduleSync:
    """One process's part in it: says what its code declares, and looks at the others now and then.

    Args:
        using: Alias of the database.
    """

    def __init__(self, using: str) -> None:
        self.id = identity.new_worker_id()
        # Those of its process, if it has any: they need not hear that it still lives.
        self.listener_thread: notifications.ListenerThread | None = None
        self._using = using
        self._next_look = 0.0
        self._fingerprint = ""
        # The releases that ran when all was last settled; None while something is still to come.
        self._settled: frozenset[str] | None = None

    def look_if_due(self) -> float:
        """Look, unless that was done lately; return the seconds until the next look is due.

        Raises:
            OperationalError: The database does not answer; call again.
            InterfaceError: The same.
        """
        if (early := self._next_look - time.monotonic()) > 0:
            return early
        self._next_look = time.monotonic() + DEPLOY_SECONDS
        try:
            wait = self.look()
        except (OperationalError, InterfaceError):
            raise
        except Exception:  # a mistake in a declaration must not end the clock that fires all jobs
            logger.exception("declared schedules were not looked at")
            wait = LOOK_SECONDS
        self._next_look = time.monotonic() + wait
        return wait

    def look(self) -> float:
        """Bring the jobs in line with what runs, if that changed; return the seconds until the next look."""
        fingerprint, definitions = own()
        now = RawSQL(sql.dialect(connections[self._using]).now, (), output_field=DateTimeField())  # noqa: S611 - words of ours
        rows = list(Declarer.objects.using(self._using).annotate(db_now=now))
        mine = next((row for row in rows if row.pk == self.id), None)
        if mine is not None and mine.fingerprint == fingerprint:
            live = frozenset(row.fingerprint for row in rows if row is mine or _is_alive(row, mine.db_now))
            if live == self._settled:
                if mine.expires_at - mine.db_now < EXPIRES / 2:
                    self._renew(mine.db_now + EXPIRES)
                return DEPLOY_SECONDS if len(live) > 1 else LOOK_SECONDS
        self._fingerprint = fingerprint
        came_of_it = synchronise(self.id, fingerprint, definitions, using=self._using)
        self._settled = came_of_it.live if came_of_it.again_in is None else None
        if came_of_it.again_in is not None:
            return came_of_it.again_in
        return DEPLOY_SECONDS if len(came_of_it.live) > 1 else LOOK_SECONDS

    def _renew(self, expires_at: datetime) -> None:
        def renew() -> int:
            return Declarer.objects.using(self._using).filter(pk=self.id).update(expires_at=expires_at)

        if self.listener_thread is None:
            renew()
        else:
            self.listener_thread.unheard(renew)

    def leave(self) -> None:
        """Say that this process ends; what it declared stays until the others' next look."""
        if not self._fingerprint:
            return
        try:
            with _locked(self._using) as (now, _):
                Declarer.objects.using(self._using).filter(pk=self.id).delete()
                if not Declarer.objects.using(self._using).filter(fingerprint=self._fingerprint).exists():
                    Release.objects.using(self._using).filter(pk=self._fingerprint).update(gone_at=now)
        except (DatabaseError, InterfaceError) as error:
            logger.warning("could not say that this process ends, others will see it: %s", error)


@dataclass(frozen=True, slots=True)
class Synchronised:
    """What came of `synchronise`.

    Args:
        live: Fingerprints of the releases that run.
        again_in: Seconds after which more changes, if nothing else does; None when nothing will.
    """

    live: frozenset[str]
    again_in: float | None


def synchronise(declarer_id: str, fingerprint: str, definitions: Definitions, *, using: str) -> Synchronised:
    """Say that a process lives and what it declares, and make the jobs what all that live declare.

    In one transaction that no two processes have at the same time. Jobs that were added, not
    declared, are not touched.

    Args:
        declarer_id: Of the process.
        fingerprint: Of what it declares, as `own` returns it.
        definitions: What it declares, by job id.
        using: Alias of the database.
    """
    with _locked(using) as (now, lock):
        releases = _releases(fingerprint, definitions, now, using)
        live = _live(declarer_id, fingerprint, now, using)
        present, again_in = _present(releases, live, now, using)
        wanted: Definitions = {}
        for release in present:
            wanted.update(release.definitions)
        _apply(wanted, lock, now, using)
    return Synchronised(frozenset(live), again_in)


@contextmanager
def _locked(using: str) -> Iterator[tuple[datetime, Release]]:
    """Open a transaction that one process has at a time; gives the database's time, and the locked row."""
    releases = Release.objects.using(using)
    if not releases.filter(pk=_LOCK).exists():
        # Committed by itself: two transactions that both insert it and then lock it would wait for
        # each other on MariaDB.
        releases.bulk_create(
            [Release(fingerprint=_LOCK, number=0, first_seen_at=queue.database_now(using))],
            ignore_conflicts=True,
        )
    with queue.write_transaction(using):
        lock = releases.select_for_update().get(pk=_LOCK)
        yield queue.database_now(using), lock


def _releases(fingerprint: str, definitions: Definitions, now: datetime, using: str) -> list[Release]:
    """Return the known releases, oldest first, this process's among them."""
    releases = list(Release.objects.using(using).exclude(pk=_LOCK).order_by("number"))
    if all(release.pk != fingerprint for release in releases):
        number = releases[-1].number + 1 if releases else 1
        releases.append(
            Release.objects.using(using).create(
                fingerprint=fingerprint, number=number, definitions=definitions, first_seen_at=now
            )
        )
    return releases


def _live(declarer_id: str, fingerprint: str, now: datetime, using: str) -> set[str]:
    """Renew this process's row, delete those of the dead, and return the releases that run."""
    declarers = Declarer.objects.using(using)
    declarers.update_or_create(
        pk=declarer_id,
        defaults={
            "fingerprint": fingerprint,
            "host": identity.host(),
            "process_key": identity.process_key(),
            "expires_at": now + EXPIRES,
        },
    )
    rows = list(declarers.all())
    dead = [row.pk for row in rows if row.pk != declarer_id and not _is_alive(row, now)]
    if dead:
        declarers.filter(pk__in=dead).delete()
    return {row.fingerprint for row in rows if row.pk not in dead}


def _is_alive(row: Declarer, now: datetime) -> bool:
    is_gone = row.host == identity.host() and identity.is_gone(row.process_key)
    return row.expires_at >= now and not is_gone


def _present(
    releases: list[Release], live: set[str], now: datetime, using: str
) -> tuple[list[Release], float | None]:
    """Note which releases are gone, and return those that count, oldest first, and for how long."""
    grace = timedelta(seconds=jobs_settings().LEASE_SECONDS)
    newest = max(release.number for release in releases if release.pk in live)
    present, ends = [], []
    for release in releases:
        is_live = release.pk in live
        if is_live != (release.gone_at is None):
            release.gone_at = None if is_live else now
            release.save(using=using, update_fields=["gone_at"])
        if release.gone_at is None:
            present.append(release)
        elif now - release.gone_at > REMEMBERED:
            release.delete(using=using)
        elif release.number > newest and (left := release.gone_at + grace - now) > timedelta(0):
            # Nobody newer runs: this may be the one moment at which none of its processes does.
            present.append(release)
            ends.append(left.total_seconds())
    return present, min(ends) + 0.01 if ends else None


# Jobs


@dataclass(slots=True)
class _Changes:
    added: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)


def _apply(wanted: Mapping[str, dict[str, Any]], lock: Release, now: datetime, using: str) -> None:
    """Add, change and remove declared jobs."""
    changes = _Changes()
    kept = {
        job_id: said
        for job_id, said in lock.definitions.items()
        if now - datetime.fromisoformat(said["at"]) <= REMEMBERED
    }
    jobs = Job.objects.using(using)
    rows = {row.pk: row for row in jobs.select_for_update().filter(pk__in=list(wanted)).order_by("pk")}
    for job_id, definition in sorted(wanted.items()):
        row = rows.get(job_id)
        try:
            if row is None:
                if _add(job_id, definition, kept.get(job_id), now, using):
                    changes.added.append(job_id)
                    kept.pop(job_id, None)
            elif row.declared is None:
                _say_taken(job_id)
            elif _update(row, definition, now):
                row.save(using=using)
                changes.changed.append(job_id)
        except (UnknownTrigger, KeyError, TypeError) as error:
            # Written by another version of this package, or by hand.
            logger.warning("job=%s is declared in a way that is not known here: %r", job_id, error)
    # Looked for without locks: that reads all jobs, and others hold some of them.
    retired = list(jobs.declared().exclude(pk__in=list(wanted)).values_list("pk", flat=True))
    for row in jobs.declared().filter(pk__in=retired).select_for_update().order_by("pk"):
        if row.overridden:
            kept[row.pk] = {
                "at": now.isoformat(),
                "overrides": {name: row.overrides[name] for name in row.overridden if name != "paused"},
                "paused_at": row.paused_at and row.paused_at.isoformat(),
                "paused_by": row.paused_by,
            }
        changes.removed.append(row.pk)
        row.delete()
    if kept != lock.definitions:
        lock.definitions = kept
        lock.save(using=using, update_fields=["definitions"])
    _tell(changes, using)


def _say_taken(job_id: str) -> None:
    logger.warning(
        "job=%s is declared in code, and a job of this id was added: that one stays, and the declaration "
        "waits until it is removed",
        job_id,
    )


def _add(
    job_id: str, definition: Mapping[str, Any], said: Mapping[str, Any] | None, now: datetime, using: str
) -> bool:
    """Add a declared job, with what a person had said of it before it was retired; return whether it was."""
    overrides = dict(said["overrides"]) if said else {}
    overrides.pop("next_run_time", None)
    paused_at = datetime.fromisoformat(said["paused_at"]) if said and said["paused_at"] else None
    trigger = triggers.by_rule({**definition, **overrides}["trigger"], now)
    row = Job(
        id=job_id,
        kind=Kind.RECURRING.value,
        job_state=triggers.dumps(trigger),
        next_run_time=None if paused_at else triggers.first(trigger, now),
        paused_at=paused_at,
        paused_by=said.get("paused_by", "") if said and paused_at else "",
        declared=overridable(definition),
        overrides=overrides,
        **{column: {**_with(definition, overrides), **overrides}[column] for column in (*_FIXED, *POLICY)},
    )
    try:
        with transaction.atomic(using=using):
            row.save(using=using, force_insert=True)
    except IntegrityError:
        # Added by hand at this moment, or an id that the database takes for equal.
        _say_taken(job_id)
        return False
    return True


def _update(row: Job, definition: Mapping[str, Any], now: datetime) -> bool:
    """Make a job what its declaration says, but for what a person changed; return whether it differs."""
    declared = overridable(definition)
    definition = _with(definition, row.overrides)
    columns = [*_FIXED, *(column for column in POLICY if column not in row.overrides)]
    trigger = triggers.by_rule(definition["trigger"], now)
    is_other_trigger = "trigger" not in row.overrides and not triggers.same(
        row.job_state, triggers.dumps(trigger)
    )
    changed = [column for column in columns if getattr(row, column) != definition[column]]
    if not changed and not is_other_trigger and row.declared == declared:
        return False
    for column in columns:
        setattr(row, column, definition[column])
    row.declared = declared
    if is_other_trigger:
        follow(row, trigger, now)
    if changed or is_other_trigger:
        row.broken_reason = ""
    return True


def follow(row: Job, trigger: BaseTrigger, now: datetime) -> None:
    """Give a job another trigger; a pause, and a next run that a person chose, stay."""
    row.job_state = triggers.dumps(trigger)
    if row.paused_at is None and not row.has_chosen_next_run:
        row.next_run_time = triggers.first(trigger, now)


def overridable(definition: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a declaration says of what a person may change."""
    said = {name: definition[name] for name in ("trigger", *POLICY)}
    return {**said, "retry": retry_of(definition["options"])}


def retry_of(options: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Return the retry policy among a job's options, as it is stored."""
    return (options or {}).get("retry")


def with_retry(options: Mapping[str, Any] | None, retry: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Return a job's options with another retry policy, or none."""
    others = {name: value for name, value in (options or {}).items() if name != "retry"}
    return ({**others, "retry": dict(retry)} if retry else others) or None


def _with(definition: Mapping[str, Any], overrides: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a definition whose options have the retry policy that a person chose, where one did."""
    if "retry" not in overrides:
        return definition
    return {**definition, "options": with_retry(definition["options"], overrides["retry"])}


def _tell(changes: _Changes, using: str) -> None:
    if not (changes.added or changes.changed or changes.removed):
        return
    notifications.notify(notifications.JOBS, using=using)

    def tell() -> None:
        logger.info(
            "declared schedules: added %s, changed %s, removed %s",
            _named(changes.added), _named(changes.changed), _named(changes.removed),
        )  # fmt: skip
        for signal, ids in (
            (signals.job_added, changes.added),
            (signals.job_changed, changes.changed),
            (signals.job_removed, changes.removed),
        ):
            for job_id in ids:
                signals.emit(signal, job_id=job_id)

    transaction.on_commit(tell, using=using)


def _named(ids: Iterable[str]) -> str:
    return ", ".join(map(printable, ids)) or "none"
