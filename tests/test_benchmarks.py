"""The benchmarks write rows of their own: they must keep up with the tables."""

import time
from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone

from django_jobs.models import Job, Run, Step
from django_jobs.operations import failures
from django_jobs.scheduler.broken import read_trigger
from django_jobs.scheduler.occurrences import fire_due
from django_jobs.storage import statistics
from tests.benchmarks import floor, load, rows
from tests.benchmarks.measures import durable, parts

pytestmark = pytest.mark.django_db(transaction=True)


def test_their_jobs_are_jobs_that_fire():
    rows.add_jobs(3)
    rows.make_due(1)

    assert fire_due("default") == 1

    assert [job.status for job in Job.objects.all()] == ["scheduled"] * 3
    for job in Job.objects.all():
        read_trigger(job)
    assert Run.objects.get().func == rows.FUNC


def test_their_runs_are_claimed_and_finished():
    rows.claim_and_finish(rows.live_worker("default"), 5, "default")

    assert set(Run.objects.values_list("status", flat=True)) == {"SUCCESSFUL"}


def test_their_bare_runs_have_every_column():
    Run.objects.create(**rows.bare_run())

    assert Run.objects.get().status == "READY"


def test_the_floor_works_off_what_was_inserted_by_it():
    floor.insert_many([floor.inserted_row() for _ in range(5)])

    floor.drain(5, threads=2)

    assert [run.status for run in Run.objects.all()] == ["SUCCESSFUL"] * 5
    assert all(run.started_at <= run.finished_at <= timezone.now() for run in Run.objects.all())


def test_the_parts_of_a_run_are_all_measured_beside_those_of_the_floor(settings):
    settings.DJANGO_JOBS = {"AUTOSTART": False, "ALLOWED_MODULES": ["tests.benchmarks"]}
    worker_id = rows.live_worker("default")

    ours = parts._round(3, lambda watch: parts.ours_part_by_part(watch, worker_id))
    bare = parts._round(3, parts.bare_part_by_part)

    assert [*ours] == [*parts.PARTS, "all"]
    assert [*bare] == ["claim", "execute", "write", "all"]
    assert [run.status for run in Run.objects.all()] == ["SUCCESSFUL"] * 3


def test_their_sleeping_runs_are_of_those_that_sleep(monkeypatch):
    monkeypatch.setattr(durable, "SLEEPING", 4)

    durable._put_to_sleep("default")

    assert sorted(run.state for run in Run.objects.all()) == ["deferred", "deferred", "sleeping", "sleeping"]
    assert set(Step.objects.values_list("run_id", flat=True)) == set(Run.objects.values_list("pk", flat=True))


def test_a_loaded_history_is_one_that_pages_can_show():
    numbers, now = load.Numbers(connection.vendor), int(time.time())
    rows.add_jobs(3)
    day_ago = timezone.now() - timedelta(days=1)

    with connection.cursor() as cursor:
        load.add_runs(cursor, numbers, 3000, now)
        load.add_tallies(cursor, numbers, now, 5_000_000)
        load.spread_jobs(cursor, numbers, now)

    assert Run.objects.ready().count() == 1950
    assert Run.objects.running().count() == 50
    assert Run.objects.filter(status="FAILED").count() == 20
    failed = Run.objects.filter(status="FAILED").latest("pk")
    assert failed.errors[0]["traceback"]
    found = failures.since(day_ago.replace(year=2000), most=2, using="default")
    # Half of the failures are one error, and each of the others is one of its own here.
    assert [group.count for group in found.groups] == [10, 1]
    assert (found.count, found.more) == (20, 9)
    assert found.groups[0].place == "orders/part_24.py:34 step_24"
    assert len(statistics.by_function(day_ago)) == load.FUNCTIONS
    assert statistics.totals(day_ago).ended > 10_000
    assert Job.objects.filter(last_run_id__gte=1, next_run_time__gte=day_ago).count() == 3
