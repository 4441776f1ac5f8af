"""More runs like a run of a batch: one in its place, or one beside the batch that is given the same results."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django_jobs.models import Dependency, Dependent, Run, Status
from django_jobs.storage.batch_locks import MARK
from django_jobs.storage.batches.revival import note_reopened
from django_jobs.storage.endings import Ended

if TYPE_CHECKING:
    from django_jobs.storage.records import NewRun

_FAILED = (Status.FAILED, Status.CANCELLED, Status.SKIPPED)


def join(new: NewRun, old: Run) -> bool:
    """Have a run that is about to be inserted take the place of one that failed, if its batch is locked and there.

    Returns:
        Whether it does: call `replace` with its id then.
    """
    batch_id = old.batch_id
    if batch_id is None or old.status not in _FAILED:
        return False
    new.batch_id = batch_id
    new.options = {**(new.options or {}), MARK: batch_id}
    return True


def replace(old: Run, new_id: int, *, using: str) -> None:
    """Put a run that was just inserted in the place of another one, in the transaction that inserted it.

    What waits for the old one, or was ended for it, waits for the new one; the old one belongs to no batch any
    more. Its batch is locked.
    """
    options = dict(old.options or {})
    batch_id: int = options.pop(MARK)
    Run.objects.using(using).filter(pk=old.pk).update(batch_id=None, options=options or None)
    Dependency.objects.using(using).filter(after_id=old.pk).update(after_id=new_id)
    dependents = Dependent.objects.using(using)
    dependents.filter(batch_id=batch_id, ended_by=old.pk).update(ended_by=new_id)
    copy_dependencies(old.pk, new_id, using=using)
    dependent = dependents.filter(pk=old.pk).first()
    if dependent is not None:
        dependent.delete(using=using)
        dependent.run_id = new_id
        dependent.save(using=using, force_insert=True)
    note_reopened([Ended(new_id, Status.READY.value, {MARK: batch_id}, was=old.status)], using=using)


def copy_dependencies(old_id: int, new_id: int, *, using: str) -> None:
    """Give a run the results that another one was given: references in its arguments are to these."""
    rows = Dependency.objects.using(using).filter(run_id=old_id).values_list("position", "after_id")
    Dependency.objects.using(using).bulk_create(
        (Dependency(run_id=new_id, position=position, after_id=after_id) for position, after_id in rows),
        batch_size=1000,
    )
