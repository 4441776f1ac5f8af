from datetime import timedelta

import pytest
from django.utils import timezone

from django_jobs.models import Run
from django_jobs.storage import notifications
from django_jobs.storage.notifications.polling import PollListener

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_poll_finds_due_jobs_and_no_others(hear, make_job):
    make_job()
    listener = PollListener("default")
    assert [listener.wait(0.01) for _ in range(3)] == [None] * 3

    make_job(next_run_time=timezone.now() - timedelta(seconds=1))

    assert listener.wait(0.01) == notifications.JOBS
    listener.close()


def test_a_poll_asks_for_what_stays_due_less_and_less_often(make_run):
    make_run()
    listener = PollListener("default")
    listener.SHORTEST, listener.LONGEST = 0.001, 0.005

    assert listener.wait(1) == notifications.RUNS
    soon = listener._interval
    assert [listener.wait(1) for _ in range(5)] == [notifications.RUNS] * 5
    late = listener._interval
    Run.objects.all().delete()
    assert listener.wait(1) is None
    make_run()
    assert listener.wait(1) == notifications.RUNS

    assert (soon, late, listener._interval) == (0.001, 0.005, 0.001)
    listener.close()
