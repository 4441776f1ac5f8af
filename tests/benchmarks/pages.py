"""`python -m tests.benchmarks.pages`: how long the server takes for each admin page, and how many queries.

Of the database of DJANGO_SETTINGS_MODULE, which `tests.benchmarks.load` has filled. Each page is asked for in a
process of its own, so that the first visit is one after a start. Times of the processor are those of the process
and of its session on PostgreSQL, where this runs on the same machine: they are what to look at where other
processes want the processor, too. It makes a user for the time being, and where the example project is installed a
document. Run it from the repository's root.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

ROUNDS = 5
# What each page may cost beside 5,000,000 runs.
MOST_MS, MOST_QUERIES = 300, 15
# Searches and filters of the list of runs; most are of a few runs of all, or of none.
RUNS = {
    "": "", "page 2": "?p=2", "failed": "?status=FAILED", "successful": "?status=SUCCESSFUL",
    "running": "?status=RUNNING", "due": "?status=due", "deferred": "?status=deferred", "held": "?status=held",
    "cancelled": "?status=CANCELLED", "skipped": "?status=SKIPPED", "last hour": "?since=hour", "last week": "?since=week",
    "one queue": "?queue=queue-3", "a queue that is none": "?queue=none", "failed of a queue": "?queue=queue-3&status=FAILED",
    "of a function": "?func=shop.jobs:f7", "of a function that is none": "?func=shop.jobs:none",
    "by function": "?q=shop.jobs:f7", "by a word that is nowhere": "?q=nowhere", "of a job": "?job_id=load-7",
    "of a worker": "?worker_id=load", "of a worker that is gone": "?worker_id=load-7", "of a batch": "?batch=load-1",
    "of a batch that is none": "?batch=none", "about an object": "?about=documents.document:1",
    "about another": "?about=shop.order:4711", "about one, failed": "?about=documents.document:1&status=FAILED",
    "with a tag": "?tag=import", "with a tag, failed": "?tag=import&status=FAILED", "with a tag that is none": "?tag=none",
    "of a kind": "?kind=immediate", "with an error": "?error=no+such+order", "ended from": "?ended_from=2020-01-01T00:00",
    "by argument": "?q=arg.order_id:4711", "by argument, failed": "?q=arg.order_id:4711+status:failed",
    "took": "?q=took:>5s", "attempts": "?q=attempt:>1", "after": "?q=after:00:01", "by id": "?q=run:4711",
    "by job": "?q=job:load-7", "by error": "?q=error:timeout",
    "many words": "?q=queue:queue-1+status:failed+tag:import+about:shop.order:4711+took:>1s+nowhere",
}  # fmt: skip


def addresses() -> dict[str, str]:
    """Return what is measured, by name."""
    from django.apps import apps
    from django.contrib.admin.utils import quote
    from django.urls import reverse

    from django_jobs.models import Batch, Job, Run

    def listed(model: str, query: str = "") -> str:
        return reverse(f"admin:django_jobs_{model}_changelist") + query

    found = {
        f"dashboard, {name}": listed("dashboard", f"?range={name}")
        for name in ("hour", "6-hours", "day", "week", "month")
    }
    found |= {
        f"dashboard, part {name}": listed("dashboard", f"?part={name}") for name in ("counts", "errors")
    }
    found |= {f"runs, {name}" if name else "runs": listed("run", query) for name, query in RUNS.items()}
    found |= {
        "jobs": listed("job"), "jobs, page 2": listed("job", "?p=2"), "jobs, searched": listed("job", "?q=abc"),
        "errors": listed("run", "errors/"), "errors, month": listed("run", "errors/?range=month"),
        "workers": listed("worker"), "queues": listed("queue"), "queues, month": listed("queue", "?range=month"),
        "limits": listed("limitedit"), "calendar": reverse("admin:django_jobs_job_calendar"),
        "a queue": reverse("admin:django_jobs_queue_change", args=["queue-1"]) + "?chart=depth",
        "a queue, month": reverse("admin:django_jobs_queue_change", args=["queue-1"]) + "?range=month",
        "a worker": reverse("admin:django_jobs_worker_change", args=["load"]),
    }  # fmt: skip
    job, run = Job.objects.first(), Run.objects.filter(status="FAILED").order_by("-pk").first()
    if job is not None:
        found["a job"] = reverse("admin:django_jobs_job_change", args=[quote(job.pk)])
    if run is not None:
        found["a run"] = reverse("admin:django_jobs_run_change", args=[quote(run.pk)])
        found["runs with an error"] = listed("run", f"?failure={run.error_key}")
        found["runs with an error, hour"] = listed("run", f"?failure={run.error_key}&since=hour")
        found["all that match"] = reverse("admin:django_jobs_run_bulk", query={"failure": run.error_key})
    if batch := Batch.objects.first():
        found["batches"] = listed("batch")
        found["a batch"] = reverse("admin:django_jobs_batch_change", args=[quote(batch.pk)])
    if apps.is_installed("documents"):
        found["an object with its panel"] = reverse("admin:documents_document_change", args=[1])
        found["the panel alone"] = found["an object with its panel"].replace("change/", "jobs-panel/")
    return found


@contextmanager
def visitor() -> Iterator[Any]:
    """Make a user, a document that runs are about, and a client that is logged in."""
    from django.apps import apps
    from django.contrib.auth import get_user_model
    from django.test import Client
    from django.utils import timezone

    made = [get_user_model().objects.create_superuser(f"pages-{os.getpid()}", "", "")]
    client = Client(headers={"host": "localhost"})
    client.force_login(made[0])
    if apps.is_installed("documents"):
        model = apps.get_model("documents", "Document")
        if not model.objects.filter(pk=1).exists():
            about = {"title": "one", "source_path": "/one", "kind": "text", "sha256": "", "size_bytes": 1}
            made.append(model.objects.create(pk=1, text_length=1, ingested_at=timezone.now(), **about))
    try:
        yield client
    finally:
        for row in made:
            row.delete()


def measure(client: Any, name: str, address: str, rounds: int) -> bool:
    """Ask for a page as after a start, and again; print a line. Return whether it is cheap enough."""
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    from tests.benchmarks.tables import say

    times, used, counts = [], [], []
    connection.ensure_connection()
    for _ in range(rounds + 1):
        with CaptureQueriesContext(connection) as queries:
            began, cpu = time.perf_counter(), cpu_seconds(connection)
            response = client.get(address, secure=True)
            times.append((time.perf_counter() - began) * 1000)
            used.append((cpu_seconds(connection) - cpu) * 1000)
        assert response.status_code == 200, (address, response.status_code)
        counts.append(len(queries))
    is_met = min(*times[1:], statistics.median(used[1:])) <= MOST_MS and max(counts) <= MOST_QUERIES
    say(
        f"{name:30} {times[0]:9.0f} {used[0]:8.0f} {statistics.median(times[1:]):8.0f} "
        f"{statistics.median(used[1:]):7.0f} {counts[0]:6} {max(counts[1:]):6} {'' if is_met else '  too much'}"
    )
    return is_met


def cpu_seconds(connection: Any) -> float:
    """Return the processor time of this process, and of its session where the database has a process for it here."""
    from tests.benchmarks.processes import precise_cpu_seconds

    used = time.process_time()
    if (
        connection.vendor == "postgresql"
        and Path(f"/proc/{(pid := connection.connection.info.backend_pid)}").exists()
    ):
        used += precise_cpu_seconds(pid)
    return used


def in_child(client: Any, name: str, address: str, rounds: int) -> bool:
    """Do that in a process that has imported what a server has, and asked nothing yet."""
    child = os.fork()
    if not child:
        is_met = False
        try:
            is_met = measure(client, name, address, rounds)
        finally:
            sys.stdout.flush()
            os._exit(0 if is_met else 1)
    return os.waitpid(child, 0)[1] == 0


def main() -> int:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.pages", description=__doc__)
    parser.add_argument("--only", default="", help="Pages whose names have this word.")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="Visits after the first one. Default: 5.")
    options = parser.parse_args()

    import django

    django.setup()
    from django.db import connections
    from django.urls import get_resolver

    from tests.benchmarks.tables import say

    # What a server has imported before its first request.
    import_module("django_jobs.api.manager")
    assert get_resolver().url_patterns
    head = f"{'first ms':>9} {'its CPU':>8} {'later ms':>8} {'CPU ms':>7} {'first':>6} {'later':>6}"
    say(f"{'page':30} {head} queries")
    with visitor() as client:
        pages = {name: url for name, url in addresses().items() if options.only in name}
        # A connection is no child's.
        connections.close_all()
        missed = [name for name, url in pages.items() if not in_child(client, name, url, options.rounds)]
    say(
        f"{len(missed)} of {len(pages)} take more than {MOST_MS} ms at best, or {MOST_QUERIES} queries: {', '.join(missed) or '-'}"
    )
    return bool(missed)


if __name__ == "__main__":
    sys.exit(main())
