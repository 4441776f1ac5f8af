"""What the measurements do to the tables, besides through the product."""

from __future__ import annotations

import time
import uuid
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from django.db import connections

from django_jobs import codec, triggers
from django_jobs.api.enqueue import new_id
from django_jobs.models import Job, Run, RunTag
from django_jobs.models import Worker as WorkerRow
from django_jobs.storage import claims, enqueue, outcomes
from django_jobs.storage.records import ClaimedRun, NewRun, Outcome

if TYPE_CHECKING:
    from django.db.models import QuerySet

    from django_jobs.storage.claim_start import ClaimStart

FUNC = "tests.benchmarks.work:nothing"
PAYLOAD = codec.dump_arguments((), {})
FAR = timedelta(days=3650)


def bare_run() -> dict[str, Any]:
    """Return the fields of a run as `add_immediate_job` fills them."""
    now = datetime.now(UTC)
    return {
        "job_id": new_id(),
        "name": "nothing",
        "func": FUNC,
        "payload": PAYLOAD,
        "signature": SIGNATURE,
        "queue_name": "default",
        "priority": 0,
        "kind": "immediate",
        "status": "READY",
        "run_after": now,
        "enqueued_at": now,
    }


SIGNATURE = codec.sign(FUNC, PAYLOAD)


def forget_runs(alias: str = "default") -> None:
    """Delete all runs, so that each round begins the same."""
    connection = connections[alias]
    with connection.cursor() as cursor:
        cursor.execute(
            f"DELETE FROM {Run._meta.db_table}"
            if connection.vendor == "sqlite"
            else f"TRUNCATE TABLE {Run._meta.db_table}"
        )


def wait_until_drained(timeout: float = 600) -> float:
    """Wait until no run is unfinished; return when that was, by the monotonic clock."""
    end = time.monotonic() + timeout
    statement = f"SELECT 1 FROM {Run._meta.db_table} WHERE status IN ('READY', 'RUNNING') LIMIT 1"
    with connections["default"].cursor() as cursor:
        while True:
            cursor.execute(statement)
            if cursor.fetchone() is None:
                return time.monotonic()
            if time.monotonic() > end:
                raise TimeoutError(f"the queue was not drained within {timeout} s")
            time.sleep(0.005)


def live_worker(alias: str) -> str:
    """Write the row of a worker whose lease lasts; return its id."""
    now = datetime.now(UTC)
    row = WorkerRow.objects.using(alias).create(
        id=f"bench-{uuid.uuid4().hex[:8]}", host="bench", process_key="", pid=1, version="0", threads=10,
        has_clock=False, started_at=now, heartbeat_at=now, lease_expires_at=now + FAR,
    )  # fmt: skip
    return str(row.pk)


def add_jobs(count: int, alias: str = "default") -> None:
    """Write recurring jobs that are not due for years."""
    state = triggers.dumps(triggers.interval(3600))
    due = datetime.now(UTC) + FAR
    parent = Job._meta.pk.related_model  # django-apscheduler's row, which ours extends
    for start in range(0, count, 5000):
        ids = [uuid.uuid4().hex for _ in range(min(5000, count - start))]
        parent.objects.using(alias).bulk_create(
            [parent(id=pk, next_run_time=due, job_state=state) for pk in ids]
        )
        _insert_children(alias, ids)


def _insert_children(alias: str, ids: list[str]) -> None:
    # Django cannot bulk-create a model that extends another's table.
    names = (
        "djangojob_ptr_id, name, func, payload, signature, queue_name, priority, kind, max_instances, "
        "coalesce, broken_reason, overrides, created_at"
    )
    connection = connections[alias]
    if connection.vendor == "mysql":
        names = names.replace("coalesce", "`coalesce`")
    else:
        names = names.replace("coalesce", '"coalesce"')
    marks = ",".join(["%s"] * 13)
    now = connection.ops.adapt_datetimefield_value(datetime.now(UTC))
    true = True
    with connection.cursor() as cursor:
        cursor.executemany(
            f"INSERT INTO {Job._meta.db_table} ({names}) VALUES ({marks})",
            [
                (pk, "nothing", FUNC, PAYLOAD, SIGNATURE, "default", 0, "recurring", 1, true, "", "{}", now)
                for pk in ids
            ],
        )


def make_due(count: int, alias: str = "default") -> datetime:
    """Let some jobs be due since a moment ago; return when."""
    at = datetime.now(UTC) - timedelta(seconds=1)
    parent = Job._meta.pk.related_model
    ids = list(jobs_by_id(alias).values_list("pk", flat=True)[:count])
    for start in range(0, len(ids), 500):
        parent._base_manager.using(alias).filter(pk__in=ids[start : start + 500]).update(next_run_time=at)
    return at


def jobs_by_id(alias: str) -> QuerySet[Job]:
    """Return the jobs in an order that does not change."""
    return Job.objects.using(alias).order_by("pk")


def analyze(alias: str) -> None:
    """Bring the planner's statistics up to date, as autovacuum does in a minute's time."""
    connection = connections[alias]
    with connection.cursor() as cursor:
        tables = f"{Run._meta.db_table}, {RunTag._meta.db_table}, {Job._meta.db_table}, django_apscheduler_djangojob"
        if connection.vendor == "postgresql":
            cursor.execute(f"VACUUM ANALYZE {tables}")
        elif connection.vendor == "mysql":
            cursor.execute(f"ANALYZE TABLE {tables}")
            cursor.fetchall()
        else:
            cursor.execute("ANALYZE")


def finish(run: ClaimedRun, alias: str = "default") -> None:
    """Write that a claimed run was successful."""
    now = datetime.now(UTC)
    assert outcomes.finish([(run, Outcome("SUCCESSFUL", now, now))], using=alias)


def claim_and_finish(
    worker_id: str, count: int, alias: str, start: ClaimStart | None = None
) -> tuple[float, float]:
    """Enqueue runs, claim them and finish them; return the seconds of the last two."""
    new = [NewRun("nothing", FUNC, PAYLOAD, SIGNATURE, "default", 0, None, job_id="j") for _ in range(count)]
    enqueue.insert(new, using=alias)
    began = time.perf_counter()
    runs = claims.claim(worker_id, limit=count, start=start, using=alias)
    claimed = time.perf_counter()
    now = datetime.now(UTC)
    ended_runs = [(run, Outcome("SUCCESSFUL", now, now)) for run in runs]
    ready = time.perf_counter()
    written = outcomes.finish(ended_runs, using=alias)
    ended = time.perf_counter()
    assert len(written) == count
    return claimed - began, ended - ready
