import json
import traceback
from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from django_jobs.models import Run
from django_jobs.operations import failures
from django_jobs.storage import error_keys, leases, outcomes, transitions
from django_jobs.texts.failures import place_of
from tests.many_rows import copy_row
from tests.storage.attempts import claim, outcome

pytestmark = pytest.mark.django_db


def raised(error):
    try:
        raise error  # noqa: TRY301 - for its traceback
    except Exception as caught:  # noqa: BLE001 - as a runner does
        return "".join(traceback.format_exception(caught))


@pytest.fixture
def make_failure(make_run):
    def make(error="ValueError: no", trace="", **fields):
        times = {"started_at": "2030-01-01T00:00:00+00:00", "finished_at": "2030-01-01T00:00:01+00:00"}
        entry = {"attempt": 1, "worker_id": "w", **times, "error": error, "traceback": trace, "exception": ""}
        return make_run(status="FAILED", error=error, errors=[entry], **fields)

    return make


def ago(**delta):
    return timezone.now() - timedelta(**delta)


def found_since(moment, most=10, steps=()):
    return failures.since(moment, most=most, steps=steps, using="default")


def test_failures_are_grouped_by_exception_and_place(make_failure, make_worker):
    trace = raised(ValueError('with "quotes" \\ and so on'))
    first = make_failure(
        "ValueError: first", trace, finished_at=ago(minutes=50), func="tests.probes.jobs:add"
    )
    make_failure("ValueError: second", trace, finished_at=ago(minutes=5))
    worker = make_worker(id="one", version="1.2.3")
    newest = make_failure("ValueError: third", trace, finished_at=ago(minutes=1), worker_id=worker.id)
    make_failure("ValueError: elsewhere", trace.replace("test_failures.py", "other.py"))
    make_failure("KeyError: 'x'", trace)

    found = found_since(ago(hours=1), steps=[ago(hours=1), ago(minutes=30)])

    assert (found.count, found.is_cut, found.more, len(found.groups)) == (5, False, 0, 3)
    one = found.groups[0]
    assert (one.exception, one.count, one.run_id, one.points) == ("ValueError", 3, newest.pk, [1, 2])
    assert one.place.startswith("operations/test_failures.py:")
    assert one.place.endswith(" raised")
    assert (one.message, one.version) == ("ValueError: third", "1.2.3")
    assert (one.first_at, one.last_at) == (first.finished_at, newest.finished_at)
    assert one.functions == {"tests.probes.jobs:add": 1, "tests.probes.jobs:nothing": 2}
    assert one.key == newest.error_key


def test_a_failure_without_a_traceback_is_placed_at_its_function(make_failure):
    make_failure("the worker died")

    (one,) = found_since(ago(hours=1)).groups

    assert (one.exception, one.place) == ("the worker died", "tests.probes.jobs:nothing")


def test_a_long_traceback_is_placed_where_it_ends(make_failure):
    make_failure(trace='  File "/far/away.py", line 1, in first\n' * 200 + raised(ValueError("no")))

    (one,) = found_since(ago(hours=1)).groups

    assert one.place.startswith("operations/test_failures.py:")


def test_older_failures_and_what_was_only_cancelled_are_left_out(make_failure, make_run):
    make_failure(finished_at=ago(hours=2))
    make_run(status="CANCELLED", error="Cancelled")

    assert found_since(ago(hours=1)).groups == []


def test_runs_that_failed_under_a_version_without_keys_are_counted_apart(make_failure):
    make_failure(error_key=None)
    make_failure("KeyError: 1")

    found = found_since(ago(hours=1))

    assert ([one.count for one in found.groups], found.count, found.unkeyed) == ([1], 2, 1)


def test_the_newest_are_counted_and_rare_ones_are_found_all_the_same(
    make_failure, monkeypatch, django_assert_num_queries
):
    monkeypatch.setattr(failures, "NEWEST", 2)
    rare = make_failure("KeyError: 1")
    make_failure("OSError: long ago", finished_at=ago(hours=3))
    for _ in range(3):
        make_failure()

    with django_assert_num_queries(5):
        found = found_since(ago(hours=1))

    assert (found.count, found.is_cut) == (2, True)
    assert [(one.exception, one.count, one.is_least) for one in found.groups] == [
        ("ValueError", 2, True),
        ("KeyError", 1, True),
    ]
    assert found.groups[1].run_id == rare.pk


def test_in_brief_one_query_is_enough(make_failure, monkeypatch, django_assert_num_queries):
    monkeypatch.setattr(failures, "NEWEST_IN_BRIEF", 2)
    make_failure("KeyError: 1")
    for number in range(2):
        newest = make_failure(f"ValueError: {number}", raised(ValueError("no")))

    with django_assert_num_queries(1):
        found = failures.since(ago(hours=1), most=9, is_full=False, using="default")

    (one,) = found.groups
    assert (one.count, one.is_least, found.is_cut, one.run_id) == (2, True, True, newest.pk)
    assert one.message == "ValueError: 1"
    assert one.place.startswith("operations/test_failures.py:")


def test_failures_before_the_time_are_no_more_of_them(make_failure, monkeypatch):
    monkeypatch.setattr(failures, "NEWEST", 2)
    make_failure(finished_at=ago(hours=2))
    make_failure(finished_at=ago(hours=2))
    make_failure()

    found = found_since(ago(hours=1))
    assert (found.count, found.is_cut) == (1, False)
    make_failure()
    found = found_since(ago(hours=1))
    assert (found.count, found.is_cut) == (2, False)


def test_groups_beyond_those_asked_for_are_counted(make_failure):
    for number in range(3):
        make_failure(f"ValueError{number}: no")

    found = found_since(ago(hours=1), most=2)

    assert (len(found.groups), found.more) == (2, 1)


def test_a_windows_path_keeps_its_last_parts():
    tail = json.dumps('File "C:\\app\\shop\\jobs.py", line 7, in send\n')

    assert failures._place_in(tail) == "shop/jobs.py:7 send"
    assert place_of("no frame") == ""


def test_every_key_is_found_with_its_first_and_newest_run(make_failure, django_assert_num_queries):
    runs = [make_failure(f"ValueError{number % 3}: no") for number in range(7)]

    with django_assert_num_queries(1):
        extents, has_more = error_keys.extents(5, using="default")

    assert not has_more
    assert sorted((one.error_key, one.first_id, one.last_id) for one in extents) == sorted(
        (runs[number].error_key, runs[number].pk, runs[last].pk) for number, last in ((0, 6), (1, 4), (2, 5))
    )
    two, has_more = error_keys.extents(2, using="default")
    assert (len(two), has_more) == (2, True)


def test_no_key_is_found_where_nothing_failed(make_run):
    make_run(status="SUCCESSFUL")

    assert error_keys.extents(5, using="default") == ([], False)


def test_failed_runs_and_their_keys_are_found_through_indexes(make_failure):
    if connection.vendor != "sqlite":
        pytest.skip("other databases decide by their statistics")
    make_failure()

    with CaptureQueriesContext(connection) as queries:
        found_since(ago(hours=1))
        list(failures.failed_with("x", "default").order_by("-pk")[:50])

    plans = []
    for query in (queries[0], queries[1], queries[-1]):
        with connection.cursor() as cursor:
            cursor.execute("EXPLAIN QUERY PLAN " + query["sql"])
            plans.append(" ".join(row[3] for row in cursor.fetchall()))
    assert "django_jobs_run_failed" in plans[0]
    assert "django_jobs_run_error_key" in plans[1]
    assert "django_jobs_run_error_key" in plans[2]
    assert not any("SCAN django_jobs_run" in plan or "SCAN r" in plan for plan in plans)
    assert not any("TEMP B-TREE" in plan for plan in plans)


def test_postgresql_looks_for_a_key_by_the_first_column_of_its_index(make_failure):
    if connection.vendor != "postgresql":
        pytest.skip("it is about PostgreSQL, which leaves out what an index's condition implies")
    make_failure()

    with CaptureQueriesContext(connection) as queries:
        list(failures.failed_with("x", "default").order_by("-pk")[:50])
        error_keys.extents(5, using="default")

    with connection.cursor() as cursor:
        # A few rows cost the same by any index.
        copy_row(Run.objects.get(), 2000, error_key="'key ' || MOD(n, 50)")
        cursor.execute("ANALYZE django_jobs_run")
    for query in queries:
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL enable_seqscan = off")
            cursor.execute("EXPLAIN " + query["sql"])
            plan = "\n".join(row[0] for row in cursor.fetchall())
        assert "django_jobs_run_error_key" in plan
        assert "Index Cond: (error_key" in plan.replace("((", "(")
        assert "Seq Scan" not in plan


def keys_of(run):
    return Run.objects.values_list("status", "error_key").get(pk=run.pk)


def test_a_key_comes_with_the_failure_and_goes_with_the_retry(make_run, make_worker):
    make_worker(id="w")
    trace, elsewhere = raised(ValueError("no")), raised(ValueError("no")).replace("raised", "other")
    ends = [
        outcome("FAILED", error="ValueError: 1", exception="builtins.ValueError", traceback=trace),
        outcome("FAILED", error="ValueError: 2", exception="builtins.ValueError", traceback=trace),
        outcome("FAILED", error="ValueError: 3", exception="builtins.ValueError", traceback=elsewhere),
        outcome("READY", error="ValueError: 4", traceback=trace, retry_in=1.0),
        outcome("SUCCESSFUL"),
    ]
    runs = [make_run(priority=-number) for number in range(5)]
    claimed = {run.id: run for run in claim()}

    outcomes.finish([(claimed[run.pk], end) for run, end in zip(runs, ends, strict=True)], using="default")

    first, second, third, again, well = map(keys_of, runs)
    assert first == second != third
    assert (again, well) == (("READY", None), ("SUCCESSFUL", None))
    assert transitions.retry(runs[0].pk, using="default")
    assert keys_of(runs[0]) == ("READY", None)


def test_a_run_whose_worker_died_too_often_has_a_key(make_run, make_worker):
    run = make_run(status="RUNNING", worker_id="dead")
    make_worker(id="dead", lease_expires_at=ago(minutes=1))

    leases.rescue(max_rescues=0, using="default")

    status, key = keys_of(run)
    assert status == "FAILED"
    assert len(key) == 32
