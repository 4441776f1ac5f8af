from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone

from django_jobs.models import Run
from tests.many_rows import analyze, copy_row


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


@pytest.fixture(params=["of nothing", "of ended runs", "new"])
def statistics(new_files, make_run, request):
    """Have PostgreSQL know the runs as they were before a test, or as they are once it has called this."""
    if request.param == "of ended runs":
        copy_row(make_run(status="SUCCESSFUL"), 3000)
    analyze("django_jobs_run")
    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE django_jobs_run CASCADE")
    return lambda: analyze("django_jobs_run") if request.param == "new" else None


@pytest.fixture
def pages(new_files):
    """Return how many pages PostgreSQL reads for an update of runs, which is not made, and what it asks before."""

    def count(update):
        read = []

        def explain(execute, sql, params, many, context):
            # Words for the planner come before it, and after it.
            parts = sql.split("; ")
            at = next(index for index, part in enumerate(parts) if not part.startswith("SELECT set_config"))
            is_update = "UPDATE django_jobs_run SET" in parts[at]
            parts[at] = f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {parts[at]}"
            with connection.connection.cursor() as cursor:
                cursor.execute("; ".join(parts), params)
                for _ in range(at):
                    cursor.nextset()
                ((plan,),) = cursor.fetchone()
            read.append(plan["Plan"]["Shared Hit Blocks"] + plan["Plan"]["Shared Read Blocks"])
            if not is_update:
                return execute(sql, params, many, context)
            raise InterruptedError

        with connection.execute_wrapper(explain), pytest.raises(InterruptedError):
            update()
        return sum(read)

    return count


@pytest.fixture
def steps():
    """Return a function that counts the thousands of steps that SQLite takes for something."""

    def count(work):
        counted = []
        raw = connection.connection
        raw.set_progress_handler(lambda: counted.append(1), 1000)
        try:
            work()
        finally:
            raw.set_progress_handler(None, 0)
        return len(counted)

    return count


@pytest.fixture
def rows_read():
    """Return a function that counts the rows, of tables and of indexes, that MariaDB reads for something."""

    def count(work):
        with connection.cursor() as cursor:
            cursor.execute("FLUSH STATUS")
            work()
            cursor.execute("SHOW SESSION STATUS LIKE 'Handler_read%'")
            return sum(int(value) for _, value in cursor.fetchall())

    return count
