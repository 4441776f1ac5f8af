"""The benchmarks write rows of their own: they must keep up with the tables."""

import pytest

from django_jobs.clock import Clock, read_trigger
from django_jobs.models import Job, Run
from tests.benchmarks import rows

pytestmark = pytest.mark.django_db(transaction=True)


def test_their_jobs_are_jobs_that_fire():
    rows.add_jobs(3)
    rows.make_due(1)
    clock = Clock("default")
    clock._store.start(clock, "default")
    clock.state = 1

    assert clock.fire_due() == 1

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
