import json
import time
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from django.db import connection
from django.http import JsonResponse
from django.test.utils import CaptureQueriesContext

from django_jobs.api import job_info
from django_jobs.models import Job, Run
from django_jobs.testing import drain_jobs
from tests.benchmarks import load, rows
from tests.many_rows import analyze, copy_row, numbered
from tests.probes import jobs as probes

pytestmark = pytest.mark.django_db


def test_tags_are_given_with_jobs_and_their_runs(manager):
    tagged = manager.using(tags=["orders", "import"])

    alone = tagged.add_immediate_job(probes.nothing)
    daily = tagged.add_recurring_job(probes.nothing, 86400, job_id="daily")

    assert [one["tags"] for one in manager.get_jobs()] == [["import", "orders"]] * 2
    assert manager.get_job(alone)["last_run"]["tags"] == ["import", "orders"]
    assert Job.objects.get(pk=daily).tags == ["import", "orders"]


def test_a_job_without_tags_has_none(manager):
    job_id = manager.add_immediate_job(probes.nothing)

    assert manager.get_job(job_id)["tags"] == []


def test_nearer_tags_go_first(manager):
    ids = [
        probes.tagged.enqueue(),
        probes.tagged.using(tags=["near"]).enqueue(),
        manager.using(tags=[]).add_immediate_job(probes.tagged),
    ]

    assert [manager.get_job(job_id)["tags"] for job_id in ids] == [["far"], ["near"], []]


def test_whatever_follows_a_run_has_its_tags(manager):
    tagged = manager.using(tags=["import"])
    failing = tagged.add_immediate_job(probes.fail)
    again = tagged.add_immediate_job(probes.nothing)
    later = tagged.add_scheduled_job(probes.nothing, timedelta(0))
    drain_jobs()

    manager.retry_job(failing)
    manager.run_job(again)

    assert Run.objects.get(job_id=failing).tags == ["import"]
    assert [run.tags for run in Run.objects.filter(job_id=again)] == [["import"]] * 2
    assert Run.objects.get(job_id=later).tags == ["import"]


def test_a_job_as_a_dict_has_its_shape_and_goes_through_jsonresponse(manager, probes, make_run):
    job_id = manager.add_recurring_job(
        probes.give, 1800, {"when": datetime(2026, 1, 1, tzinfo=UTC), "sum": Decimal("1.50"), "password": "x"},
        job_id="r",
    )  # fmt: skip
    run = make_run(job_id="r", status="SUCCESSFUL", result='{"a":1}', progress={"done": 1})
    Job.objects.update(last_run=run)

    job = manager.get_job(job_id)

    assert json.loads(JsonResponse(job).content) == job
    assert job == {
        "id": "r",
        "name": "give",
        "func": "tests.probes.jobs:give",
        "kind": "recurring",
        "status": "scheduled",
        "reason": "",
        "trigger": "every 30 minutes",
        "next_run_time": Job.objects.get().next_run_time.isoformat(),
        "queue_name": "default",
        "priority": 0,
        "max_instances": 1,
        "limit": None,
        "fair_key": None,
        "waits": "",
        "tags": [],
        "about": None,
        "args": [{"when": "2026-01-01T00:00:00+00:00", "sum": "1.50", "password": "********************"}],
        "kwargs": {},
        "attempt": 1,
        "result": {"a": 1},
        "error": "",
        "progress": {"done": 1},
        "last_run": {
            "id": run.pk,
            "status": "SUCCESSFUL",
            "attempt": 1,
            "enqueued_at": run.enqueued_at.isoformat(),
            "scheduled_at": None,
            "started_at": run.started_at.isoformat(),
            "finished_at": run.finished_at.isoformat(),
            "seconds": (run.finished_at - run.started_at).total_seconds(),
            "result": {"a": 1},
            "error": "",
            "progress": {"done": 1},
            "worker_id": "worker-of-a-test",
            "limit": None,
            "fair_key": None,
            "tags": [],
            "about": None,
            "unique": "",
        },
    }


def test_secrets_are_not_shown_wherever_they_are_passed(manager, probes):
    ids = [
        manager.add_immediate_job(probes.log_in, "ann", "hunter2"),
        manager.add_immediate_job(probes.log_in, user="ann", password="hunter2"),
        manager.using(sensitive=["user"]).add_immediate_job(probes.log_in, "ann", "hunter2"),
    ]

    shown = json.dumps([manager.get_job(job_id) for job_id in ids[:2]])
    assert "hunter2" not in shown
    assert "ann" in shown
    assert "ann" not in json.dumps(manager.get_job(ids[2]))


def test_get_jobs_lists_what_is_still_to_run_with_few_queries(
    manager, probes, make_run, django_assert_max_num_queries
):
    for number in range(20):
        manager.add_recurring_job(probes.mark, 60, job_id=f"r{number:02}")
        make_run(job_id=f"q{number:02}")
        make_run(job_id=f"done{number:02}", status="SUCCESSFUL")
    manager.pause_job("r00")

    with django_assert_max_num_queries(4):
        jobs = manager.get_jobs()

    assert len(jobs) == 40
    assert jobs[19]["id"] == "r00"
    assert JsonResponse({"jobs": jobs}).status_code == 200


def test_get_jobs_reads_no_more_than_its_limit(manager, probes, make_run):
    manager.add_recurring_job(probes.nothing, 60, job_id="often")
    runs = [make_run(job_id=f"j{number}") for number in range(4)]
    make_run(job_id="often")

    assert [job["id"] for job in manager.get_jobs(limit=1)] == ["often"]
    assert [job["id"] for job in manager.get_jobs(limit=3)] == ["often", "j0", "j1"]
    assert len(manager.get_jobs()) == len(manager.get_jobs(limit=None)) == 1 + len(runs)
    with pytest.raises(ValueError, match="at least 1"):
        manager.get_jobs(limit=0)


def test_the_first_jobs_are_those_that_fire_next_and_paused_ones_come_last(manager, probes):
    later = datetime.now(UTC) + timedelta(hours=1)
    for number in range(4):
        manager.add_scheduled_job(probes.nothing, later - timedelta(minutes=number), job_id=f"j{number}")
    for name in ("b", "a"):
        manager.add_scheduled_job(probes.nothing, later - timedelta(minutes=2, seconds=9), job_id=name)
    manager.pause_job("j1")

    for limit in (1, 2, 3, 5, 6, 7, None):
        order = [job["id"] for job in manager.get_jobs(limit=limit)]
        assert order == ["j3", "a", "b", "j2", "j0", "j1"][:limit]


def test_the_first_jobs_are_found_without_a_look_at_all_of_them(manager):
    if connection.vendor != "sqlite":
        pytest.skip("SQLite alone counts its steps")
    rows.add_jobs(2000)
    with connection.cursor() as cursor:
        load.spread_jobs(cursor, load.Numbers("sqlite"), int(time.time()))
    thousands = []
    connection.connection.set_progress_handler(lambda: thousands.append(1), 1000)

    try:
        assert len(manager.get_jobs(limit=2)) == 2
    finally:
        connection.connection.set_progress_handler(None, 0)

    assert len(thousands) < 3


def test_neither_call_reads_what_runs_have_logged_and_tried(manager, make_run):
    make_run(job_id="alone", log="a long log")

    with CaptureQueriesContext(connection) as queries:
        assert manager.get_job("alone")
        assert manager.get_jobs()

    asked = " ".join(query["sql"] for query in queries)
    assert "error_key" in asked
    assert '"log"' not in asked.replace("`", '"')
    assert '"errors"' not in asked.replace("`", '"')


def test_jobs_with_the_same_trigger_have_it_read_once(manager, probes, monkeypatch):
    read = []
    for number in range(9):
        manager.add_recurring_job(probes.nothing, 60, job_id=f"j{number}")
    Job.objects.update(job_state=bytes(Job.objects.get(pk="j0").job_state))
    monkeypatch.setattr(
        job_info.triggers,
        "loads",
        lambda state, loads=job_info.triggers.loads: read.append(state) or loads(state),
    )

    jobs = manager.get_jobs()

    assert len(read) == 1
    assert {job["trigger"] for job in jobs} == {manager.get_job("j0")["trigger"]}


@pytest.mark.django_db(transaction=True)
def test_what_has_ended_is_not_walked_to_find_the_first_that_has_not(manager, make_run):
    ended, waits = make_run(status="SUCCESSFUL"), make_run(job_id="waits")
    copy_row(ended, 3000)
    copy_row(waits, 300, job_id=numbered("more"))
    analyze("django_jobs_run")

    with CaptureQueriesContext(connection) as queries:
        (job,) = manager.get_jobs(limit=1)
    statement = next(one["sql"] for one in queries if "RUNNING" in one["sql"])
    with connection.cursor() as cursor:
        cursor.execute(f"{'EXPLAIN QUERY PLAN' if connection.vendor == 'sqlite' else 'EXPLAIN'} {statement}")
        plan = str(cursor.fetchall())

    assert job["id"] == "waits"
    # The key of the runs, of 8 bytes, or their table.
    walk = {
        "postgresql": "django_jobs_run_pkey",
        "mysql": "'PRIMARY', '8'",
        "sqlite": "SCAN django_jobs_run'",
    }
    assert walk[connection.vendor] not in plan, plan
