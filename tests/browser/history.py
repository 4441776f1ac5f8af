"""An hour before the demo began, as if it had run for that long: copies of its own runs, and their counts."""

from __future__ import annotations

import random
from bisect import bisect_left
from collections import Counter
from datetime import timedelta

from django.db.models import F
from django.utils import timezone

from django_jobs.models import BIN_ENDS, RAN_BINS, WAITED_BINS, Job, Rollup, Run, Status, Worker

MINUTES = 59


def make_up() -> None:
    """Copy the newest run of each function and outcome into the past, some minutes more often than others."""
    chance = random.Random(7)
    ended = Run.objects.finished().order_by("func", "status", "-pk")
    patterns = {(run.func, run.status, run.job_id if run.kind == "recurring" else ""): run for run in ended}
    now = timezone.now()
    copies = []
    for minute in range(MINUTES, 0, -1):
        for (func, status, _job), pattern in patterns.items():
            often = 2.5 if "report" in func else 5
            some = int(chance.expovariate(1 / often))
            for _ in range(chance.random() < 0.15 if status == Status.FAILED else some):
                at = now - timedelta(minutes=minute, seconds=chance.uniform(0, 59))
                copies.append(_copy(pattern, at, chance))
    copies.sort(key=lambda run: run.enqueued_at)
    # The newest has the highest number: what there is comes after the copies.
    ended = list(ended.order_by("pk"))
    Run.objects.filter(pk__in=[run.pk for run in ended]).delete()
    for run in ended:
        run.pk = None
    Run.objects.bulk_create([*copies, *ended], batch_size=200)
    for job in Job.objects.all():
        job.last_run = Run.objects.filter(job_id=job.pk).order_by("-pk").first()
        job.save(update_fields=["last_run"])
    _count(copies)
    begin(now)


def begin(now) -> None:
    """Have one run be under way on a worker that is said to live elsewhere."""
    worker = Worker.objects.filter(stopped_at=None).latest("heartbeat_at")
    worker.pk, worker.host, worker.pid, worker.has_clock = "archive-2107-5b0c", "archive", 2107, False
    worker.threads, worker.lease_expires_at = 4, now + timedelta(hours=1)
    worker.save(force_insert=True)
    pattern = Run.objects.filter(status=Status.SUCCESSFUL, func__contains="ingest").latest("pk")
    run = _copy(pattern, now - timedelta(seconds=48), random.Random(1))
    run.job_id, run.worker_id, run.status = "import-collection", worker.pk, Status.RUNNING
    run.progress = {"done": 37, "total": 120, "message": "reading collection-care.pdf"}
    run.result, run.finished_at, run.log = None, None, ""
    run.save()


def _copy(pattern: Run, at, chance: random.Random) -> Run:
    fields = {field.attname: getattr(pattern, field.attname) for field in Run._meta.concrete_fields}
    waited = timedelta(seconds=chance.lognormvariate(-3.5, 0.8))
    ran = timedelta(seconds=chance.lognormvariate(-1.5 if "ingest" in pattern.func else -2.8, 0.9))
    fields |= {
        "id": None,
        "unique_key": None,
        "enqueued_at": at,
        "run_after": at,
        "started_at": at + waited,
        "finished_at": at + waited + ran,
    }
    return Run(**fields)


def _count(runs: list[Run]) -> None:
    counts: dict[tuple, Counter] = {}
    for run in runs:
        key = (run.finished_at.replace(second=0, microsecond=0), run.func, run.queue_name, str(run.status))
        counted = counts.setdefault(key, Counter())
        ran = (run.finished_at - run.started_at).total_seconds()
        waited = (run.started_at - run.enqueued_at).total_seconds()
        counted.update(
            ["runs", RAN_BINS[bisect_left(BIN_ENDS, ran)], WAITED_BINS[bisect_left(BIN_ENDS, waited)]]
        )
        counted["ran_seconds"] += ran
        counted["waited_seconds"] += waited
    for (minute, func, queue_name, outcome), counted in counts.items():
        key = {
            "size_seconds": 60,
            "begins_at": minute,
            "func": func,
            "queue_name": queue_name,
            "outcome": outcome,
        }
        row, is_new = Rollup.objects.get_or_create(**key, defaults=dict(counted))
        if not is_new:
            Rollup.objects.filter(pk=row.pk).update(
                **{name: F(name) + more for name, more in counted.items()}
            )
