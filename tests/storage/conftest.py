from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone

from django_jobs.models import Run
from tests.many_rows import copy_row


@pytest.fixture
def workers(make_worker):
    """The rows of workers that tests claim as; only a live one is given anything."""
    for name in ("w", "me", "w0", "w1", "w2", "w3", "live", "awake", "slept", "dead", "gone"):
        make_worker(id=name)


@pytest.fixture
def end_runs(make_run):
    """Have many runs of "w" end, whose index entries stay: the test's transaction could still undo it."""

    def end(count):
        copy_row(make_run(run_after=timezone.now() - timedelta(hours=1)), count - 1)
        Run.objects.filter(status="READY").update(status="RUNNING", worker_id="w")
        Run.objects.filter(status="RUNNING").update(status="SUCCESSFUL")

    return end


@pytest.fixture
def new_files():
    """Give the table of runs new files for a test: the old ones have entries of all that other tests rolled back."""
    if connection.vendor != "postgresql":
        pytest.skip("a plan of PostgreSQL's")
    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE django_jobs_run CASCADE")


@pytest.fixture
def pages(new_files):
    """Return how many pages PostgreSQL reads for an update of runs, which is not made."""

    def count(update):
        read = []

        def explain(execute, sql, params, many, context):
            # Words for the planner come before it, and after it.
            parts = sql.split("; ")
            (at,) = [index for index, part in enumerate(parts) if "UPDATE django_jobs_run SET" in part]
            parts[at] = f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {parts[at]}"
            with connection.connection.cursor() as cursor:
                cursor.execute("; ".join(parts), params)
                for _ in range(at):
                    cursor.nextset()
                ((plan,),) = cursor.fetchone()
            read.append(plan["Plan"]["Shared Hit Blocks"] + plan["Plan"]["Shared Read Blocks"])
            raise InterruptedError

        with connection.execute_wrapper(explain), pytest.raises(InterruptedError):
            update()
        return read[0]

    return count
