"""Which job may take an id that another one has."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from django.db import IntegrityError, connections, transaction
from django.db.models import Q

from django_jobs import signals
from django_jobs.exceptions import ConflictingIdError
from django_jobs.models import Job, Kind, Run, jobs_database
from django_jobs.registry.option_checks import lookup_id
from django_jobs.storage import transitions
from django_jobs.storage.backends.choose import backend_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from django_jobs.registry.options import JobOptions

# An id that we made.
_RANDOM = re.compile("[0-9a-f]{32}")


def insert_if_free(job_id: str, options: JobOptions, insert: Callable[[], object], *, using: str) -> bool:
    """Insert what takes an id, if `on_conflict` lets it; return whether it was inserted.

    Raises:
        ConflictingIdError: The id is unfinished, and `on_conflict` is "raise".
    """
    if options.on_conflict == "replace":
        with transaction.atomic(using=using):
            # First of all: two that replace the same id would each cancel what the other has not committed.
            backend_of(connections[using]).lock_id(job_id)
            return _insert(job_id, options, insert, using)
    return _insert(job_id, options, insert, using)


def _insert(job_id: str, options: JobOptions, insert: Callable[[], object], using: str) -> bool:
    taken: IntegrityError | None = None
    for _attempt in range(3):
        if not resolve_conflict(job_id, options, using=using):
            return False
        try:
            # A savepoint: where the id is taken the caller's transaction must live on.
            with transaction.atomic(using=using):
                insert()
        except IntegrityError as error:
            # Somebody took the id between our look and our insert.
            taken = error
            continue
        return True
    raise ConflictingIdError(job_id) from taken


def resolve_conflict(job_id: str, options: JobOptions, *, using: str) -> bool:
    """Apply `on_conflict` where an id is unfinished; return whether to go on.

    Raises:
        ConflictingIdError: It is "raise"; or "replace", and the job of this id is a recurring one; or the
            id is another one, which the database takes for equal.
    """
    found, kind = Job.objects.using(using).filter(pk=job_id).values_list("pk", "kind").first() or (None, None)
    queued = Run.objects.using(using).unfinished().filter(job_id=job_id).values_list("job_id", flat=True)[:1]
    for taken in filter(None, (found, *queued)):
        refuse_equal(job_id, taken)
        break
    else:
        return True
    match options.on_conflict:
        case "skip":
            return False
        # A schedule that goes on is not for what runs once to replace: `remove_job` says that one means it.
        case "replace" if kind != Kind.RECURRING:
            deleted, _ = Job.objects.using(using).filter(pk=job_id).delete()
            if deleted:
                transaction.on_commit(lambda: signals.emit(signals.job_removed, job_id=job_id), using=using)
            transitions.cancel_waiting(Q(job_id=job_id), "replaced by a newer job of this id", using=using)
            # A running one goes on; only its id is taken over.
            transitions.free_key(job_id, using=using)
            return True
        case _:
            raise ConflictingIdError(job_id)


def refuse_equal(job_id: str, taken: str) -> None:
    """Refuse an id where the database takes another one for equal, whatever `on_conflict` is.

    MariaDB's and MySQL's usual collations look at neither case nor accents, and their tables can have one
    of two such ids. The other's job is not this one's to keep, replace or update.

    Raises:
        ConflictingIdError: They differ.
    """
    if job_id == taken:
        return
    error = ConflictingIdError(job_id)
    error.args = (
        f"there is an unfinished job {taken!r}, and this database takes {job_id!r} for the same id "
        "(its collation looks at neither case nor accents): use another id",
    )
    raise error


def exact_id(job_id: str) -> str:
    """Return an id to look for in the jobs' database; the empty one, which no job has, where the database has only an equal one.

    Costs nothing on databases that compare exactly.
    """
    using, job_id = jobs_database(), lookup_id(job_id)
    if connections[using].vendor != "mysql" or _RANDOM.fullmatch(job_id):
        return job_id
    runs = Run.objects.using(using).filter(job_id=job_id)
    for ids in (
        Job.objects.using(using).filter(pk=job_id).values_list("pk", flat=True),
        runs.unfinished().values_list("job_id", flat=True),
        runs.order_by("-pk").values_list("job_id", flat=True),
    ):
        # Of two equal ids one at most is unfinished; of finished ones the newest is meant.
        for found in ids[:1]:
            return job_id if found == job_id else ""
    return job_id
