"""`python -m tests.benchmarks.pages`: how long the server takes for each admin page, and how many queries.

Of the database of DJANGO_SETTINGS_MODULE, which `tests.benchmarks.load` has filled. It makes a user for the
time being. Run it from the repository's root.
"""

from __future__ import annotations

import os
import statistics
import time

ROUNDS = 7


def addresses() -> dict[str, str]:
    """Return what is measured, by name."""
    from django.contrib.admin.utils import quote
    from django.urls import reverse

    from django_jobs.models import Job, Run

    def listed(model: str, query: str = "") -> str:
        return reverse(f"admin:django_jobs_{model}_changelist") + query

    found = {
        f"dashboard, {name}": listed("dashboard", f"?range={name}")
        for name in ("hour", "6-hours", "day", "week", "month")
    }
    found |= {
        f"dashboard, part {name}": listed("dashboard", f"?part={name}") for name in ("counts", "errors")
    }
    found |= {
        "jobs": listed("job"), "jobs, page 2": listed("job", "?p=2"), "jobs, searched": listed("job", "?q=abc"),
        "runs": listed("run"), "runs, failed": listed("run", "?status=FAILED"), "runs, last hour": listed("run", "?since=hour"),
        "runs, one queue": listed("run", "?queue=queue-3"), "runs, by function": listed("run", "?q=shop.jobs:f7"),
        "runs of a job": listed("run", "?job_id=load-7"), "workers": listed("worker"), "queues": listed("queue"),
    }  # fmt: skip
    job, run = Job.objects.first(), Run.objects.filter(status="FAILED").order_by("-pk").first()
    if job is not None:
        found["a job"] = reverse("admin:django_jobs_job_change", args=[quote(job.pk)])
    if run is not None:
        found["a run"] = reverse("admin:django_jobs_run_change", args=[quote(run.pk)])
    return found


def main() -> None:
    """Measure, and print a table."""
    import django

    django.setup()
    from django.contrib.auth import get_user_model
    from django.db import connection
    from django.test import Client
    from django.test.utils import CaptureQueriesContext

    from tests.benchmarks.tables import say

    user = get_user_model().objects.create_superuser(f"pages-{os.getpid()}", "", "")
    client = Client(headers={"host": "localhost"})
    client.force_login(user)
    # The process's own time says more where other processes want the processor, too.
    say(f"{'page':30} {'median ms':>10} {'least ms':>10} {'CPU ms':>8} {'queries':>8}")
    try:
        for name, address in addresses().items():
            client.get(address, secure=True)
            times, used = [], []
            for _ in range(ROUNDS):
                began, cpu = time.perf_counter(), time.process_time()
                response = client.get(address, secure=True)
                times.append((time.perf_counter() - began) * 1000)
                used.append((time.process_time() - cpu) * 1000)
                assert response.status_code == 200, (address, response.status_code)
            with CaptureQueriesContext(connection) as queries:
                client.get(address, secure=True)
            say(
                f"{name:30} {statistics.median(times):10.0f} {min(times):10.0f} {statistics.median(used):8.0f} {len(queries):8}"
            )
    finally:
        user.delete()


if __name__ == "__main__":
    main()
