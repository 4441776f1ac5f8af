"""Runs that do not wait for a limit that is full."""

import pytest
from django.utils import timezone

from django_jobs import Limit, get_job_manager
from django_jobs.models import Run
from django_jobs.storage import enqueue
from tests.probes import jobs
from tests.storage.attempts import claim, new_run

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("workers")]


@pytest.fixture
def skipped():
    def make(**fields):
        limit = {"key": "k", "name": "k", "concurrency": 1, "when_full": "skip"}
        return new_run(options={"limit": limit}, **fields)

    return make


def test_a_run_that_finds_its_limit_full_is_skipped_where_it_is_added(skipped):
    ids = enqueue.insert([skipped(unique_key="i:a"), skipped(unique_key="i:b")], using="default")

    assert [run.state for run in Run.objects.order_by("id")] == ["ready", "skipped"]
    last = Run.objects.order_by("id").last()
    assert last.error == "LimitFull: 1 of 'k' ran, as many as may"
    assert (last.unique_key, last.finished_at is None) == (None, False)
    assert len(ids) == 2


def test_a_run_that_finds_its_limit_full_is_skipped_where_it_is_claimed(skipped):
    enqueue.insert([skipped(run_after=timezone.now()) for _ in range(3)], using="default")

    assert len(claim()) == 1
    assert [run.state for run in Run.objects.order_by("id")] == ["running", "skipped", "skipped"]


def test_a_firing_that_finds_its_limit_full_keeps_its_key(skipped):
    now = timezone.now()
    enqueue.insert([skipped(), skipped(unique_key="f:a@1", scheduled_at=now)], using="default")

    assert Run.objects.order_by("id").last().unique_key == "f:a@1"


def test_a_skipped_job_says_so_to_who_waits_for_it():
    view = get_job_manager().using(limit=Limit("k", concurrency=1, when_full="skip"))
    view.add_immediate_job(jobs.nothing)
    second = view.add_immediate_job(jobs.nothing, job_id="second")

    assert get_job_manager().get_job(second)["status"] == "skipped"
    assert view.add_immediate_job(jobs.nothing, job_id="second") == "second"
