import pytest
from django.db import connection
from django.db.models import Q
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from django_jobs import signals
from django_jobs.models import Run, Status
from django_jobs.storage import enqueue, release, transitions
from tests.storage.attempts import claim, new_run

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("workers")]


def test_a_release_undoes_a_claim(make_run):
    made = make_run()
    (run,) = claim()

    assert release.release_claims("w", [run.key], using="default") == 1

    row = Run.objects.get(pk=made.pk)
    assert (row.status, row.attempt, row.worker_id, row.started_at) == (Status.READY, 0, "", None)


def test_plain_runs_are_released_by_one_statement(make_run):
    make_run()
    make_run()
    keys = [run.key for run in claim()]

    with CaptureQueriesContext(connection) as queries:
        assert release.release_claims("w", keys, are_marked=False, using="default") == 2

    assert sum("django_jobs_run" in query["sql"] for query in queries) == 1


def test_a_run_that_was_to_be_cancelled_is_not_released(make_run, django_capture_on_commit_callbacks):
    make_run(job_id="asked", unique_key="i:x")
    make_run(job_id="unasked")
    keys = [run.key for run in claim()]
    transitions.cancel(Q(job_id="asked"), using="default")
    told = []
    signals.runs_cancelled.connect(listener := lambda runs, **_: told.extend(runs))

    try:
        with django_capture_on_commit_callbacks(execute=True):
            assert release.release_claims("w", keys, using="default") == 2
    finally:
        signals.runs_cancelled.disconnect(listener)

    asked = Run.objects.get(job_id="asked")
    assert (asked.status, asked.unique_key) == (Status.CANCELLED, None)
    assert asked.finished_at is not None
    assert [pk for pk, _ in told] == [asked.pk]
    assert Run.objects.get(job_id="unasked").status == Status.READY


def test_a_release_leaves_another_attempt_of_the_same_worker_alone(make_run):
    make_run()
    (run,) = claim()

    assert release.release_claims("w", [(run.id, run.attempt + 1, run.fence)], using="default") == 0
    assert Run.objects.get().status == Status.RUNNING


def test_what_is_paused_while_it_runs_is_held_when_it_is_released():
    enqueue.insert([new_run("paused"), new_run("other")])
    runs = claim()
    transitions.hold(Q(job_id="paused"), using="default")

    assert release.release_claims("w", [run.key for run in runs], using="default") == 2

    states = {run.job_id: run.state for run in Run.objects.all()}
    assert states == {"paused": "paused", "other": "ready"}
    assert Run.objects.get(job_id="paused").held_run_after <= timezone.now()
