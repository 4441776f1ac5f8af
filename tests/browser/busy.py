"""A project on a bad day, in rows alone: many queues, jobs and runs, long names, failures, workers that died.

Tests look at it; `manage.py shell -c "from tests.browser.busy import fill; fill()"` is for looking by hand.
"""

from __future__ import annotations

import random
import uuid
from bisect import bisect_left
from collections import Counter
from datetime import datetime, timedelta
from typing import Any

from django.utils import timezone

from django_jobs import codec, triggers
from django_jobs.models import (
    BIN_ENDS,
    RAN_BINS,
    WAITED_BINS,
    DepthSample,
    Job,
    Queue,
    Rollup,
    Run,
    Status,
    Worker,
)
from django_jobs.texts.failures import key_of

QUEUES = (
    "default", "mail", "reports", "imports", "thumbnails", "search-index", "gpu", "billing-eu-west-1", "webhooks",
)  # fmt: skip
# Function, queue, arguments, how long it takes in seconds, and what it fails with.
FUNCS: tuple[tuple[str, str, Any, float, str], ...] = (
    ("shop.orders:charge_card", "billing-eu-west-1", lambda n: ((), {"order_id": 4000 + n, "amount": "19.90"}), 1.2,
     "PaymentGatewayTimeoutError: POST https://gateway.example.com/v2/charges timed out after 30 s"),
    ("shop.mail:send_newsletter", "mail", lambda n: ((n, "spring-2026"), {}), 0.3,
     "SMTPServerDisconnected: Connection unexpectedly closed"),
    ("shop.media.thumbnails:render_thumbnail", "thumbnails", lambda n: ((f"new-{n}.png",), {"width": 640}), 0.8, ""),
    ("shop.suppliers.imports:import_supplier_price_list", "imports",
     lambda n: ((f"supplier-{n % 7}",), {"full": True}), 40.0,
     "KeyError: 'sku_of_a_supplier_who_renamed_the_column_without_telling_anybody'"),
    ("shop.search:reindex_product", "search-index", lambda n: ((n,), {}), 0.05, ""),
    ("shop.reports:monthly_revenue", "reports", lambda n: ((), {"month": "2026-10", "region": "EU"}), 12.0,
     "ProgrammingError: relation \"shop_revenue_2026_10\" does not exist\nLINE 1: SELECT sum(total) FROM"),
    ("shop.webhooks:deliver", "webhooks", lambda n: ((f"https://hooks.example.com/{n}",), {}), 0.4,
     "HTTPError: 502 Server Error: Bad Gateway"),
    ("tests.probes.jobs:add", "default", lambda n: ((n, 2), {}), 0.01, "TypeError: unsupported operand type(s)"),
)  # fmt: skip
FRAME = (
    'Traceback (most recent call last):\n  File "/srv/shop/{module}.py", line {line}, in {name}\n    call()\n'
)


def fill(*, runs: int = 1500, now: datetime | None = None) -> None:
    """Add it all: finished runs of the last six hours, and what waits and runs at present."""
    now = now or timezone.now()
    chance = random.Random(4711)
    workers = _add_workers(now)
    jobs = _add_jobs(now)
    _add_queues(now)
    finished = [_finished(number, runs, now, chance, workers, jobs) for number in range(runs)]
    Run.objects.bulk_create([*finished, *_unfinished(now, chance, workers, jobs)], batch_size=200)
    newest = dict(Run.objects.filter(job_id__in=jobs).order_by("pk").values_list("job_id", "pk"))
    for job_id, pk in newest.items():
        Job.objects.filter(pk=job_id).update(last_run=pk)
    _count(finished)
    _add_depths(now)


def _add_workers(now: datetime) -> list[str]:
    made = []
    for number in range(5):
        is_lost = number >= 3
        heartbeat = now - (timedelta(minutes=71 + number) if is_lost else timedelta(seconds=3 * number))
        host = f"worker-{number}.eu-west-1.compute.internal"
        made.append(
            Worker(
                id=f"{host}-{3100 + number}-{uuid.UUID(int=number).hex[-8:]}",
                host=host,
                process_key="x",
                pid=3100 + number,
                version="0.9.0",
                queues=list(QUEUES[:6] if number else ()) + ["webhooks"] * (number > 0),
                threads=6,
                has_clock=number == 0,
                started_at=now - timedelta(hours=7),
                heartbeat_at=heartbeat,
                lease_expires_at=heartbeat + timedelta(minutes=1 if is_lost else 60),
                stopped_at=heartbeat + timedelta(minutes=1) if is_lost else None,
                was_lost=is_lost,
                details={"memory": 150_000_000 + 30_000_000 * number},
            )
        )
        if number == 0:
            made[0].queues = [name for name in QUEUES if name != "gpu"]
    Worker.objects.bulk_create(made)
    return [one.id for one in made[:3]]


def _add_jobs(now: datetime) -> list[str]:
    zones = ("UTC", "Europe/Berlin", "America/New_York")
    made = []
    for number in range(60):
        func, queue, arguments, _took, _error = FUNCS[number % len(FUNCS)]
        if number < 12:
            trigger, wait = triggers.interval(20 * (number // 4 + 1)), timedelta(seconds=number + 2)
        elif number < 30:
            trigger, wait = triggers.interval(600 + 60 * number), timedelta(minutes=number)
        else:
            trigger = triggers.crontab(f"{number % 60} {number % 24} * * mon-fri", zones[number % 3])
            wait = timedelta(hours=number - 29)
        name = (
            f"tenant-{number:02}-poll"
            if number < 12
            else f"{func.rpartition(':')[2].replace('_', '-')}-{number}"
        )
        made.append(_job(name, func, queue, arguments(number), trigger, now + wait))
    made[40].next_run_time, made[40].paused_at, made[40].paused_by = None, now - timedelta(hours=2), "anna"
    made[41].next_run_time, made[41].broken_reason = (
        None,
        "shop.legacy:sync is not importable: no module shop.legacy",
    )
    for job in made:
        job.save(force_insert=True)
    return [job.id for job in made]


def _job(name: str, func: str, queue: str, arguments: Any, trigger: Any, at: datetime) -> Job:
    payload = codec.dump_arguments(*arguments)
    return Job(
        id=name, name=func.rpartition(":")[2], func=func, payload=payload, signature=codec.sign(func, payload),
        queue_name=queue, kind="recurring", next_run_time=at, job_state=triggers.dumps(trigger),
        misfire_grace_time=None, max_instances=1, coalesce=True, created_at=at - timedelta(days=60),
    )  # fmt: skip


def _add_queues(now: datetime) -> None:
    Queue.objects.create(
        name="thumbnails",
        paused_at=now - timedelta(minutes=35),
        paused_by="anna",
        paused_reason="the disk is full",
    )


def _bare(number: int, func: str, queue: str, arguments: Any, jobs: list[str]) -> Run:
    payload = codec.dump_arguments(*arguments)
    # Of recurring jobs one in three; the rest have random ids.
    of_job = jobs[number % len(jobs)] if number % 3 == 0 else uuid.UUID(int=number * 7919 + 2**122).hex
    return Run(
        job_id=of_job, name=func.rpartition(":")[2], func=func, payload=payload, signature=codec.sign(func, payload),
        queue_name=queue, kind="recurring" if number % 3 == 0 else "immediate",
        options={"retry": {"max_attempts": 4}},
    )  # fmt: skip


def _finished(
    number: int, runs: int, now: datetime, chance: random.Random, workers: list[str], jobs: list[str]
) -> Run:
    func, queue, arguments, took, error = FUNCS[number % len(FUNCS)]
    run = _bare(number, func, queue, arguments(number), jobs)
    at = now - timedelta(hours=6) * (1 - number / runs) - timedelta(seconds=1)
    run.enqueued_at = run.run_after = at - timedelta(seconds=chance.expovariate(0.5))
    run.started_at = at
    run.finished_at = min(now, at + timedelta(seconds=chance.lognormvariate(0, 0.6) * took))
    run.worker_id, run.attempt = chance.choice(workers), 1
    run.status = Status.FAILED if error and chance.random() < 0.12 else Status.SUCCESSFUL
    if run.status == Status.FAILED:
        run.enqueued_at = run.run_after = run.enqueued_at - timedelta(seconds=75)
        run.attempt, run.error = 4, error.partition("\n")[0]
        module, _, name = func.partition(":")
        trace = FRAME.format(module=module.replace(".", "/"), line=40 + number % 2, name=name) + error
        run.errors = [
            {
                "attempt": attempt, "worker_id": run.worker_id, "error": run.error, "traceback": trace,
                "started_at": (at - timedelta(seconds=90 - 20 * attempt)).isoformat(),
                "finished_at": (at - timedelta(seconds=88 - 20 * attempt)).isoformat(),
            }
            for attempt in range(1, 5)
        ]  # fmt: skip
        run.error_key = key_of("", trace, run.error, func)
        run.log = f"{at.isoformat(timespec='milliseconds')} WARNING shop retrying {name}\n"
    return run


def _unfinished(now: datetime, chance: random.Random, workers: list[str], jobs: list[str]) -> list[Run]:
    rows = []
    kinds = [("thumbnails", 140, 30), ("gpu", 25, 120), ("mail", 40, 1), ("webhooks", 12, 2)]
    for queue, count, minutes in kinds:
        for number in range(count):
            func, _queue, arguments, _took, _error = FUNCS[2 if queue == "thumbnails" else 1]
            run = _bare(number * 3 + 1, func, queue, arguments(number), jobs)
            run.job_id = uuid.UUID(int=len(rows) + 2**120).hex
            run.status = Status.READY
            run.enqueued_at = run.run_after = now - timedelta(minutes=minutes * chance.random())
            rows.append(run)
    for number in range(9):
        func, queue, arguments, _took, error = FUNCS[number % len(FUNCS)]
        run = _bare(number + 1, func, queue, arguments(number), jobs)
        run.job_id = uuid.UUID(int=number + 2**121).hex
        run.enqueued_at = run.run_after = now - timedelta(minutes=number * 7 + 1)
        if number < 3:
            run.status, run.attempt, run.error = Status.READY, 2, error
            run.run_after = now + timedelta(minutes=4 + number)
        else:
            run.status, run.attempt, run.worker_id = Status.RUNNING, 1, workers[number % 3]
            run.started_at = run.enqueued_at
            run.progress = {"done": 37 * number, "total": 400, "message": f"price list {number}"}
        rows.append(run)
    return rows


def _add_depths(now: datetime) -> None:
    """Let what waits in four queues have grown over the last two hours."""
    minute = now.replace(second=0, microsecond=0)
    DepthSample.objects.bulk_create(
        DepthSample(
            sampled_at=minute - timedelta(minutes=ago), queue_name=name, every_seconds=600 if ago % 10 == 0 else 60,
            due=max(1, count * (minutes - ago) // minutes + (ago * 7) % 5),
        )
        for name, count, minutes in (("thumbnails", 140, 30), ("gpu", 25, 117), ("mail", 40, 25), ("webhooks", 12, 15))
        for ago in range(1, minutes)
    )  # fmt: skip


def _count(runs: list[Run]) -> None:
    counts: dict[tuple[Any, ...], Counter[str]] = {}
    for run in runs:
        assert run.finished_at
        assert run.started_at
        ran = (run.finished_at - run.started_at).total_seconds()
        waited = (run.started_at - run.enqueued_at).total_seconds()
        for size in (60, 3600, 86400):
            begins_at = run.finished_at - timedelta(seconds=run.finished_at.timestamp() % size)
            key = (size, begins_at, run.func, run.queue_name, str(run.status))
            counted = counts.setdefault(key, Counter())
            bins = [RAN_BINS[bisect_left(BIN_ENDS, ran)], WAITED_BINS[bisect_left(BIN_ENDS, waited)]]
            counted.update(["runs", *bins])
            counted["ran_seconds"] += ran  # type: ignore[assignment] # seconds are no whole number
            counted["waited_seconds"] += waited  # type: ignore[assignment] # likewise
            # Nearly all began in the minute in which they ended.
            counted["started"] += 1
    names = ("size_seconds", "begins_at", "func", "queue_name", "outcome")
    Rollup.objects.bulk_create(
        [Rollup(**dict(zip(names, key, strict=True)), **counted) for key, counted in counts.items()],
        batch_size=100,
    )
