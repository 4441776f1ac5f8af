import re
from datetime import timedelta

import pytest
from django.core.management import call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from django_jobs.models import InStatus, Run, Status
from django_jobs.operations.run_query import Criteria
from django_jobs.storage import claims, leases, outbox
from django_jobs.storage.backends.choose import backend_of
from django_jobs.storage.tables import RUN_TABLE
from tests.many_rows import analyze, copy_row, numbered

pytestmark = pytest.mark.django_db

FINISHED, READY = 5_000, 1_000


@pytest.fixture
def many_runs(transactional_db, make_run, make_worker):
    """A queue of some thousand runs on top of a history of many more."""
    # Transactional, because MariaDB's ANALYZE commits.
    make_worker(id="w")
    now = timezone.now()
    done = make_run(job_id="done", status=Status.SUCCESSFUL, finished_at=now, worker_id="w", attempt=1)
    copy_row(done, FINISHED, job_id=numbered("done-"), worker_id=numbered("w", 50))
    copy_row(make_run(job_id="ready"), READY, job_id=numbered("ready-"), queue_name=numbered("q", 3))
    analyze(RUN_TABLE)


def plan(statement, params):
    prefix = "EXPLAIN QUERY PLAN " if connection.vendor == "sqlite" else "EXPLAIN "
    with connection.cursor() as cursor:
        cursor.execute(prefix + statement, params)
        return "\n".join(" ".join(map(str, row)) for row in cursor.fetchall())


def plan_of(work):
    """Return the plan of the statement that something executes."""
    with CaptureQueriesContext(connection) as queries:
        work()
    return plan(queries[-1]["sql"].replace("%", "%%"), ())


def explain(queryset):
    return plan(*queryset.query.sql_with_params())


def test_claiming_walks_the_index_of_ready_runs_and_sorts_nothing(many_runs):
    text = plan_of(lambda: claims.is_any_due("w", using="default"))

    assert "django_jobs_run_ready" in text, text
    assert "filesort" not in text, text
    assert "TEMP B-TREE" not in text, text
    assert "Sort" not in text, text


@pytest.mark.parametrize(
    ("select", "index"),
    [
        (
            lambda: Run.objects.running().filter(worker_id="w", cancel_requested=True),
            "django_jobs_run_running",
        ),
        (
            lambda: Run.objects.unfinished().filter(job_id="ready-5"),
            "django_jobs_run_open|django_jobs_run_job",
        ),
        (lambda: Run.objects.filter(job_id="done-5").order_by("-id")[:1], "django_jobs_run_job"),
    ],
    ids=["cancel requests", "unfinished runs of a job", "the newest run of a job"],
)
def test_selections_find_their_index_beside_a_long_history(many_runs, select, index):
    text = explain(select())

    assert any(name in text for name in index.split("|")), text


@pytest.mark.parametrize("queues", [(), ("q1",)])
def test_the_next_deferred_run_is_found_by_an_index(many_runs, queues):
    text = plan_of(lambda: claims.seconds_until_ready(queues=queues, within=10, using="default"))

    # MariaDB reads the one row of an index while it plans, and names no index then.
    found = "django_jobs_run_due" in text or "min/max" in text or (queues and "django_jobs_run_queue" in text)
    assert found, text


def test_a_heartbeat_reads_neither_the_queue_nor_the_history(many_runs):
    text = plan_of(lambda: leases.heartbeat("w", lease_seconds=60, has_clock=True, using="default"))

    # MIN of an index is no read at all to MariaDB, and has no name of an index then.
    assert "django_jobs_run_due" in text or "optimized away" in text, text
    assert "django_jobs_run_running" in text, text
    assert "Seq Scan on django_jobs_run" not in text, text
    assert "SCAN django_jobs_run" not in text.replace("USING", ""), text


def test_counting_unfinished_runs_of_due_jobs_reads_no_history(many_runs):
    text = plan_of(lambda: backend_of(connection).count_unfinished(["done-1", "ready-2"]))

    assert "django_jobs_run_open" in text, text


def test_postgresql_counts_unfinished_runs_by_job_in_a_table_that_nobody_has_analyzed(make_run):
    if connection.vendor != "postgresql":
        pytest.skip("a plan of PostgreSQL's")
    make_run()
    with connection.cursor() as cursor:
        columns = ", ".join(field.column for field in Run._meta.concrete_fields if field.column != "id")
        for _ in range(11):
            cursor.execute(f"INSERT INTO django_jobs_run ({columns}) SELECT {columns} FROM django_jobs_run")

    text = plan_of(lambda: backend_of(connection).count_unfinished([f"job-{n}" for n in range(200)]))

    assert "Seq Scan on django_jobs_run" not in text, text


def test_states_as_literals_select_as_parameters_would(make_run):
    for status in Status:
        make_run(status=status)

    assert [run.status for run in Run.objects.filter(InStatus(Status.FAILED))] == ["FAILED"]
    assert Run.objects.ready().count() == 1
    assert Run.objects.unfinished().count() == 2
    assert Run.objects.finished().count() == 4


def test_a_selection_by_state_can_be_joined_and_updated(make_run):
    make_run(job_id="x")

    assert Run.objects.ready().filter(job_id="x").update(name="other") == 1
    assert Run.objects.ready().exclude(job_id="y").filter(name="other").exists()


def test_claims_of_a_full_queue_take_what_they_ask_for(many_runs):
    assert len(claims.claim("w", limit=50, using="default")) == 50
    assert len(claims.claim("w", limit=50, queues=["q1"], using="default")) == 50


def test_telling_of_due_runs_is_four_statements_by_the_index_of_their_queue(many_runs):
    five_minutes = timedelta(minutes=5)
    outbox.take("q1", lost_after=five_minutes, using="default")
    # Messages that were waited for, for three different times.
    told = list(Run.objects.filter(dispatched_at__isnull=False).values_list("pk", flat=True))
    for n in range(3):
        told_at = timezone.now() - timedelta(days=1)
        Run.objects.filter(pk__in=told[n::3]).update(
            dispatched_at=told_at, redispatch_at=told_at + 2**n * five_minutes
        )

    with CaptureQueriesContext(connection) as queries:
        taken = outbox.take("q1", lost_after=five_minutes, using="default")

    assert len(taken.dispatches) == outbox.BATCH
    statements = [query["sql"] for query in queries if RUN_TABLE in query["sql"]]
    assert [statement.split()[0] for statement in statements] == ["SELECT", "SELECT", "SELECT", "UPDATE"]
    for statement in statements[:3]:
        text = plan(statement, None)
        assert "django_jobs_run_queue" in text or "django_jobs_run_due" in text, text


# SQLite's schema editor refuses to work within a transaction.
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(("migration", "column"), [("0003", "redispatch_at"), ("0004", "held_run_after")])
def test_columns_of_runs_are_added_without_writing_the_table_anew(migration, column, capsys):
    call_command("sqlmigrate", "django_jobs", migration)

    lines = [line.strip("; ") for line in capsys.readouterr().out.splitlines()]
    statements = [line for line in lines if line not in {"", "BEGIN", "COMMIT"} and not line.startswith("--")]
    assert len(statements) == 1, statements
    added = re.fullmatch(rf"ALTER TABLE .django_jobs_run. ADD COLUMN .{column}. (.+)", statements[0])
    assert added[1].endswith("NULL"), statements
    assert "NOT NULL" not in added[1], statements
    assert "DEFAULT" not in added[1], statements


@pytest.mark.django_db(transaction=True)
def test_models_get_other_names_without_a_change_of_tables(capsys):
    call_command("sqlmigrate", "django_jobs", "0005")

    lines = [line.strip("; ") for line in capsys.readouterr().out.splitlines()]
    assert [line for line in lines if line not in {"", "BEGIN", "COMMIT"} and not line.startswith("--")] == []


def test_waiting_runs_of_a_worker_are_not_looked_for_among_its_finished_ones(many_runs):
    if connection.vendor != "postgresql":
        pytest.skip("PostgreSQL's statistics know that most runs are that worker's")
    Run.objects.exclude(status=Status.READY).update(worker_id="w0")
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")

    runs = Criteria(status="READY", worker_id="w0").apply(Run.objects.all())
    text = explain(runs.order_by("-pk")[:51])

    assert "_pkey" not in text
    assert "django_jobs_run_" in text
