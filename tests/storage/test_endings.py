"""What else is done in the transaction in which marked runs end."""

import pytest
from django.db import connection
from django.db.models import Q
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from django_jobs.models import Run
from django_jobs.storage import claims, endings, leases, outcomes, release, transitions
from django_jobs.storage.records import Outcome

pytestmark = pytest.mark.django_db

seen = []


def note(runs, *, using):
    assert connection.in_atomic_block
    seen.extend((run.run_id, run.status) for run in runs)


def refuse(runs, *, using):
    raise RuntimeError("no")


@pytest.fixture(autouse=True)
def marks(monkeypatch):
    seen.clear()
    monkeypatch.setattr(endings, "_when_ended", {})
    monkeypatch.setattr(endings, "_when_reopened", {})
    endings.when_ended("mark", f"{__name__}.note")
    endings.when_reopened("mark", f"{__name__}.note")


@pytest.fixture
def claimed(make_run, make_worker):
    make_worker(id="w")
    make_run(options={"mark": 1})
    make_run()
    return claims.claim("w", limit=9, using="default")


def _outcome(status, **more):
    return Outcome(status, timezone.now(), timezone.now(), **more)


@pytest.mark.parametrize("status", ["SUCCESSFUL", "FAILED", "READY"])
def test_a_marked_run_is_told_of_when_its_attempt_ends(claimed, status):
    outcome = _outcome(status, retry_in=9 if status == "READY" else None)
    assert len(outcomes.finish([(run, outcome) for run in claimed], using="default")) == 2
    assert seen == [(claimed[0].id, status)]


def test_an_outcome_that_is_refused_is_told_to_nobody(claimed):
    Run.objects.update(fence=1)
    assert outcomes.finish([(run, _outcome("FAILED")) for run in claimed], using="default") == set()
    assert seen == []


@pytest.mark.django_db(transaction=True)
def test_what_fails_undoes_the_end(claimed):
    endings.when_ended("mark", f"{__name__}.refuse")
    with pytest.raises(RuntimeError):
        outcomes.finish([(run, _outcome("FAILED")) for run in claimed], using="default")
    assert set(Run.objects.values_list("status", flat=True)) == {"RUNNING"}


def test_cancelled_lost_and_returned_runs_are_told_of(make_run, make_worker):
    make_worker(id="w", stopped_at=timezone.now())
    waiting = make_run(options={"mark": 1})
    make_run()
    transitions.cancel(Q(), using="default")
    assert seen == [(waiting.pk, "CANCELLED")]

    lost = make_run(options={"mark": 1}, status="RUNNING", worker_id="w")
    leases.rescue(max_rescues=0, using="default")
    assert seen[1:] == [(lost.pk, "FAILED")]

    returned = make_run(options={"mark": 1}, status="RUNNING", worker_id="v", attempt=1)
    assert release.release_claims("v", [(returned.pk, 1, 0)], using="default") == 1
    assert seen[2:] == [(returned.pk, "READY")]


def test_a_marked_run_that_is_retried_is_told_of(make_run):
    run = make_run(options={"mark": 1}, status="FAILED")
    assert transitions.retry(run.pk, using="default")
    assert seen == [(run.pk, "READY")]


def test_runs_without_marks_cost_no_statement_more(make_run, make_worker, monkeypatch):
    make_worker(id="w")
    make_run()
    make_run()
    first, second = claims.claim("w", limit=9, using="default")
    counts = []
    for run, mark in ((first, "mark"), (second, None)):
        if mark is None:
            monkeypatch.setattr(endings, "_when_ended", {})
        with CaptureQueriesContext(connection) as queries:
            outcomes.finish([(run, _outcome("SUCCESSFUL"))], using="default")
        counts.append(len(queries))

    assert counts[0] == counts[1]
    assert seen == []
