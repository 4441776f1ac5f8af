import threading
from datetime import timedelta

import pytest
from django.utils import timezone

from django_jobs.models import DepthSample
from django_jobs.storage import statistics
from django_jobs.storage.retention import rounds
from django_jobs.storage.retention.deleter import Deleter
from django_jobs.storage.statistics import depth

pytestmark = pytest.mark.django_db


def samples():
    return {(row.queue_name, row.due, row.every_seconds) for row in DepthSample.objects.all()}


@pytest.mark.parametrize(("minute", "every"), [(7, 60), (10, 600), (0, 3600)])
def test_what_could_begin_is_counted_by_queue_once_a_minute(
    make_run, django_assert_num_queries, minute, every
):
    now = timezone.now().replace(minute=minute, second=30)
    past, future = now - timedelta(minutes=1), now + timedelta(minutes=1)
    for name, run_after in (("mail", past), ("mail", now), ("slow", past), ("mail", future), ("held", None)):
        make_run(queue_name=name, run_after=run_after)
    make_run(queue_name="mail", status="RUNNING")

    assert not depth.is_sampled(depth.minute_of(now), using="default")
    with django_assert_num_queries(2):
        depth.sample(now, using="default")
    assert samples() == {("mail", 2, every), ("slow", 1, every)}

    with django_assert_num_queries(1):
        assert depth.is_sampled(depth.minute_of(now + timedelta(seconds=20)), using="default")


def test_two_that_count_in_the_same_minute_keep_one_count(make_run):
    now = timezone.now()
    make_run(queue_name="mail", run_after=now - timedelta(minutes=1))
    depth.sample(now, using="default")
    depth.sample(now, using="default")

    assert len(samples()) == 1


def test_a_sample_has_a_bounded_number_of_queues(make_run, monkeypatch):
    monkeypatch.setattr(depth, "MOST_QUEUES", 2)
    now = timezone.now()
    for name in ("a", "b", "c", "c"):
        make_run(queue_name=name, run_after=now - timedelta(minutes=1))

    depth.sample(now, using="default")

    assert {name for name, _due, _every in samples()} == {"a", "c"}


def add(at, due, queue_name="mail", every=60):
    DepthSample.objects.create(sampled_at=at, queue_name=queue_name, due=due, every_seconds=every)


def test_a_step_has_the_most_that_waited_at_one_time(django_assert_num_queries):
    hour = timezone.now().replace(minute=0, second=0, microsecond=0) - timedelta(hours=2)
    begins = [hour + timedelta(minutes=minutes) for minutes in (0, 10, 20)]
    for minute, due in ((0, 3), (9, 5), (10, 1), (29, 4), (30, 99)):
        add(begins[0] + timedelta(minutes=minute), due)
    add(begins[0] + timedelta(minutes=9), 2, "other")
    add(begins[0] - timedelta(minutes=1), 99)

    with django_assert_num_queries(3):
        together = statistics.deepest(begins[0], begins, using="default")
        alone = statistics.deepest(begins[0], begins, queue_names=["mail"], using="default")
        apart = statistics.deepest_by_queue(begins[0], begins, using="default")

    assert together == [7, 1, 4]
    assert alone == [5, 1, 4]
    assert apart == {"mail": [5, 1, 4], "other": [2, 0, 0]}


def test_long_steps_are_read_from_few_samples():
    now = timezone.now()
    begins = [now - timedelta(days=days) for days in (2, 1)]
    add(begins[1] + timedelta(minutes=1), 7), add(begins[1] + timedelta(minutes=2), 3, every=3600)

    assert statistics.deepest(begins[0], begins, using="default") == [0, 3]


def test_old_samples_are_thinned_out():
    now = timezone.now()
    for days, every in ((1, 60), (3, 60), (3, 600), (15, 600), (15, 3600), (61, 3600)):
        add(now - timedelta(days=days, seconds=every), days, every=every)

    deleter = Deleter("default", threading.Event())
    deleter.delete_depths(now)

    assert {(row.due, row.every_seconds) for row in DepthSample.objects.all()} == {
        (1, 60),
        (3, 600),
        (15, 3600),
    }
    assert deleter.pruned == rounds.Pruned()
