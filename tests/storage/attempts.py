"""Runs, claims and outcomes for tests of the queue."""

from datetime import timedelta

from django.utils import timezone

from django_jobs import codec
from django_jobs.models import Worker
from django_jobs.storage import claims
from django_jobs.storage.records import NewRun, Outcome


def new_run(job_id="j", **fields):
    func = fields.pop("func", "tests.probes.jobs:nothing")
    payload = codec.dump_arguments((), {})
    call = {"queue_name": "default", "priority": 0, "options": None}
    return NewRun(
        job_id=job_id,
        name="nothing",
        func=func,
        payload=payload,
        signature=codec.sign(func, payload),
        **call | fields,
    )


def outcome(status="SUCCESSFUL", **fields):
    now = timezone.now()
    return Outcome(status, now, now, **fields)


def claim(worker_id="w", limit=10, **more):
    return claims.claim(worker_id, limit=limit, using="default", **more)


def end_lease(worker_id):
    Worker.objects.filter(pk=worker_id).update(lease_expires_at=timezone.now() - timedelta(seconds=1))
