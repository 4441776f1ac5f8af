import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from django_jobs.models import Run, Status
from django_jobs.operations.run_query import Criteria, pages, walk


def walked(criteria, **options):
    return [pk for ids, _ in walk(criteria, using="default", **options) for pk in ids]


@pytest.mark.parametrize("newest_first", [False, True])
@pytest.mark.parametrize("window", [1, 3, 50_000])
@pytest.mark.parametrize("size", [1, 2, 100])
def test_a_walk_meets_every_run_once_in_order(make_run, monkeypatch, newest_first, window, size):
    monkeypatch.setattr(pages, "LOOKED_AT", window)
    runs = [make_run(status=Status.FAILED if i % 3 else Status.READY).pk for i in range(10)]
    order = reversed if newest_first else list

    assert walked(Criteria(), size=size, newest_first=newest_first) == list(order(runs))
    failed = [pk for i, pk in enumerate(runs) if i % 3]
    assert walked(Criteria(status="FAILED"), size=size, newest_first=newest_first) == list(order(failed))
    assert walked(Criteria(), size=size, newest_first=newest_first, up_to=runs[4]) == list(order(runs[:5]))


def test_a_walk_says_how_far_it_is(make_run, monkeypatch):
    monkeypatch.setattr(pages, "LOOKED_AT", 4)
    for _ in range(10):
        make_run()

    ways = [way for _, way in walk(Criteria(), size=2, using="default")]

    assert ways == sorted(ways)
    assert ways[-1] == 1
    assert all(0 < way <= 1 for way in ways)


def test_a_walk_through_no_runs_ends(db):
    assert walked(Criteria(), size=5) == []


def test_a_walk_with_a_condition_that_changes_meanwhile_meets_the_rest(make_run):
    runs = [make_run(status=Status.FAILED).pk for _ in range(5)]
    met = []

    for ids, _ in walk(Criteria(status="FAILED"), size=2, using="default"):
        met += ids
        Run.objects.filter(pk__in=ids).update(status=Status.READY)

    assert met == runs


@pytest.mark.parametrize("status", [Status.FAILED, Status.CANCELLED, Status.SKIPPED])
def test_a_walk_through_one_status_goes_along_its_index_on_sqlite(make_run, status):
    if connection.vendor != "sqlite":
        pytest.skip("other databases decide by their statistics")
    make_run(status=status)

    with CaptureQueriesContext(connection) as queries:
        walked(Criteria(status=status), size=10)

    plan = explain(queries[-1]["sql"])
    assert "django_jobs_run_failed" in plan
    assert "TEMP B-TREE" not in plan


def test_a_walk_through_waiting_runs_goes_along_their_ids_on_sqlite(make_run):
    if connection.vendor != "sqlite":
        pytest.skip("other databases decide by their statistics")
    run = make_run()

    # As it is executed: what a test captures has the parameters in its text, and another plan.
    runs = Criteria(status="READY").apply(Run.objects.all(), by_id=True)
    plan = runs.filter(pk__gte=run.pk, pk__lt=run.pk + 50).order_by("pk").values("pk")[:10].explain()

    assert "USING INTEGER PRIMARY KEY" in plan
    assert "TEMP B-TREE" not in plan


def explain(sql):
    with connection.cursor() as cursor:
        cursor.execute("EXPLAIN QUERY PLAN " + sql)
        return " ".join(row[3] for row in cursor.fetchall())
