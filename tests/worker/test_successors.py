"""Runs of a limit's key follow each other on one worker."""

import pytest
from django.db import OperationalError

from django_jobs import Limit
from django_jobs.models import Run
from django_jobs.storage import claims
from django_jobs.worker import successors
from django_jobs.worker.consumers import Consumer


@pytest.fixture
def claimed(monkeypatch):
    """How many runs each claim found."""
    counts = []
    claim = claims.claim

    def counted(*args, **kwargs):
        runs = claim(*args, **kwargs)
        counts.append(len(runs))
        return runs

    monkeypatch.setattr(claims, "claim", counted)
    return counts


@pytest.fixture
def short(monkeypatch):
    """Have a worker take runs for short, however long a busy machine needs for them."""
    monkeypatch.setattr(Consumer, "note", lambda *args: None)
    monkeypatch.setattr(Consumer, "_prefetch", 50)


def add(manager, function, count, concurrency=10):
    return manager.using(limit=Limit("k", concurrency=concurrency)).add_many([(function, ())] * count)


def are_over(ids):
    return Run.objects.filter(job_id__in=ids, status="SUCCESSFUL", attempt=1).count() == len(ids)


def test_short_runs_of_a_key_follow_each_other_without_claims(serve, manager, probes, claimed, short, until):
    ids = add(manager, probes.nothing, 150)

    serve(threads=4, clock=False)

    until(lambda: are_over(ids), timeout=60)
    assert sum(claimed) < 75, claimed


def test_what_becomes_due_is_claimed_beside_a_key_whose_runs_follow_each_other(
    serve, manager, probes, short, until
):
    serve(threads=2, clock=False)
    add(manager, probes.nothing, 1500)
    until(lambda: Run.objects.filter(status="SUCCESSFUL").count() > 50, timeout=60)

    manager.wait(manager.add_immediate_job(probes.nothing), 30)

    assert Run.objects.ready().filter(waits_for="limit").exists()


def test_what_may_have_followed_as_the_connection_was_lost_is_looked_for(serve, monkeypatch):
    def lost(*args, **kwargs):
        raise OperationalError("the connection is lost")

    service = serve(threads=2, clock=False)
    worker = service.worker
    monkeypatch.setattr(successors, "recording", type("Lost", (), {"record": staticmethod(lost)}))
    follower = successors.Follower(worker.id, successors.Scope(), 1)
    monkeypatch.setattr(worker.successors, "_follower", lambda: follower)
    run = Run(options={"limit": {}})

    with pytest.raises(OperationalError):
        worker.successors.record([(run, None)])

    assert follower.fence in worker.local_start._unanswered
    assert not worker.successors.is_claiming


def test_a_worker_that_stops_returns_what_follows(serve, monkeypatch):
    returned = []
    service = serve(threads=2, clock=False)
    worker = service.worker
    follower = successors.Follower(worker.id, successors.Scope(), 1)
    follower.runs.append("a run")
    monkeypatch.setattr(worker.release, "claims", returned.extend)
    monkeypatch.setattr(type(worker), "is_stopping", True)

    worker.successors._begin(follower)

    assert returned == ["a run"]
