from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from django_jobs.models import Run, Status
from django_jobs.operations import selection
from django_jobs.operations.selection import Selection

NOW = timezone.now()


def fill(ids, enqueued_at):
    fields = {"job_id": "x", "name": "x", "func": "a:b", "payload": "", "signature": "", "kind": "immediate"}
    Run.objects.bulk_create(Run(pk=pk, enqueued_at=enqueued_at(pk), **fields) for pk in ids)


def chosen(wanted, **options):
    bounds = selection.bounds_of(wanted, using="default")
    return set(wanted.apply(Run.objects.all(), bounds, **options).values_list("pk", flat=True))


def walked(wanted, **options):
    return [pk for ids, _ in selection.walk(wanted, using="default", **options) for pk in ids]


@pytest.mark.parametrize("count", [0, 1, 2, 40, 300])
@pytest.mark.parametrize("near", [1, 7, 5000])
def test_runs_of_a_time_are_found_by_their_ids(db, monkeypatch, count, near):
    monkeypatch.setattr(selection, "NEAR", near)
    monkeypatch.setattr(selection, "PROBES", 7)
    # With gaps, as pruning leaves them, and a large one.
    ids = [10 + i * 3 + (50_000 if i > count // 3 else 0) for i in range(count)]
    fill(ids, lambda pk: NOW - timedelta(hours=count - ids.index(pk)))

    for hours in (0, 1, count // 2, count, count + 1):
        moment = NOW - timedelta(hours=hours, minutes=-1)
        later = set(Run.objects.filter(enqueued_at__gte=moment).values_list("pk", flat=True))
        assert chosen(Selection(since=moment)) == later
        assert chosen(Selection(until=moment)) == set(ids) - later


def test_a_time_is_found_among_ten_million_ids_with_few_queries(db):
    fill([1, 2, 3, 10_000_000], lambda pk: NOW - timedelta(days=0 if pk > 3 else 9))

    with CaptureQueriesContext(connection) as queries:
        assert chosen(Selection(since=NOW - timedelta(hours=1), until=NOW + timedelta(hours=1))) == {
            10_000_000
        }

    assert len(queries) <= 14


def test_a_time_is_found_in_a_history_without_gaps_with_two_queries_an_end(db, monkeypatch):
    monkeypatch.setattr(selection, "NEAR", 30)
    monkeypatch.setattr(selection, "PROBES", 30)
    fill(range(1, 901), lambda pk: NOW - timedelta(hours=901 - pk))

    with CaptureQueriesContext(connection) as queries:
        selection.bounds_of(Selection(since=NOW - timedelta(hours=500)), using="default")

    assert len(queries) <= 3


def test_a_selection_comes_back_from_json_as_it_was(db):
    wanted = Selection(status="FAILED", queue="mail", error="x", since=NOW, until=NOW)

    assert Selection.from_plain(wanted.plain()) == wanted
    assert Selection().plain() == {}
    with pytest.raises(ValueError, match="cannot be selected by 'qeue'"):
        Selection.from_plain({"qeue": "mail"})


def test_a_word_is_a_job_or_a_number_before_it_is_a_function(make_run):
    run = make_run(job_id="a", func="b.c:d")

    assert chosen(Selection().asked_for("a", using="default")) == {run.pk}
    assert chosen(Selection().asked_for(str(run.pk), using="default")) == {run.pk}
    assert Selection().asked_for(" b.c", using="default") == Selection(func_start="b.c")
    assert Selection().asked_for("  ", using="default") == Selection()


@pytest.mark.parametrize("newest_first", [False, True])
@pytest.mark.parametrize("window", [1, 3, 50_000])
@pytest.mark.parametrize("size", [1, 2, 100])
def test_a_walk_meets_every_run_once_in_order(make_run, monkeypatch, newest_first, window, size):
    monkeypatch.setattr(selection, "WINDOW", window)
    runs = [make_run(status=Status.FAILED if i % 3 else Status.READY).pk for i in range(10)]
    order = reversed if newest_first else list

    assert walked(Selection(), size=size, newest_first=newest_first) == list(order(runs))
    failed = [pk for i, pk in enumerate(runs) if i % 3]
    assert walked(Selection(status="FAILED"), size=size, newest_first=newest_first) == list(order(failed))
    assert walked(Selection(), size=size, newest_first=newest_first, up_to=runs[4]) == list(order(runs[:5]))


def test_a_walk_says_how_far_it_is(make_run, monkeypatch):
    monkeypatch.setattr(selection, "WINDOW", 4)
    for _ in range(10):
        make_run()

    ways = [way for _, way in selection.walk(Selection(), size=2, using="default")]

    assert ways == sorted(ways)
    assert ways[-1] == 1
    assert all(0 < way <= 1 for way in ways)


def test_a_walk_through_no_runs_ends(db):
    assert walked(Selection(), size=5) == []


def test_a_walk_with_a_condition_that_changes_meanwhile_meets_the_rest(make_run):
    runs = [make_run(status=Status.FAILED).pk for _ in range(5)]
    met = []

    for ids, _ in selection.walk(Selection(status="FAILED"), size=2, using="default"):
        met += ids
        Run.objects.filter(pk__in=ids).update(status=Status.READY)

    assert met == runs


@pytest.mark.parametrize("status", [Status.FAILED, Status.CANCELLED, Status.SKIPPED])
def test_a_walk_through_one_status_goes_along_its_index_on_sqlite(make_run, status):
    if connection.vendor != "sqlite":
        pytest.skip("other databases decide by their statistics")
    make_run(status=status)

    with CaptureQueriesContext(connection) as queries:
        walked(Selection(status=status), size=10)

    plan = explain(queries[-1]["sql"])
    assert "django_jobs_run_failed" in plan
    assert "TEMP B-TREE" not in plan


def test_a_walk_through_waiting_runs_goes_along_their_ids_on_sqlite(make_run):
    if connection.vendor != "sqlite":
        pytest.skip("other databases decide by their statistics")
    run = make_run()

    # As it is executed: what a test captures has the parameters in its text, and another plan.
    runs = Selection(status="READY").apply(Run.objects.all(), by_id=True)
    plan = runs.filter(pk__gte=run.pk, pk__lt=run.pk + 50).order_by("pk").values("pk")[:10].explain()

    assert "USING INTEGER PRIMARY KEY" in plan
    assert "TEMP B-TREE" not in plan


def explain(sql):
    with connection.cursor() as cursor:
        cursor.execute("EXPLAIN QUERY PLAN " + sql)
        return " ".join(row[3] for row in cursor.fetchall())
