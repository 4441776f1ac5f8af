from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from django_jobs.models import Run
from django_jobs.operations.run_query import Criteria, bounds_of, id_bounds

NOW = timezone.now()


def fill(ids, enqueued_at):
    fields = {"job_id": "x", "name": "x", "func": "a:b", "payload": "", "signature": "", "kind": "immediate"}
    Run.objects.bulk_create(Run(pk=pk, enqueued_at=enqueued_at(pk), **fields) for pk in ids)


def chosen(criteria):
    bounds = bounds_of(criteria, using="default")
    return set(bounds.apply(criteria.apply(Run.objects.all())).values_list("pk", flat=True))


@pytest.mark.parametrize("count", [0, 1, 2, 40, 300])
@pytest.mark.parametrize("near", [1, 7, 5000])
def test_runs_of_a_time_are_found_by_their_ids(db, monkeypatch, count, near):
    monkeypatch.setattr(id_bounds, "NEAR", near)
    monkeypatch.setattr(id_bounds, "PROBES", 7)
    # With gaps, as pruning leaves them, and a large one.
    ids = [10 + i * 3 + (50_000 if i > count // 3 else 0) for i in range(count)]
    fill(ids, lambda pk: NOW - timedelta(hours=count - ids.index(pk)))

    for hours in (0, 1, count // 2, count, count + 1):
        moment = NOW - timedelta(hours=hours, minutes=-1)
        later = set(Run.objects.filter(enqueued_at__gte=moment).values_list("pk", flat=True))
        assert chosen(Criteria(since=moment)) == later
        assert chosen(Criteria(until=moment)) == set(ids) - later


def test_a_time_is_found_among_ten_million_ids_with_few_queries(db):
    fill([1, 2, 3, 10_000_000], lambda pk: NOW - timedelta(days=0 if pk > 3 else 9))

    with CaptureQueriesContext(connection) as queries:
        assert chosen(Criteria(since=NOW - timedelta(hours=1), until=NOW + timedelta(hours=1))) == {
            10_000_000
        }

    assert len(queries) <= 14


def test_a_time_is_found_in_a_history_without_gaps_with_two_queries_an_end(db, monkeypatch):
    monkeypatch.setattr(id_bounds, "NEAR", 30)
    monkeypatch.setattr(id_bounds, "PROBES", 30)
    fill(range(1, 901), lambda pk: NOW - timedelta(hours=901 - pk))

    with CaptureQueriesContext(connection) as queries:
        bounds_of(Criteria(since=NOW - timedelta(hours=500)), using="default")

    assert len(queries) <= 3
