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
