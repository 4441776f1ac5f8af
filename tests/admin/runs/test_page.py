import re
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from django_jobs import codec
from django_jobs.admin import RunAdmin
from django_jobs.models import LogChunk, Run, Status
from django_jobs.operations.run_query import WAITING
from django_jobs.operations.run_query import pages as run_pages
from django_jobs.registry import log_lines
from tests.admin.pages import text_of, unescaped_text_of

# The beginning of a column, on each database.
BEGINNING = re.compile(r"(?:SUBSTR|LEFT)\([^)]*\)", re.IGNORECASE)
HOSTILE = "<script>alert('x')</script>"
# Session and user, and what the pages ask for.
LIST_QUERIES, PAGE_QUERIES = 7, 15


def ids_of(response):
    assert response.status_code == 200
    return [run.pk for run in response.context["cl"].result_list]


def test_the_list_shows_newest_runs_first_with_their_state(root, list_url, make_run):
    now = timezone.now()
    first = make_run(
        job_id="first", status=Status.SUCCESSFUL, started_at=now, finished_at=now + timedelta(seconds=2)
    )
    second = make_run(job_id="second", status=Status.FAILED, error="ValueError: " + "x" * 500)
    third = make_run(job_id="third", run_after=None)

    response = root.get(list_url("run"))

    assert ids_of(response) == [third.pk, second.pk, first.pk]
    text = text_of(response)
    assert "Successful" in text
    assert "2.0 s" in text
    assert "Paused" in text
    assert "ValueError: xxx" in text
    assert "x" * 500 not in text


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"status": Status.RUNNING, "cancel_requested": True}, "Stopping"),
        ({"run_after": None, "error": "BadPayload: signed with another key"}, "Broken"),
        ({"run_after": None, "held_run_after": timezone.now(), "error": "ValueError: no"}, "Paused"),
        ({"run_after": timezone.now() + timedelta(days=1)}, "Deferred"),
        ({"run_after": None, "waits_for": "dependency"}, "Waiting for other runs"),
    ],
)
def test_a_run_that_waits_for_something_says_for_what(root, list_url, make_run, fields, word):
    make_run(**fields)

    assert f">{word}</span>" in text_of(root.get(list_url("run")))


@pytest.mark.parametrize("status", Status.values)
def test_the_list_can_be_filtered_by_each_status(root, list_url, make_run, status):
    runs = {each: make_run(status=each) for each in Status.values}

    assert ids_of(root.get(list_url("run", status=status))) == [runs[status].pk]


def test_the_list_can_be_filtered_by_what_runs_wait_for(root, list_url, make_run):
    later = timezone.now() + timedelta(hours=1)
    due, deferred = make_run(), make_run(run_after=later)
    retrying = make_run(run_after=later, attempt=1, error="ValueError: no")
    paused = make_run(run_after=None, held_run_after=later, error="ValueError: no")
    broken = make_run(run_after=None, error="BadPayload: damaged")
    blocked = make_run(run_after=None, waits_for="limit")
    make_run(status=Status.FAILED)

    found = {name: ids_of(root.get(list_url("run", status=name))) for name in WAITING}

    assert found == {
        "due": [due.pk],
        "deferred": [retrying.pk, deferred.pk],
        "retrying": [retrying.pk],
        "blocked": [blocked.pk],
        "held": [broken.pk, paused.pk],
        "broken": [broken.pk],
    }


def test_a_status_that_does_not_exist_filters_nothing(root, list_url, make_run):
    make_run()

    assert len(ids_of(root.get(list_url("run", status="bogus")))) == 1


def test_the_list_can_be_filtered_by_kind_queue_job_and_worker(root, list_url, make_run):
    make_run()
    wanted = make_run(kind="recurring", queue_name="mail", job_id="a/b, c", worker_id="w1")

    for query in ({"kind": "recurring"}, {"queue": "mail"}, {"job_id": "a/b, c"}, {"worker_id": "w1"}):
        assert ids_of(root.get(list_url("run", **query))) == [wanted.pk]

    chosen = root.get(list_url("run", kind="recurring")).context["cl"]
    assert [chip.value for chip in chosen.chips] == ["Recurring"]
    (kinds,) = [field["choices"] for field in chosen.fields if field["name"] == "kind"]
    assert [str(word) for _, word in kinds] == ["Immediate", "Scheduled", "Recurring"]


def test_the_list_can_be_filtered_by_age(root, list_url, make_run):
    now = timezone.now()
    make_run(enqueued_at=now - timedelta(days=30))
    days = make_run(enqueued_at=now - timedelta(days=3))
    minutes = make_run(enqueued_at=now)

    assert ids_of(root.get(list_url("run", since="hour"))) == [minutes.pk]
    assert minutes.pk in ids_of(root.get(list_url("run", since="today")))
    assert ids_of(root.get(list_url("run", since="week"))) == [minutes.pk, days.pk]


def test_runs_are_found_by_plain_words_in_job_function_and_error(root, list_url, make_run):
    run = make_run(
        job_id="monthly-7", func="reports.jobs:build", error="ValueError: No such Room", status="FAILED"
    )
    make_run(job_id="other")

    for term in (
        "monthly-7",
        str(run.pk),
        "reports.jobs",
        " month ",
        "uild",
        "jobs:build",
        "such room",
        "build month",
    ):
        assert ids_of(root.get(list_url("run", q=term))) == [run.pk], term
    for term in ("9" * 30, "onthly", "build other", "100%"):
        assert ids_of(root.get(list_url("run", q=term))) == [], term


def test_the_list_can_be_filtered_by_function_error_and_time(root, list_url, make_run):
    now = timezone.now().replace(microsecond=0)
    make_run(enqueued_at=now - timedelta(days=9), func="a.b:d")
    wanted = make_run(
        enqueued_at=now - timedelta(days=5),
        func="a.b:c",
        status="FAILED",
        error="ValueError: NO such room 100%",
    )
    make_run(enqueued_at=now, func="a.b:cd")
    frm, until = ((now - timedelta(days=n)).strftime("%Y-%m-%dT%H:%M") for n in (6, 4))

    for query in (
        {"func": "a.b:c"},
        {"error": "no such room"},
        {"error": "100%", "status": "FAILED"},
        {"from": frm, "until": until},
        {"from": frm, "until": until, "func": "a.b:c", "error": "room"},
    ):
        assert ids_of(root.get(list_url("run", **query))) == [wanted.pk]
    assert ids_of(root.get(list_url("run", error="100_"))) == []


def test_times_are_of_the_readers_zone(root, list_url, make_run):
    noon = datetime(2030, 6, 1, 12, tzinfo=UTC)
    run = make_run(enqueued_at=noon)

    with timezone.override("America/New_York"):
        assert ids_of(
            root.get(list_url("run", **{"from": "2030-06-01T08:00", "until": "2030-06-01T08:01"}))
        ) == [run.pk]
        assert ids_of(root.get(list_url("run", **{"from": "2030-06-01T08:01"}))) == []


def test_a_form_filter_keeps_what_else_is_asked_for(root, list_url, make_run):
    make_run(status="FAILED", error="x")

    text = text_of(root.get(list_url("run", status="FAILED", error="x", before="9999999999", q="tests.")))

    assert '<input type="hidden" name="status" value="FAILED">' in text
    assert '<input type="hidden" name="q" value="tests.">' in text
    assert 'name="error" value="x"' in text
    assert 'name="before"' not in text


def test_filters_offer_what_the_newest_runs_and_the_living_workers_are_called(
    root, list_url, make_run, make_worker
):
    make_run(queue_name="mail", func="shop.jobs:send", worker_id="w-old")
    make_worker(id="w-live")
    make_worker(id="w-ended", stopped_at=timezone.now())

    response = root.get(list_url("run", func="shop.jobs:elsewhere"))

    offered = {field["name"]: field.get("offers") for field in response.context["cl"].fields}
    assert offered["queue"] == ["default", "mail"]
    assert offered["func"] == ["shop.jobs:send"]
    assert offered["worker_id"] == ["w-live", "w-old"]


def test_filters_without_an_index_look_at_the_newest_runs_only(root, list_url, make_run, monkeypatch):
    monkeypatch.setattr(run_pages, "LOOKED_AT", 2)
    old, middle, new = (make_run(queue_name="mail", func="a.b:c", kind="recurring") for _ in range(3))

    for query in (
        {"queue": "mail"},
        {"kind": "recurring"},
        {"q": "a.b"},
        {"q": "a.b", "kind": "recurring"},
        {"since": "week", "queue": "mail"},
    ):
        assert ids_of(root.get(list_url("run", **query))) == [new.pk, middle.pk]
        # The index of that status bounds the work already.
        assert ids_of(root.get(list_url("run", status="READY", **query))) == [new.pk, middle.pk, old.pk]


def test_a_run_is_found_by_its_id_however_old(root, list_url, make_run, monkeypatch):
    monkeypatch.setattr(run_pages, "LOOKED_AT", 1)
    old = make_run(job_id="first")
    make_run()

    for query in ({"q": "first"}, {"q": str(old.pk)}, {"job_id": "first"}, {"since": "week", "q": "first"}):
        assert ids_of(root.get(list_url("run", **query))) == [old.pk]


def test_filters_of_the_address_that_are_not_ours_are_refused(root, list_url, make_run):
    make_run()

    assert root.get(list_url("run", error__icontains="x")).status_code == 400


def test_no_other_order_can_be_asked_for(root, list_url, make_run):
    first, second = make_run(func="b:b"), make_run(func="a:a")

    assert ids_of(root.get(list_url("run", o="4"))) == [second.pk, first.pk]


def test_the_list_costs_the_same_with_one_run_and_with_fifty(
    root, list_url, make_run, django_assert_num_queries
):
    root.get(list_url("run"))
    make_run(status=Status.FAILED, error="x")
    with django_assert_num_queries(LIST_QUERIES):
        root.get(list_url("run"))
    for _ in range(49):
        make_run(run_after=None, error="x")

    with django_assert_num_queries(LIST_QUERIES):
        response = root.get(list_url("run"))

    assert len(ids_of(response)) == 50


def test_a_runs_page_has_few_queries(
    root, page_url, make_run, make_job, make_worker, django_assert_num_queries
):
    make_job(id="known")
    make_worker(id="w1")
    make_run(status=Status.SUCCESSFUL, worker_id="w1")
    run = make_run(job_id="known", worker_id="w1", status=Status.FAILED, error="x", errors=[attempt()] * 30)
    root.get(page_url(run))

    with django_assert_num_queries(PAGE_QUERIES):
        root.get(page_url(run))


def test_the_list_counts_nothing(root, list_url, make_run):
    for _ in range(3):
        make_run()

    for query in ({}, {"queue": "default"}, {"q": "tests."}, {"status": "FAILED"}, {"since": "hour"}):
        with CaptureQueriesContext(connection) as queries:
            root.get(list_url("run", **query))

        assert [query["sql"] for query in queries if "COUNT(" in query["sql"]] == []


def test_the_list_does_not_load_large_columns(root, list_url, make_run):
    make_run(error="y")

    with CaptureQueriesContext(connection) as queries:
        root.get(list_url("run"))

    lists = [query["sql"] for query in queries if "error_start" in query["sql"]]
    assert len(lists) == 1
    for name in ("payload", "result", "errors", "log"):
        assert f".{connection.ops.quote_name(name)}" not in BEGINNING.sub("", lists[0])


def test_arguments_are_in_the_list_for_those_who_may_see_them_and_without_their_secrets(
    root, client_of, list_url, make_run
):
    make_run(
        payload=codec.dump_arguments((4711, "blue"), {"password": "hunter2", "pin": 98712398712}),
        options={"sensitive": ["pin"]},
    )
    make_run(payload=codec.dump_arguments(("x" * 5000,), {}))

    text = unescaped_text_of(root.get(list_url("run")))
    assert '4711, "blue", password="' in text
    assert "hunter2" not in text
    assert "98712398712" not in text
    assert "xxx" not in text
    assert '4711, "blue"' not in unescaped_text_of(client_of("view_run").get(list_url("run")))


def test_chips_name_the_filters_that_are_set_and_take_each_away(root, list_url, make_run):
    wanted = make_run(queue_name="mail", status="FAILED", error="ValueError: no")
    make_run(queue_name="mail")

    response = root.get(
        list_url("run", status="FAILED", queue="mail", q='error:valueerror "no"', kind="none")
    )
    chips = response.context["cl"].chips

    assert ids_of(response) == [wanted.pk]
    assert [(chip.name, chip.value) for chip in chips] == [
        ("status", "Failed"), ("queue", "mail"), ("error", "valueerror"), ("", "no"),
    ]  # fmt: skip
    left = [{(one.name, one.value) for one in chips} - {(chip.name, chip.value)} for chip in chips]
    found = [root.get("/admin/django_jobs/run/" + chip.without).context["cl"].chips for chip in chips]
    assert [{(one.name, one.value) for one in page} for page in found] == left


@pytest.mark.parametrize("has_index", [True, False])
def test_runs_are_chosen_by_when_they_ended_and_unfinished_ones_by_when_they_came(
    root, list_url, make_run, has_index
):
    now = timezone.now().replace(microsecond=0)
    hour = timedelta(hours=1)
    status = {"status": "FAILED"} if has_index else {}
    late = make_run(status="FAILED", enqueued_at=now - 9 * hour, finished_at=now - hour)
    make_run(status="FAILED", enqueued_at=now - 9 * hour, finished_at=now - 3 * hour)
    waiting = make_run(enqueued_at=now - hour)
    make_run(enqueued_at=now - 3 * hour)

    found = root.get(list_url("run", ended_from=(now - 2 * hour).isoformat(), **status))
    before = root.get(list_url("run", ended_until=(now - 2 * hour).isoformat(), **status))

    assert ids_of(found) == ([late.pk] if has_index else [waiting.pk, late.pk])
    assert len(ids_of(before)) == (1 if has_index else 2)


def test_the_search_offers_prefixes_and_what_they_may_be_followed_by(root, client_of, list_url, make_run):
    make_run(queue_name="my mail", func="tests.probes.jobs:add")

    offered = root.get(list_url("run")).context["cl"].suggestions
    withheld = client_of("view_run").get(list_url("run")).context["cl"].suggestions

    for term in (
        "arg:",
        "batch:",
        "status:failed",
        'queue:"my mail"',
        "queue:default",
        "func:tests.probes.jobs:add",
    ):
        assert term in offered
    assert set(offered) - set(withheld) == {"arg:"}


def test_arguments_are_searched_by_those_only_who_may_see_them(root, client_of, list_url, make_run):
    run = make_run(payload=codec.dump_arguments((), {"order_id": 4711}))

    assert ids_of(root.get(list_url("run", q="arg.order_id:4711"))) == [run.pk]
    assert ids_of(client_of("view_run").get(list_url("run", q="arg.order_id:4711"))) == []
    assert ids_of(client_of("view_run").get(list_url("run", q="arg:4711"))) == []


def test_due_runs_say_what_keeps_them(
    root, list_url, make_run, make_worker, manager, django_assert_max_num_queries
):
    make_worker(queues=["mail", "slow"])
    manager.pause_queue("slow")
    for name in ("mail", "slow", "gpu"):
        make_run(queue_name=name)

    with django_assert_max_num_queries(LIST_QUERIES + 3):
        text = text_of(root.get(list_url("run")))

    assert [word for word in ("Queue paused", "No worker", ">Due<") if word in text] == [
        "Queue paused",
        "No worker",
        ">Due<",
    ]
    make_run(status="FAILED")
    with django_assert_max_num_queries(LIST_QUERIES):
        root.get(list_url("run", status="FAILED"))


def follow(client, response, name):
    """Follow the link to the page above or below."""
    url = getattr(response.context["cl"], f"{name}_url")
    assert url.replace("&", "&amp;") in text_of(response)
    return client.get(f"/admin/django_jobs/run/{url}")


def test_a_long_list_is_paged_through_by_ids_there_and_back(root, list_url, make_runs, monkeypatch):
    monkeypatch.setattr(RunAdmin, "list_per_page", 10)
    runs = make_runs(25)

    first = root.get(list_url("run", queue="default"))
    second = follow(root, first, "older")
    third = follow(root, second, "older")

    assert ids_of(first) == runs[::-1][:10]
    assert ids_of(second) == runs[::-1][10:20]
    assert ids_of(third) == runs[::-1][20:]
    assert third.context["cl"].older_url == first.context["cl"].newer_url == ""
    assert ids_of(follow(root, third, "newer")) == ids_of(second)
    assert ids_of(follow(root, second, "newer")) == ids_of(first)


def test_runs_that_are_added_meanwhile_move_no_page(root, list_url, make_runs, monkeypatch):
    monkeypatch.setattr(RunAdmin, "list_per_page", 10)
    runs = make_runs(15)
    first = root.get(list_url("run"))
    make_runs(7)

    assert ids_of(follow(root, first, "older")) == runs[::-1][10:]


def test_a_search_goes_on_below_the_runs_that_were_looked_at(root, list_url, make_runs, monkeypatch):
    monkeypatch.setattr(run_pages, "LOOKED_AT", 5)
    (old,) = make_runs(1, queue_name="mail")
    make_runs(12)
    (new,) = make_runs(1, queue_name="mail")

    pages = [root.get(list_url("run", queue="mail"))]
    while pages[-1].context["cl"].older_url:
        pages.append(follow(root, pages[-1], "older"))

    assert [ids_of(page) for page in pages] == [[new], [], [old]]
    assert "Older ones may match as well" in text_of(pages[0])
    assert "Search older runs" in text_of(pages[0])
    assert "Older ones may match" not in text_of(pages[-1])


def test_a_search_among_failed_runs_looks_at_so_many_of_them(root, list_url, make_runs, monkeypatch):
    monkeypatch.setattr(run_pages, "LOOKED_AT_OF_STATUS", 3)
    (old,) = make_runs(1, status="FAILED", queue_name="mail")
    make_runs(4, status="FAILED")
    make_runs(5)
    (new,) = make_runs(1, status="FAILED", queue_name="mail")

    first = root.get(list_url("run", queue="mail", status="FAILED"))

    assert ids_of(first) == [new]
    assert ids_of(follow(root, first, "older")) == [old]


@pytest.mark.parametrize("query", [{"before": "x"}, {"after": "9" * 40}, {"before": "-1"}])
def test_a_position_that_is_none_is_ignored(root, list_url, make_run, query):
    run = make_run()

    assert ids_of(root.get(list_url("run", **query))) == [run.pk]


@pytest.mark.parametrize("status", ["READY", *WAITING, "RUNNING", "FAILED", "CANCELLED", "SKIPPED"])
def test_the_database_reads_a_status_through_its_index(root, list_url, make_run, status):
    if connection.vendor != "sqlite":
        pytest.skip("other databases decide by their statistics")
    make_run(status="READY" if status in WAITING else status)

    with CaptureQueriesContext(connection) as queries:
        root.get(list_url("run", status=status))

    (sql,) = [query["sql"] for query in queries if "error_start" in query["sql"]]
    with connection.cursor() as cursor:
        cursor.execute("EXPLAIN QUERY PLAN " + sql)
        plan = " ".join(row[3] for row in cursor.fetchall())
    assert "django_jobs_run_" in plan


@pytest.mark.parametrize("query", [{}, {"before": "150"}, {"after": "20"}, {"status": "FAILED"}])
def test_a_search_within_a_time_has_one_bound_of_ids_at_each_end(
    root, list_url, make_runs, monkeypatch, query
):
    monkeypatch.setattr(run_pages, "LOOKED_AT", 10)
    monkeypatch.setattr(run_pages, "LOOKED_AT_OF_STATUS", 10)
    make_runs(30, status="FAILED")

    with CaptureQueriesContext(connection) as queries:
        root.get(list_url("run", since="week", queue="nowhere", **query))

    # Of two lower bounds SQLite would choose the first, and look at all of the week.
    (sql,) = [query["sql"] for query in queries if "error_start" in query["sql"]][-1:]
    pk = connection.ops.quote_name("id")
    assert sql.count(f"{pk} >= ") + sql.count(f"{pk} > ") == 1
    assert sql.count(f"{pk} < ") + sql.count(f"{pk} <= ") <= 1


# One run's page


def attempt(**fields):
    return {
        "attempt": 1,
        "worker_id": "w1",
        "started_at": "2030-01-01T10:00:00+00:00",
        "finished_at": "2030-01-01T10:00:02+00:00",
        "error": "ValueError: no",
        "traceback": "Traceback (most recent call last):\n  line 1",
        **fields,
    }


def test_a_runs_page_shows_what_became_of_it(root, page_url, list_url, make_run, make_job):
    make_job(id="weekly")
    before, after = make_run(job_id="weekly"), None
    noon = datetime(2030, 1, 1, 10, tzinfo=UTC)
    run = make_run(
        job_id="weekly",
        status=Status.FAILED,
        payload=codec.dump_arguments((1,), {"room": "reading"}),
        enqueued_at=noon - timedelta(seconds=4),
        started_at=noon + timedelta(seconds=32),
        finished_at=noon + timedelta(seconds=38),
        attempt=2,
        error="ValueError: again",
        errors=[
            attempt(),
            attempt(
                attempt=2,
                error="ValueError: again",
                started_at="2030-01-01T10:00:32+00:00",
                finished_at="2030-01-01T10:00:38+00:00",
            ),
        ],
        log="INFO a line of the log",
        progress={"done": 3, "total": 10, "message": "third of ten"},
        result=codec.dumps({"rows": [1, 2]}),
    )
    after = make_run(job_id="weekly")
    make_run(job_id="another")

    text = text_of(root.get(page_url(run)))

    for part in (
        "reading",
        "4.0 s",
        "took 2.0 s",
        "30.0 s",
        "took 6.0 s",
        "42.0 s after it was enqueued",
        "Attempt 1",
        "Attempt 2",
        "ValueError: no",
        "Traceback (most recent call last)",
        "<details",
        "2030-01-01 10:00:00",
        "INFO a line of the log",
        "third of ten",
        '<progress value="3" max="10"',
        "&quot;rows&quot;: [",
        "job_id=weekly",
        "/job/weekly/change/",
        f'Previous run of this job: <a href="{page_url(before)}">',
        f'Next: <a href="{page_url(after)}">',
    ):
        assert part in text
    assert "<details open" not in text


def test_a_runs_page_says_which_attempt_it_is_and_why_it_does_not_begin(root, page_url, make_run, manager):
    policy = {"retry": {"max_attempts": 5}}
    waiting = make_run(attempt=1, run_after=timezone.now() + timedelta(hours=1), options=policy)
    text = text_of(root.get(page_url(waiting)))
    assert "<dt>Attempt</dt><dd>1 of 5</dd>" in text
    assert "Waits for attempt 2 of 5, until" in text

    due = make_run(queue_name="mail")
    assert "no live worker serves its queue" in text_of(root.get(page_url(due)))
    manager.pause_queue("mail")
    assert "its queue is paused" in text_of(root.get(page_url(due)))


def test_a_runs_page_shows_no_payload_without_the_permission_and_says_so(client_of, page_url, make_run):
    run = make_run(
        status=Status.FAILED,
        payload=codec.dump_arguments(("an argument",), {}),
        error="ValueError: one line",
        errors=[attempt(error="ValueError: one line", traceback="a traceback")],
        log="a line of the log",
        result=codec.dumps("a result"),
    )
    hidden = ("an argument", "a traceback", "a line of the log", "a result")

    withheld = text_of(client_of("view_run").get(page_url(run)))
    shown = text_of(client_of("view_run", "view_payload").get(page_url(run)))

    assert "ValueError: one line" in withheld
    assert "are not shown: they need the permission" in withheld
    assert "are not shown: they need the permission" not in shown
    for text in hidden:
        assert text not in withheld
        assert text in shown


def test_a_run_whose_job_and_worker_are_gone_has_a_page_without_links_to_them(root, page_url, make_run):
    run = make_run(job_id="gone", worker_id="w-gone", status=Status.SUCCESSFUL)

    text = text_of(root.get(page_url(run)))

    assert "w-gone" in text
    assert "/job/gone/change/" not in text
    assert "/worker/w-gone/change/" not in text


@pytest.mark.parametrize(
    "fields",
    [
        {"payload": "{not json"},
        {"payload": ""},
        {"payload": "[]"},
        {"result": "{not json"},
        {"result": ""},
        {"errors": "a text"},
        {"errors": ["a text", None, {}, {"started_at": 5, "finished_at": "soon"}]},
        {"errors": {"attempt": 1}},
        {"progress": "half"},
        {"progress": {"done": "half"}},
        {"progress": {"done": 1, "total": None, "message": None}},
        {"options": ["odd"]},
    ],
)
def test_a_damaged_row_still_has_a_page(root, page_url, make_run, fields):
    run = make_run(status=Status.FAILED, error="x", **fields)

    assert root.get(page_url(run)).status_code == 200


def test_secrets_in_arguments_are_not_shown(root, page_url, make_run):
    run = make_run(
        payload=codec.dump_arguments(("sesame",), {"api_key": "hunter2"}), options={"sensitive": [0]}
    )

    text = text_of(root.get(page_url(run)))

    assert "hunter2" not in text
    assert "sesame" not in text


def test_hostile_text_is_shown_as_text(root, list_url, page_url, make_run):
    run = make_run(
        job_id=HOSTILE,
        name=HOSTILE,
        func=HOSTILE,
        queue_name=HOSTILE,
        worker_id=HOSTILE,
        status=Status.FAILED,
        payload=codec.dump_arguments((HOSTILE,), {HOSTILE: HOSTILE}),
        options={HOSTILE: HOSTILE},
        result=codec.dumps(HOSTILE),
        error=HOSTILE,
        errors=[attempt(error=HOSTILE, traceback=HOSTILE, worker_id=HOSTILE, attempt=HOSTILE), HOSTILE],
        log=HOSTILE,
        progress={"done": HOSTILE, "total": HOSTILE, "message": HOSTILE},
    )

    for url in (list_url("run"), page_url(run), page_url(run, "delete")):
        text = text_of(root.get(url))
        assert "<script>alert" not in text
        assert "&lt;script&gt;alert" in text


def test_hostile_ids_in_messages_are_shown_as_text(root, list_url, make_run, act):
    run = make_run(job_id=HOSTILE, status=Status.SUCCESSFUL)

    act(root, "cancel", run)

    text = text_of(root.get(list_url("run")))
    assert "is finished" in text
    assert "<script>alert" not in text


def test_a_run_can_be_neither_added_nor_edited(root, list_url, page_url, make_run):
    run = make_run()

    assert root.get(list_url("run") + "add/").status_code == 403
    assert root.post(page_url(run), {"func": "os:system", "_save": "1"}).status_code == 403


# Actions


def test_cancelling_ends_what_waits_and_asks_what_runs(root, act, make_run, said, logged):
    waiting, running = make_run(), make_run(status=Status.RUNNING)
    finished = make_run(status=Status.SUCCESSFUL, job_id="done")

    words = said(act(root, "cancel", waiting, running, finished))

    assert "2 runs were cancelled" in words
    assert f"1 was left as it is: done ({finished.pk}) is finished" in words
    for run in (waiting, running, finished):
        run.refresh_from_db()
    assert waiting.status == Status.CANCELLED
    assert running.status == Status.RUNNING
    assert running.cancel_requested
    assert finished.status == Status.SUCCESSFUL
    assert logged(waiting) == ["Cancelled: READY → CANCELLED"]
    assert logged(running) == ["Asked to stop: RUNNING → CANCELLED"]
    assert logged(finished) == []


def test_a_run_that_began_since_the_list_was_made_is_acted_upon(root, list_url, make_run, said):
    run, other = make_run(status=Status.RUNNING), make_run()
    data = {"action": "cancel", "index": "0", "_selected_action": [str(run.pk)]}

    response = root.post(list_url("run", status="READY", queue="elsewhere"), data)

    assert "1 run was cancelled" in said(response)
    run.refresh_from_db(), other.refresh_from_db()
    assert (run.cancel_requested, other.status) == (True, Status.READY)


def test_what_is_gone_since_the_list_was_made_is_said(root, act, make_run, said):
    runs = [make_run(status=Status.FAILED) for _ in range(3)]
    Run.objects.filter(pk__in=[run.pk for run in runs[:2]]).delete()

    response = act(root, "retry", *runs)

    assert "2 that were chosen are gone. | 1 run is tried again." in said(response)
    assert "1 that was chosen is gone." in said(act(root, "delete_selected", runs[0]))


def test_retrying_makes_the_chosen_run_ready_and_not_another_of_its_job(root, act, make_run, said, logged):
    chosen = make_run(job_id="same", status=Status.FAILED)
    newer = make_run(job_id="same", status=Status.FAILED)
    successful = make_run(status=Status.SUCCESSFUL)

    words = said(act(root, "retry", chosen, successful))

    assert "1 run is tried again." in words
    assert "did not end without success" in words
    for run in (chosen, newer, successful):
        run.refresh_from_db()
    assert chosen.status == Status.READY
    assert newer.status == Status.FAILED
    assert successful.status == Status.SUCCESSFUL
    assert logged(chosen) == ["Retried: FAILED → READY"]


def test_deferred_runs_are_run_now(root, act, make_run, said, logged):
    later = make_run(run_after=timezone.now() + timedelta(hours=1), attempt=1, error="ValueError: no")
    held = make_run(run_after=None)

    words = said(act(root, "run_now", later, held))

    assert "1 run begins now." in words
    assert "does not wait for its time" in words
    assert {run.pk: run.state for run in Run.objects.all()} == {later.pk: "ready", held.pk: "paused"}
    assert logged(later) == ["Told to run now: deferred → READY"]
    assert logged(held) == []


def test_retrying_a_held_run_releases_it(root, act, make_run):
    held = make_run(run_after=None, error="BadPayload: signed with another key")

    act(root, "retry", held)

    held.refresh_from_db()
    assert held.run_after is not None
    assert held.error == ""


def test_only_finished_runs_are_deleted(root, act, confirm, make_run, said, logged):
    finished, unfinished = make_run(status=Status.FAILED), make_run(job_id="open")

    page = act(root, "delete_selected", finished, unfinished)
    assert "Are you sure" in text_of(page)
    assert "open" in said(page)
    assert "is unfinished: cancel it first" in said(page)
    response = confirm(root, finished, unfinished)

    assert "Successfully deleted 1 run." in said(response)
    assert list(Run.objects.all()) == [unfinished]
    assert logged(finished) == ["Deleted."]
    assert logged(unfinished) == []


def test_an_unfinished_run_is_not_deleted_on_its_own_page(root, page_url, make_run, said):
    run = make_run()

    response = root.post(page_url(run, "delete"), {"post": "yes"})

    assert response.url == page_url(run)
    assert "is unfinished: cancel it first" in said(response)
    assert Run.objects.filter(pk=run.pk).exists()


def test_deleting_is_offered_where_it_can_be_done(root, page_url, make_run, make_job):
    runs = [make_run(), make_run(status=Status.RUNNING), make_run(status=Status.FAILED)]
    jobs = [make_job(declared={}), make_job()]

    offered = ["deletelink" in root.get(page_url(row)).content.decode() for row in (*runs, *jobs)]

    assert offered == [False, False, True, False, True]


def test_an_empty_list_says_whether_there_is_no_run_or_none_that_matches(root, list_url, make_run):
    assert "There is no run yet." in root.get(list_url("run")).content.decode()
    assert "No matching runs." in root.get(list_url("run", status="FAILED")).content.decode()
    run = make_run()
    assert "No matching runs." in root.get(list_url("run", before=run.pk)).content.decode()


def test_a_finished_run_is_deleted_on_its_own_page(root, page_url, make_run, logged):
    run = make_run(status=Status.FAILED)

    root.post(page_url(run, "delete"), {"post": "yes"})

    assert not Run.objects.exists()
    assert logged(run) == ["Deleted."]


@pytest.mark.parametrize(
    ("fields", "offered"),
    [
        ({"status": Status.READY}, ["cancel"]),
        ({"status": Status.READY, "run_after": timezone.now() + timedelta(days=1)}, ["run_now", "cancel"]),
        ({"status": Status.READY, "run_after": None}, ["cancel", "retry"]),
        ({"status": Status.RUNNING}, ["cancel"]),
        ({"status": Status.RUNNING, "cancel_requested": True}, []),
        ({"status": Status.FAILED}, ["retry"]),
        ({"status": Status.SUCCESSFUL}, []),
    ],
)
def test_a_runs_page_offers_the_buttons_that_make_sense(root, page_url, make_run, fields, offered):
    response = root.get(page_url(make_run(**fields)))

    assert [button["name"] for button in response.context["buttons"]] == offered


def test_a_button_of_a_run_acts(root, page_url, make_run, logged):
    run = make_run()

    assert root.post(page_url(run, "act", "cancel")).url == page_url(run)

    run.refresh_from_db()
    assert run.status == Status.CANCELLED
    assert logged(run) == ["Cancelled: READY → CANCELLED"]


# Permissions


@pytest.mark.parametrize("name", ["cancel", "retry", "delete_selected"])
def test_who_may_only_look_cannot_act_by_hand(
    client_of, list_url, act, confirm, page_url, make_run, logged, name
):
    client = client_of("view_run")
    waiting, failed = make_run(), make_run(status=Status.FAILED)

    assert 'name="action"' not in text_of(client.get(list_url("run")))
    act(client, name, waiting, failed)
    confirm(client, waiting, failed)
    assert client.post(page_url(waiting, "act", "cancel")).status_code == 403
    assert client.post(page_url(failed, "delete"), {"post": "yes"}).status_code == 403

    waiting.refresh_from_db()
    failed.refresh_from_db()
    assert waiting.status == Status.READY
    assert failed.status == Status.FAILED
    assert logged(waiting) == logged(failed) == []


def test_who_may_nothing_sees_nothing(client_of, list_url, page_url, make_run):
    client, run = client_of(), make_run()

    assert client.get(list_url("run")).status_code == 403
    assert client.get(page_url(run)).status_code == 403


def test_the_page_shows_tags(root, page_url, make_run):
    tagged, plain = make_run(options={"tags": ["import", HOSTILE]}), make_run()

    page = root.get(page_url(tagged)).content.decode()

    assert '<span class="jobs-label">import</span>' in page
    assert HOSTILE not in page
    assert "field-tags" not in root.get(page_url(plain)).content.decode()


def test_the_log_of_a_run_that_goes_on_is_shown_and_can_be_filtered(root, page_url, make_run):
    said = "\n".join(
        log_lines.line_of(datetime(2026, 1, 1, tzinfo=UTC), level, text)
        for level, text in [(10, "weighed"), (20, "sold <tea>"), (40, "broke")]
    )
    run = make_run(status=Status.RUNNING, fence=1)
    LogChunk.objects.create(run_id=run.pk, attempt=1, fence=1, written_at=run.started_at, level=40, text=said)

    page = root.get(page_url(run)).content.decode()
    filtered = root.get(page_url(run), {"log_level": "INFO", "log_search": "TEA"}).content.decode()
    nothing = root.get(page_url(run), {"log_level": "nosuch", "log_search": "coffee"}).content.decode()

    assert all(text in page for text in ("weighed", "sold &lt;tea&gt;", "ERROR broke"))
    assert "sold &lt;tea&gt;" in filtered
    assert "weighed" not in filtered
    assert "No log line matches." in nothing


def test_no_form_of_a_runs_page_is_in_another(root, page_url, make_run):
    run = make_run(status=Status.SUCCESSFUL, log="2026-01-01T00:00:00.000+00:00 sold <tea>")

    page = root.get(page_url(run)).content.decode()

    depths = [0]
    for tag in re.findall(r"<(/?)form\b", page):
        depths.append(depths[-1] + (-1 if tag else 1))
    assert 'form="jobs-log-filter"' in page
    assert max(depths) == 1
