"""The one task that Celery's workers know of us, and what they say of their processes.

Its message is acknowledged before the run begins: from the claim on the lease answers for the run, and
whoever finds its worker dead has it dispatched again. Late acknowledgement would only have the broker
say the same a second time.
"""

from __future__ import annotations

from typing import Any

from celery import shared_task
from celery.signals import celeryd_after_setup, worker_process_init, worker_process_shutdown, worker_shutdown

from django_jobs.integrations.celery import worker
from django_jobs.integrations.celery.messages import TASK_NAME


@shared_task(name=TASK_NAME, ignore_result=True, acks_late=False, max_retries=0)  # type: ignore[untyped-decorator]
def execute(run_id: int, attempt: int) -> None:
    """Execute a run, unless the message is a late or a second one."""
    worker.here.get().execute_one(run_id, attempt)


@celeryd_after_setup.connect  # type: ignore[untyped-decorator]
def _note_slots(*, instance: Any, **_: object) -> None:
    worker.here.slots = max(1, int(instance.concurrency or 1))


@worker_process_init.connect  # type: ignore[untyped-decorator]
def _note_process(**_: object) -> None:
    # Of a pool of processes, each of which has one message at a time.
    worker.here.slots = 1


@worker_process_shutdown.connect  # type: ignore[untyped-decorator]
@worker_shutdown.connect  # type: ignore[untyped-decorator]
def _stop(**_: object) -> None:
    worker.here.stop()
