"""The runs that follow others of their key on the same worker, claimed as the others' ends are written."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db import DatabaseError, InterfaceError

from django_jobs.execution import recording
from django_jobs.storage.backends.claiming import Scope
from django_jobs.storage.limits import gate
from django_jobs.storage.limits.following import Follower, followed_by

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django_jobs.storage.records import ClaimedRun, Key, Outcome
    from django_jobs.worker.worker import Worker


class Successors:
    """Has outcomes written, and takes the runs that follow.

    Only of what is short, and while the last claim found less than it asked for: so nothing that is due is
    overtaken, and slots are left to claim what becomes due.

    Args:
        worker: Whose outcomes and runs.

    Attributes:
        is_claiming: Whether it may have claimed what the worker does not know yet; changes with its lock held.
    """

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self.is_claiming = False

    def record(self, batch: Sequence[tuple[ClaimedRun, Outcome]]) -> set[Key]:
        """Write outcomes as `recording.record` does, and begin what follows."""
        using = self._worker.using
        follower = self._follower() if any("limit" in run.options for run, _ in batch) else None
        if follower is None:
            return recording.record(batch, using=using)
        self._set_claiming(is_claiming=True)
        try:
            with followed_by(follower):
                written = recording.record(batch, using=using)
            self._begin(follower)
        except BaseException:
            self._forget(follower.fence)
            raise
        finally:
            self._set_claiming(is_claiming=False)
        return written

    def _follower(self) -> Follower | None:
        worker = self._worker
        consumer = worker.consumers[0]
        if worker.is_stopping or not (consumer.is_drained and consumer.is_prefetching):
            return None
        # One is left for a claim.
        room = worker.free_slots(consumer) - 1
        scope = Scope(consumer.queues, consumer.others, worker.skew.excluded())
        return Follower(worker.id, scope, room) if room > 0 else None

    def _begin(self, follower: Follower) -> None:
        worker = self._worker
        if worker.is_stopping:
            worker.release.claims([*follower.runs, *follower.uncounted])
            return
        if follower.runs:
            worker.runner.accept_all(follower.runs)
        if follower.uncounted:
            try:
                worker.runner.accept_all(gate.admitted(follower.uncounted, using=worker.using))
            except (DatabaseError, InterfaceError):
                # The outcomes are written.
                self._forget(*(run.key for run in follower.uncounted))

    def _forget(self, *claimed: int | Key) -> None:
        """Have those returned that were claimed and are not begun, of a claim that may have failed or not."""
        self._worker.local_start.note_unanswered(*claimed)
        self._worker.claim_loop.may_hold_unknown = True
        self._worker.wake()

    def _set_claiming(self, *, is_claiming: bool) -> None:
        with self._worker.lock:
            self.is_claiming = is_claiming
