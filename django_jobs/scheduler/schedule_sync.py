"""Declared schedules: what running versions of the code declare becomes jobs, once over all processes.

Each process with a clock says which release its code is of: what it declares, by a fingerprint.
Jobs are then what the releases of the running processes say together, and where they differ what
the newest says, by when it was first seen. So an old process that is started again during a deploy
changes nothing back, and what only it declares stays until it ends. A release that was the newest
counts a while longer than its last process: its processes may just be restarting.
"""

from __future__ import annotations

import logging
import time
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from django.db import DatabaseError, InterfaceError, OperationalError

from django_jobs.conf import jobs_settings
from django_jobs.models import ScheduleRevision, SchedulerProcess
from django_jobs.scheduler.declarations import own
from django_jobs.scheduler.declared_jobs import REMEMBERED, apply
from django_jobs.scheduler.occurrences import database_time
from django_jobs.storage import identity, transactions
from django_jobs.texts import describe
from django_jobs.texts.printable import printable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from django_jobs.scheduler.declarations import Definitions
    from django_jobs.storage.notifications.thread import ListenerThread

logger = logging.getLogger(__name__)

# How often a process says that it lives and looks at the others, and how often while several
# releases run: deploys are short.
LOOK_SECONDS = 60.0
DEPLOY_SECONDS = 10.0
# Time without a word after which a process is dead. On its own host that is known immediately.
EXPIRES = timedelta(seconds=180)
# That it waits for the locks of others, as it looks and as it leaves. A process goes on without.
LOCK_SECONDS, LEAVE_SECONDS = 5.0, 2.0
# After that jobs fire although this process's declarations could not be compared with them.
FIRST_SECONDS = 60.0
# The row that is locked, so that processes go one after the other. In place of definitions it has
# what persons had changed of jobs that were retired, should they be declared again.
_LOCK = ""


class ScheduleSync:
    """One process's part in it: says what its code declares, and looks at the others now and then.

    Args:
        using: Alias of the database.
    """

    def __init__(self, using: str) -> None:
        self.id = identity.new_worker_id()
        # Those of its process, if it has any: they need not hear that it still lives.
        self.listener_thread: ListenerThread | None = None
        self._using = using
        self._next_look = 0.0
        self._fingerprint = ""
        # The releases that ran when all was last settled; None while something is still to come.
        self._settled: frozenset[str] | None = None
        # What keeps it from its work; empty while nothing does.
        self.problem = ""
        # Monotonic: until when jobs wait for the first look that works.
        self._first_until = time.monotonic() + FIRST_SECONDS

    def look_if_due(self) -> float:
        """Look, unless that was done lately; return the seconds until the next look is due.

        Another process that holds a lock for long is a `problem`, and nothing to wait for.

        Raises:
            OperationalError: The database does not answer; call again.
            InterfaceError: The same.
        """
        if (early := self._next_look - time.monotonic()) > 0:
            return early
        self._next_look = time.monotonic() + DEPLOY_SECONDS
        try:
            wait = self.look()
        except (OperationalError, InterfaceError) as error:
            if not transactions.is_lock_timeout(error):
                raise
            wait = self._note_lock(error)
        except Exception as error:  # noqa: BLE001 - a mistake in a declaration must not end the clock that fires all jobs
            self._note(f"the declared schedules were not looked at: {describe.in_a_line(error, 300)}", error)
            wait = LOOK_SECONDS
        else:
            self.problem = ""
            self._first_until = 0.0
        self._next_look = time.monotonic() + wait
        return wait

    @property
    def holds_back(self) -> bool:
        """Whether no job is to fire yet: there may be jobs that this code declares no more."""
        return time.monotonic() < self._first_until

    def _note_lock(self, error: Exception) -> float:
        self._note(
            "the declared schedules were not looked at, because somebody holds a lock on their tables "
            f"({describe.in_a_line(error, 200)})"
        )
        return DEPLOY_SECONDS

    def _note(self, problem: str, error: Exception | None = None) -> None:
        if error is not None:
            describe.log_error(logger, error, "declared schedules were not looked at")
        elif not self.problem:
            logger.error("%s; trying again", printable(problem))
        self.problem = problem

    def look(self) -> float:
        """Bring the jobs in line with what runs, if that changed; return the seconds until the next look."""
        fingerprint, definitions = own()
        rows = list(SchedulerProcess.objects.using(self._using).annotate(db_now=database_time(self._using)))
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
            return (
                SchedulerProcess.objects.using(self._using).filter(pk=self.id).update(expires_at=expires_at)
            )

        if self.listener_thread is None:
            renew()
        else:
            self.listener_thread.unheard(renew)

    def leave(self) -> None:
        """Say that this process ends; what it declared stays until the others' next look."""
        if not self._fingerprint:
            return
        try:
            with _locked(self._using, LEAVE_SECONDS) as (now, _):
                SchedulerProcess.objects.using(self._using).filter(pk=self.id).delete()
                if (
                    not SchedulerProcess.objects.using(self._using)
                    .filter(fingerprint=self._fingerprint)
                    .exists()
                ):
                    ScheduleRevision.objects.using(self._using).filter(pk=self._fingerprint).update(
                        gone_at=now
                    )
        except (DatabaseError, InterfaceError) as error:
            logger.warning(
                "could not record that this process ends; others will see it: %s", printable(error)
            )


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
        apply(wanted, lock, now, using)
    return Synchronised(frozenset(live), again_in)


@contextmanager
def _locked(using: str, seconds: float = LOCK_SECONDS) -> Iterator[tuple[datetime, ScheduleRevision]]:
    """Open a transaction that one process has at a time; gives the database's time, and the locked row.

    Raises:
        OperationalError: Another held a lock for longer than some seconds.
    """
    releases = ScheduleRevision.objects.using(using)
    if not releases.filter(pk=_LOCK).exists():
        # Committed by itself: two transactions that both insert it and then lock it would wait for
        # each other on MariaDB.
        with transactions.patient(using, seconds):
            now = transactions.database_now(using)
            releases.bulk_create(
                [ScheduleRevision(fingerprint=_LOCK, number=0, first_seen_at=now)], ignore_conflicts=True
            )
    with transactions.patient(using, seconds), transactions.write_transaction(using):
        lock = releases.select_for_update().get(pk=_LOCK)
        yield transactions.database_now(using), lock


def _releases(
    fingerprint: str, definitions: Definitions, now: datetime, using: str
) -> list[ScheduleRevision]:
    """Return the known releases, oldest first, this process's among them."""
    releases = list(ScheduleRevision.objects.using(using).exclude(pk=_LOCK).order_by("number"))
    if all(release.pk != fingerprint for release in releases):
        number = releases[-1].number + 1 if releases else 1
        releases.append(
            ScheduleRevision.objects.using(using).create(
                fingerprint=fingerprint, number=number, definitions=definitions, first_seen_at=now
            )
        )
    return releases


def _live(declarer_id: str, fingerprint: str, now: datetime, using: str) -> set[str]:
    """Renew this process's row, delete those of the dead, and return the releases that run."""
    declarers = SchedulerProcess.objects.using(using)
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


def _is_alive(row: SchedulerProcess, now: datetime) -> bool:
    is_gone = row.host == identity.host() and identity.is_gone(row.process_key)
    return row.expires_at >= now and not is_gone


def _present(
    releases: list[ScheduleRevision], live: set[str], now: datetime, using: str
) -> tuple[list[ScheduleRevision], float | None]:
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
