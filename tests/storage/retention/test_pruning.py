import threading
from datetime import timedelta

import pytest
from django.db import connections
from django.urls import reverse
from django.utils import timezone

from django_jobs.api import job_info
from django_jobs.models import FINISHED, Run, Status, Worker
from django_jobs.storage import claims, outcomes, transitions
from django_jobs.storage.records import Outcome
from django_jobs.storage.retention import deleter, walks
from tests.storage.retention.rows import ids, prune

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("status", FINISHED)
def test_a_finished_run_is_deleted_when_it_is_old(make_old, status):
    make_old(91, status=status)
    young = make_old(89, status=status)

    pruned = prune(keep_days=90)

    assert (pruned.runs, pruned.is_complete) == (1, True)
    assert ids() == [young.pk]


def test_the_age_of_a_run_is_counted_from_when_it_finished(make_old):
    make_old(200, took_days=150)

    assert prune(keep_days=90).runs == 0
    assert prune(keep_days=49).runs == 1


@pytest.mark.parametrize("keep_days", [1e300, 10_000_000, 30_000])
def test_more_days_than_there_are_keep_all(make_old, keep_days):
    make_old(5000)

    assert prune(keep_days=keep_days).runs == 0


@pytest.mark.parametrize(
    ("limits", "words"), [({"keep_days": -1}, "at least 0"), ({"keep_runs_per_job": 0}, "at least 1")]
)
def test_a_limit_that_makes_no_sense_is_refused(db, limits, words):
    with pytest.raises(ValueError, match=words):
        prune(**limits)


def test_many_are_deleted_in_batches(make_old, monkeypatch):
    monkeypatch.setattr(walks, "BATCH", 3)
    for _ in range(7):
        make_old(100)
    make_old(1)
    seen = []

    prune(keep_days=90, on_progress=lambda pruned: seen.append(pruned.runs))

    assert seen == [3, 6, 7]
    assert Run.objects.count() == 1


def test_a_run_that_is_retried_while_it_is_pruned_stays(make_old, monkeypatch):
    run = make_old(100, status=Status.FAILED)
    look = deleter.Deleter._last_runs

    def retried_meanwhile(self, rows):
        assert transitions.retry(run.pk, using="default")
        return look(self, rows)

    monkeypatch.setattr(deleter.Deleter, "_last_runs", retried_meanwhile)

    assert prune(keep_days=90).runs == 0
    assert Run.objects.get().status == "READY"


def test_the_last_run_of_a_job_is_kept_for_the_job_to_show(make_old, make_job):
    last = make_old(400, job_id="yearly")
    make_old(800, job_id="yearly")
    make_old(400, job_id="over")
    make_job(id="yearly", last_run=last)

    prune(keep_days=90)

    assert ids() == [last.pk]


def test_of_each_job_the_newest_are_kept(make_old):
    runs = {
        job_id: [make_old(1, job_id=job_id).pk for _ in range(count)]
        for job_id, count in (("a", 5), ("b", 3), ("c", 2))
    }

    assert prune(keep_runs_per_job=3).runs == 2
    assert ids() == sorted(runs["a"][2:] + runs["b"] + runs["c"])


def test_skipped_runs_push_no_others_out(make_old):
    executed = [make_old(9, job_id="a").pk for _ in range(4)]
    skipped = [make_old(1, job_id="a", status=Status.SKIPPED).pk for _ in range(5)]

    assert prune(keep_runs_per_job=3).runs == 3
    assert ids() == sorted(executed[1:] + skipped[2:])
    assert prune(keep_runs_per_job=3).runs == 0


def test_unfinished_runs_count_and_are_kept(make_old):
    held = make_old(9, job_id="a", status=Status.READY)
    make_old(8, job_id="a")
    newest = make_old(7, job_id="a")

    assert prune(keep_runs_per_job=1).runs == 1
    assert ids() == [held.pk, newest.pk]


def test_a_dry_run_counts_what_would_be_deleted(make_old, make_worker):
    for days in (100, 99, 3, 2, 1):
        make_old(days, job_id="a")
    make_worker(stopped_at=timezone.now() - timedelta(days=91))
    limits = {"keep_days": 90, "keep_runs_per_job": 1}

    counted = prune(**limits, dry_run=True)

    assert (counted.runs, counted.workers) == (4, 1)
    assert (Run.objects.count(), Worker.objects.count()) == (5, 1)
    assert prune(**limits) == counted


def test_pruning_ends_when_told(make_old, monkeypatch):
    monkeypatch.setattr(walks, "BATCH", 2)
    for _ in range(6):
        make_old(100, job_id="a")
    stopped = threading.Event()

    pruned = prune(keep_days=90, keep_runs_per_job=1, stopped=stopped, on_progress=lambda _: stopped.set())

    assert (pruned.runs, pruned.is_complete) == (2, False)


def test_jobs_cope_with_a_last_run_that_was_pruned(make_old, make_job, admin_client):
    run = make_old(100, job_id="j")
    make_job(id="j", last_run=run)
    make_job(id="k")
    make_old(100, job_id="k")

    assert prune(keep_days=90).runs == 1
    Run.objects.all().delete()

    assert [snapshot["last_run"] for snapshot in job_info.unfinished(using="default")] == [None, None]
    assert job_info.one("j", using="default")["last_run"] is None
    assert admin_client.get(reverse("admin:django_jobs_job_changelist")).status_code == 200
    assert admin_client.get(reverse("admin:django_jobs_job_change", args=["j"])).status_code == 200


@pytest.mark.django_db(transaction=True)
def test_two_that_prune_at_once_delete_each_run_once(make_old, monkeypatch):
    monkeypatch.setattr(walks, "BATCH", 5)
    for number in range(40):
        make_old(100, job_id=f"j{number % 3}")
    kept = make_old(1)
    barrier = threading.Barrier(2, timeout=20)
    delete = deleter.Deleter._delete

    def both_have_looked(self, rows, ids):
        barrier.wait()
        return delete(self, rows, ids)

    monkeypatch.setattr(deleter.Deleter, "_delete", both_have_looked)
    results = []

    def work():
        try:
            results.append(prune(keep_days=90).runs)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)

    assert len(results) == 2
    assert sum(results) == 40
    assert ids() == [kept.pk]


@pytest.mark.django_db(transaction=True)
def test_runs_are_claimed_and_finished_while_history_is_pruned(make_old, make_worker, monkeypatch):
    monkeypatch.setattr(walks, "BATCH", 5)
    make_worker(id="w")
    for _ in range(100):
        make_old(100)
    fresh = [make_old(0, status=Status.READY).pk for _ in range(20)]
    begun, ended = threading.Event(), threading.Event()

    def work():
        try:
            while not ended.is_set():
                prune(keep_days=90)
                prune(keep_runs_per_job=1)
                begun.set()
        finally:
            connections.close_all()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        written = set()
        while runs := claims.claim("w", limit=3, using="default"):
            now = timezone.now()
            written |= outcomes.finish(
                [(run, Outcome("SUCCESSFUL", now, now)) for run in runs], using="default"
            )
        assert begun.wait(20)
    finally:
        ended.set()
        thread.join(20)

    assert {run_id for run_id, *_ in written} == set(fresh)
    assert ids() == fresh
