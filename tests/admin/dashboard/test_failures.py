import json
import traceback
from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from django_jobs.admin.dashboard import failures

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
        entry = {
            "attempt": 1,
            "worker_id": "w",
            **times,
            "error": error,
            "traceback": trace,
            "exception": "x",
        }
        return make_run(status="FAILED", error=error, errors=[entry], **fields)

    return make


def ago(**delta):
    return timezone.now() - timedelta(**delta)


def test_failures_are_grouped_by_exception_and_place(make_failure):
    trace = raised(ValueError('with "quotes" \\ and so on'))
    make_failure("ValueError: first", trace, finished_at=ago(minutes=5))
    newest = make_failure("ValueError: second", trace, finished_at=ago(minutes=1))
    make_failure("ValueError: elsewhere", trace.replace("test_failures.py", "other.py"))
    make_failure("KeyError: 'x'", trace)

    found = failures.since(ago(hours=1))

    assert found.count == 4
    assert not found.is_cut
    assert len(found.groups) == 3
    first = found.groups[0]
    assert (first.exception, first.count, first.run_id) == ("ValueError", 2, newest.pk)
    assert first.place.startswith("dashboard/test_failures.py:")
    assert first.place.endswith(" raised")
    assert first.message == "ValueError: second"
    assert first.last_at == newest.finished_at


def test_a_failure_without_a_traceback_is_placed_at_its_function(make_failure):
    make_failure("the worker died")

    (one,) = failures.since(ago(hours=1)).groups

    assert (one.exception, one.place) == ("the worker died", "tests.probes.jobs:nothing")


def test_a_long_traceback_is_placed_where_it_ends(make_failure):
    make_failure(trace='  File "/far/away.py", line 1, in first\n' * 200 + raised(ValueError("no")))

    (one,) = failures.since(ago(hours=1)).groups

    assert one.place.startswith("dashboard/test_failures.py:")


def test_older_failures_and_what_was_only_cancelled_are_left_out(make_failure, make_run):
    make_failure(finished_at=ago(hours=2))
    make_run(status="CANCELLED", error="Cancelled")

    assert failures.since(ago(hours=1)).groups == []


def test_only_the_newest_are_looked_at_and_that_is_said(make_failure, monkeypatch, django_assert_num_queries):
    monkeypatch.setattr(failures, "NEWEST", 2)
    for _ in range(3):
        make_failure()

    with django_assert_num_queries(1):
        found = failures.since(ago(hours=1))

    assert (found.count, found.is_cut) == (2, True)


def test_failures_before_the_time_are_no_more_of_them(make_failure, monkeypatch):
    monkeypatch.setattr(failures, "NEWEST", 2)
    make_failure(finished_at=ago(hours=2))
    make_failure(finished_at=ago(hours=2))
    make_failure()

    found = failures.since(ago(hours=1))
    assert (found.count, found.is_cut) == (1, False)
    make_failure()
    found = failures.since(ago(hours=1))
    assert (found.count, found.is_cut) == (2, False)


def test_a_windows_path_keeps_its_last_parts():
    tail = json.dumps('File "C:\\app\\shop\\jobs.py", line 7, in send\n')

    assert failures.place_of(tail) == "shop/jobs.py:7 send"


def test_the_failed_runs_are_found_through_their_index(make_failure):
    if connection.vendor != "sqlite":
        pytest.skip("other databases decide by their statistics")
    make_failure()

    with CaptureQueriesContext(connection) as queries:
        failures.since(ago(hours=1))

    with connection.cursor() as cursor:
        cursor.execute("EXPLAIN QUERY PLAN " + queries[0]["sql"])
        plan = " ".join(row[3] for row in cursor.fetchall())
    assert "django_jobs_run_failed" in plan
    assert "TEMP B-TREE" not in plan
