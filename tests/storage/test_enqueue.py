from datetime import timedelta

import pytest
from django.db import IntegrityError, transaction
from django.utils import timezone

from django_jobs.models import Run, Status
from django_jobs.storage import enqueue
from tests.storage.attempts import new_run

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("workers")]


def test_enqueue_is_one_statement_and_returns_the_ids(django_assert_num_queries):
    with django_assert_num_queries(1):
        ids = enqueue.insert([new_run("a"), new_run("b")])

    assert [run.job_id for run in Run.objects.filter(id__in=ids).order_by("id")] == ["a", "b"]
    assert ids == sorted(ids)


def test_enqueue_fills_in_the_databases_time():
    (run_id,) = enqueue.insert([new_run()])

    run = Run.objects.get(id=run_id)
    assert abs(run.enqueued_at - timezone.now()) < timedelta(seconds=5)
    assert run.run_after == run.enqueued_at or abs(run.run_after - run.enqueued_at) < timedelta(
        milliseconds=5
    )
    assert run.status == Status.READY
    assert run.attempt == 0


def test_a_unique_key_is_taken_once():
    enqueue.insert([new_run(unique_key="k")])

    with pytest.raises(IntegrityError), transaction.atomic():
        enqueue.insert([new_run(unique_key="k")])


def test_runs_that_differ_in_everything_are_inserted_together_as_they_are():
    at = timezone.now().replace(microsecond=0)
    made = [
        new_run(job_id="a", queue_name="x", priority=5, options={"timeout": 3, "tags": ["ü", "'"]}),
        new_run(job_id="b", unique_key="k", scheduled_at=at),
        new_run(job_id="c"),
    ]

    made[1].payload = '{"args": ["\u00e9 %s"], "kwargs": {}}'

    ids = enqueue.insert(made, using="default")

    rows = list(Run.objects.order_by("id"))
    assert not ids or ids == [row.id for row in rows]
    for run, row in zip(made, rows, strict=True):
        for name in (
            "job_id",
            "queue_name",
            "priority",
            "options",
            "unique_key",
            "scheduled_at",
            "payload",
            "fence",
        ):
            assert getattr(row, name) == getattr(run, name)
        assert (row.status, row.attempt, row.rescues, row.log, row.started_at) == ("READY", 0, 0, "", None)
        assert row.run_after == row.enqueued_at
