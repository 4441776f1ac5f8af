import base64
import json
from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from django_jobs.operations import listing
from django_jobs.operations.run_query import pages as run_pages
from django_jobs.storage.tables import RUN_TABLE
from tests.many_rows import analyze, copy_row

pytestmark = pytest.mark.django_db


@pytest.fixture
def everything(make_job, make_run):
    """A job or two runs of every status, and the ids of each in the order that pages should have."""
    now = timezone.now()
    make_job(id="later", next_run_time=now + timedelta(hours=2))
    make_job(id="soon", next_run_time=now + timedelta(hours=1))
    make_job(id="also soon", next_run_time=now + timedelta(hours=1))
    make_job(id="paused job", next_run_time=None)
    make_job(id="broken job", broken_reason="cannot be read", queue_name="mail")
    make_run(job_id="low", priority=-5)
    make_run(job_id="deferred", run_after=now + timedelta(hours=1), queue_name="mail")
    make_run(job_id="first", run_after=now - timedelta(hours=1))
    make_run(job_id="second", run_after=now - timedelta(hours=1))
    make_run(job_id="high", priority=5)
    make_run(job_id="held", run_after=None)
    make_run(job_id="held high", run_after=None, priority=9)
    make_run(job_id="unreadable", run_after=None, error="BadPayload: no")
    make_run(job_id="dependent", run_after=None, waits_for="dependency")
    make_run(job_id="limited", run_after=None, waits_for="limit", priority=3)
    make_run(job_id="executes", status="RUNNING")
    make_run(job_id="executes too", status="RUNNING", func="tests.probes.jobs:mark")
    for status in ("SUCCESSFUL", "FAILED", "CANCELLED", "SKIPPED"):
        make_run(job_id=f"{status.lower()} 1", status=status)
        make_run(job_id=f"{status.lower()} 2", status=status, queue_name="mail")
    return {
        "running": ["executes", "executes too"],
        "queued": ["high", "first", "second", "deferred", "low"],
        "blocked": ["limited", "dependent"],
        "scheduled": ["also soon", "soon", "later"],
        "paused": ["paused job", "held high", "held"],
        "broken": ["broken job", "unreadable"],
        **{name: [f"{name} 2", f"{name} 1"] for name in ("successful", "failed", "cancelled", "skipped")},
        "finished": [
            f"{name} {number}"
            for name in ("skipped", "cancelled", "failed", "successful")
            for number in (2, 1)
        ],
    }


def ids(page):
    return [entry["id"] for entry in page["entries"]]


def in_order(everything, statuses):
    return [name for status in statuses for name in everything[status]]


def walk(*arguments, limit, **options):
    """All entries of all pages, and how many pages there were."""
    found, after, pages = [], None, 0
    while True:
        page = listing.page(*arguments, limit=limit, after=after, **options)
        assert len(page["entries"]) <= limit
        found += ids(page)
        after = page["next"]
        pages += 1
        assert pages < 100
        if after is None:
            return found, pages


@pytest.mark.parametrize("status", listing.STATUSES)
def test_each_status_has_its_own_in_the_order_they_will_run_or_ended(status, everything):
    page = listing.page([status])

    assert ids(page) == everything[status]
    assert page["next"] is None
    words = {
        "finished": {"successful", "failed", "cancelled", "skipped"},
        "blocked": {"limited", "dependent"},
    }
    assert {entry["status"] for entry in page["entries"]} == words.get(status, {status})


def test_what_is_blocked_says_what_it_waits_for_without_a_query(everything, django_assert_num_queries):
    entries = listing.page(["blocked"])["entries"]

    with django_assert_num_queries(0):
        why = listing.why_due(entries)

    assert [why[entry["run_id"]] for entry in entries] == ["waits for its limit", "waits for other runs"]


def test_the_default_is_what_is_still_to_run(everything):
    assert ids(listing.page()) == in_order(everything, listing.UNFINISHED)


@pytest.mark.parametrize("limit", [1, 2, 3, 7])
def test_pages_lose_nothing_and_repeat_nothing(limit, everything):
    statuses = [status for status in listing.STATUSES if status != "finished"]

    found, pages = walk(statuses, limit=limit)

    assert found == in_order(everything, statuses)
    assert pages == -(-len(found) // limit)


@pytest.mark.parametrize("limit", [1, 3])
def test_pages_of_the_history_go_on_where_the_last_ended_whatever_was_added_since(
    limit, everything, make_run
):
    first = listing.page(["finished"], limit=limit)
    make_run(job_id="new", status="FAILED")

    rest = listing.page(["finished"], limit=100, after=first["next"])

    assert ids(first) + ids(rest) == everything["finished"]


def test_queues_functions_and_jobs_can_be_chosen(everything, make_run):
    assert ids(listing.page(queues=["mail"])) == ["deferred", "broken job"]
    assert len(listing.page(queues=["mail", "default"])["entries"]) == len(listing.page()["entries"])
    assert ids(listing.page(func="tests.probes.jobs:mark")) == ["executes too"]
    assert ids(listing.page(func="tests.probes", queues=["mail"])) == ["deferred", "broken job"]
    make_run(job_id="soon", status="FAILED")
    make_run(job_id="soon", status="SUCCESSFUL")
    assert ids(listing.page(job_id="soon")) == ["soon"]
    assert [entry["status"] for entry in listing.page(["finished"], job_id="soon")["entries"]] == [
        "successful",
        "failed",
    ]


def test_a_page_looks_at_a_bounded_part_of_the_history_and_says_where_to_go_on(make_run, monkeypatch):
    monkeypatch.setattr(run_pages, "LOOKED_AT", 10)
    wanted = make_run(job_id="wanted", status="SUCCESSFUL", queue_name="rare")
    for _ in range(25):
        make_run(status="SUCCESSFUL")

    page = listing.page(["successful"], queues=["rare"], limit=5)

    assert page["entries"] == []
    assert page["next"] is not None
    found, pages = walk(["successful"], queues=["rare"], limit=5)
    assert found == [wanted.job_id]
    assert pages == 3


def test_what_a_job_last_did_is_part_of_its_entry(make_job, make_run):
    run = make_run(job_id="nightly", status="FAILED", error="ValueError: no", kind="recurring")
    make_job(id="nightly", last_run_id=run.pk)

    (entry,) = listing.page()["entries"]

    assert entry["run_id"] is None
    assert entry["last_run"]["id"] == run.pk
    assert entry["error"] == "ValueError: no"
    assert listing.page(["failed"])["entries"][0]["run_id"] == run.pk


@pytest.mark.parametrize("count", [1, 40])
def test_a_page_costs_a_query_for_each_part_whatever_there_is(
    count, make_job, make_run, django_assert_num_queries
):
    for _ in range(count):
        run = make_run(status="RUNNING")
        make_job(last_run_id=run.pk)

    # Six statuses, two of them of jobs and of runs; then the last runs of the jobs.
    with django_assert_num_queries(9):
        listing.page(limit=100)


def test_a_place_deep_in_the_queue_is_found_through_ranges_of_the_index(make_run):
    now = timezone.now()
    for number in range(6):
        make_run(job_id=f"{number}", run_after=now + timedelta(seconds=number // 2))
    after = listing.page(["queued"], limit=3)["next"]

    with CaptureQueriesContext(
        connection,
    ) as queries:
        page = listing.page(["queued"], limit=3, after=after)

    assert ids(page) == ["3", "4", "5"]
    assert not [query["sql"] for query in queries if " OR " in query["sql"]]


# MariaDB commits when it is asked to look at its tables.
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("status", [status for status in listing.STATUSES if status != "scheduled"])
def test_a_page_of_runs_needs_no_sorting_and_no_scan_of_the_history(status, make_run):
    counts = {"FAILED": 30, "READY": 1500, "CANCELLED": 30, "SUCCESSFUL": 5000}
    for state, count in counts.items():
        copy_row(make_run(status=state), count)
    analyze(RUN_TABLE)

    with CaptureQueriesContext(connection) as queries:
        listing.page([status])
    # Without the first and the last id of all runs.
    statements = [q["sql"] for q in queries if "LIMIT" in q["sql"] and "name" in q["sql"]]

    assert statements
    for statement in statements:
        text = plan(statement)
        assert "Seq Scan on django_jobs_run" not in text, text
        # Held and running runs are few, and sorted.
        if status in {"queued", "successful", "finished"}:
            assert "TEMP B-TREE" not in text, text
            assert "filesort" not in text, text
        if connection.vendor == "sqlite" and 'FROM "django_jobs_run"' in statement:
            assert "SEARCH" in text, text


def plan(statement):
    prefix = "EXPLAIN QUERY PLAN " if connection.vendor == "sqlite" else "EXPLAIN "
    with connection.cursor() as cursor:
        cursor.execute(prefix + statement)
        return "\n".join(" ".join(map(str, row)) for row in cursor.fetchall())


def cursor(*values):
    return base64.urlsafe_b64encode(json.dumps(values).encode()).decode()


@pytest.mark.parametrize(
    "after",
    ["!", "nonsense", "ä", cursor("failed", 1), cursor("queued", 1), cursor("queued", 1, "yesterday", 1),
     cursor("queued", "x", "2026-01-01T00:00:00+00:00", 1), cursor("queued", 1, None, [1]), cursor()],
)  # fmt: skip
def test_a_place_that_no_list_named_is_refused(after):
    with pytest.raises(ValueError, match="is not where a list of these statuses ended"):
        listing.page(["queued"], after=after)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"statuses": ["done"]}, "no such status as 'done'; they are running"), ({"limit": 0}, "at least 1")],
)
def test_what_makes_no_sense_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        listing.page(**options)


def test_the_runs_of_a_job_come_newest_first(make_run):
    runs = [make_run(job_id="nightly", status="FAILED") for _ in range(3)]
    make_run(job_id="other")

    assert [run["id"] for run in listing.runs_of("nightly", limit=2)] == [runs[2].pk, runs[1].pk]


def test_a_run_is_shown_with_its_log_and_its_errors(make_run):
    row = make_run(job_id="nightly", status="FAILED", log="began", errors=[{"attempt": 1, "error": "no"}])

    run = listing.run(row.pk)

    assert (run["job_id"], run["log"], run["errors"]) == ("nightly", "began", [{"attempt": 1, "error": "no"}])
    assert listing.run(row.pk + 1) is None


def test_ids_that_look_like_a_mistyped_one_are_found(make_job):
    for name in ("nightly", "weekly", "count-often"):
        make_job(id=name)

    assert listing.similar_ids("nigthly") == ["nightly"]
    assert listing.similar_ids("zzz") == []
