import queue as std_queue
import threading

import pytest
from django.db import OperationalError

from django_jobs.live import feed as feed_module
from django_jobs.live import states
from django_jobs.models import Run
from django_jobs.storage import notifications

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def news(feed):
    """Return a function that watches, and gives the queue of what is told."""

    def watch(*topics):
        told = std_queue.Queue()
        told.watch = feed.watch(topics, told.put)
        return told

    return watch


def test_a_watch_gets_the_states_at_first_and_when_something_changes(news, make_run):
    run = make_run(status="RUNNING")
    told = news(f"run:{run.pk}")

    assert told.get(timeout=60)[f"run:{run.pk}"].status == "running"
    Run.objects.filter(pk=run.pk).update(status="SUCCESSFUL")
    assert told.get(timeout=60)[f"run:{run.pk}"].status == "successful"


def test_a_watch_of_something_else_gets_nothing(news, make_run):
    run, other = make_run(status="RUNNING"), make_run(status="RUNNING")
    told, others = news(f"run:{run.pk}"), news(f"run:{other.pk}")
    told.get(timeout=60), others.get(timeout=60)

    Run.objects.filter(pk=run.pk).update(status="FAILED")

    assert told.get(timeout=60)
    assert others.empty()


def test_another_process_that_ends_a_run_is_heard(news, runjobs, manager, probes):
    told = news(states.CHANGES)
    told.get(timeout=60)

    job_id = manager.add_immediate_job("tests.probes.jobs:give", 7)
    mine = news(f"job:{job_id}")
    assert mine.get(timeout=60)[f"job:{job_id}"].status == "queued"
    runjobs("--drain")

    while not (state := mine.get(timeout=60)[f"job:{job_id}"]).is_finished:
        pass
    assert state.status == "successful"


def test_all_who_watch_share_one_look(feed, news, make_run, monkeypatch):
    runs = [make_run() for _ in range(20)]
    looks = []
    read = states.read

    def counted(topics, *, using):
        looks.append(set(topics))
        return read(topics, using=using)

    monkeypatch.setattr(states, "read", counted)
    told = [news(f"run:{run.pk}", states.CHANGES) for run in runs]
    for each in told:
        each.get(timeout=60)

    before = len(looks)
    Run.objects.update(status="RUNNING")
    for each in told:
        each.get(timeout=60)

    assert len(looks) - before <= 3
    assert len(looks[-1]) == 21


def test_nobody_who_watches_means_no_work_and_no_thread(feed, news, until, monkeypatch):
    monkeypatch.setattr(feed_module, "LINGER_SECONDS", 0.05)
    told = news(states.CHANGES)
    told.get(timeout=10)

    feed.close(told.watch)

    until(lambda: not feed.is_following)
    looks = feed.looks
    notifications.notify_local(notifications.FINISHED)
    assert feed.looks == looks
    again = news(states.CHANGES)
    assert again.get(timeout=60)


def test_a_notice_has_it_look_at_once(feed, news, make_run, monkeypatch):
    monkeypatch.setattr(feed_module, "LOOK_SECONDS", 60)
    told = news(states.CHANGES)
    told.get(timeout=60)

    make_run()
    notifications.notify_local(notifications.FINISHED)

    assert told.get(timeout=60)


def test_a_storm_of_notices_is_not_a_storm_of_queries(feed, news, until, monkeypatch):
    monkeypatch.setattr(feed_module, "SHORTEST_SECONDS", 30)
    told = news(states.CHANGES)
    told.get(timeout=60)
    until(lambda: feed.looks >= 1)

    for _ in range(10_000):
        notifications.notify_local(notifications.FINISHED)

    assert feed.looks == 1


def test_a_watch_that_fails_does_not_keep_states_from_others(feed, news):
    def gone(_news):
        raise RuntimeError("Event loop is closed")

    feed.watch([states.CHANGES], gone)
    told = news(states.CHANGES)

    assert told.get(timeout=60)


def test_it_outlives_a_database_that_is_away(feed, news, make_run, monkeypatch):
    told = news(states.CHANGES)
    told.get(timeout=60)
    read, failed = states.read, threading.Event()

    def away(topics, *, using):
        failed.set()
        monkeypatch.setattr(states, "read", read)
        raise OperationalError("gone away")

    monkeypatch.setattr(states, "read", away)
    assert failed.wait(10)
    make_run()

    assert told.get(timeout=60)


def test_there_is_an_end_to_what_one_process_follows(feed, news, monkeypatch):
    monkeypatch.setattr(feed_module, "MOST_WATCHES", 1)
    news(states.CHANGES)

    with pytest.raises(feed_module.TooManyWatches):
        news(states.CHANGES)


def test_a_look_that_fails_for_any_reason_ends_nothing_and_is_logged_once(
    feed, news, make_run, monkeypatch, caplog
):
    run = make_run(status="RUNNING")
    read, failures = states.read, [RuntimeError("one"), UnicodeError("two")]

    def flawed(topics, *, using):
        if failures:
            raise failures.pop(0)
        return read(topics, using=using)

    monkeypatch.setattr(states, "read", flawed)
    monkeypatch.setattr(feed_module, "FAILED_SECONDS", 0.01)

    assert news(f"run:{run.pk}").get(timeout=10)[f"run:{run.pk}"].status == "running"
    assert caplog.text.count("the feed thread failed") == 1


def test_an_exit_in_a_look_ends_nothing(feed, news, make_run, monkeypatch):
    run = make_run(status="RUNNING")
    read = states.read

    def leave(topics, *, using):
        monkeypatch.setattr(states, "read", read)
        raise SystemExit

    monkeypatch.setattr(feed_module, "FAILED_SECONDS", 0.01)
    monkeypatch.setattr(states, "read", leave)

    assert news(f"run:{run.pk}").get(timeout=60)
