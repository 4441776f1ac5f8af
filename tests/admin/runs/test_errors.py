import re
from datetime import timedelta
from html import unescape

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from django_jobs.operations import failures
from tests.admin.pages import text_of, unescaped_text_of

pytestmark = pytest.mark.django_db

URL = "/admin/django_jobs/run/errors/"


@pytest.fixture
def failed(make_run):
    """Three runs with one error, one of them old, and one with another."""
    old = timezone.now() - timedelta(days=3)
    runs = [make_run(status="FAILED", error="TimeoutError: gateway <7>", finished_at=old)]
    runs += [make_run(status="FAILED", error="TimeoutError: gateway <7>") for _ in range(2)]
    make_run(status="FAILED", error="KeyError: 'sku'", func="tests.probes.jobs:add")
    return runs


def links(response):
    return [unescape(url) for url in re.findall(r'href="([^"]+)"', text_of(response))]


def test_each_exception_and_place_is_a_row_with_what_an_operator_asks(root, failed):
    page = root.get(URL)

    rows = page.context["rows"]
    assert [(row["failure"].exception, row["failure"].count) for row in rows] == [
        ("TimeoutError", 2),
        ("KeyError", 1),
    ]
    assert rows[0]["functions"] == ["tests.probes.jobs:nothing"]
    assert "3 days ago" in rows[0]["first"]
    assert rows[0]["spark"]
    assert "TimeoutError: gateway &lt;7&gt;" in text_of(page)
    assert rows[0]["text"].startswith(
        "TimeoutError at tests.probes.jobs:nothing\nTimeoutError: gateway <7>\n2 failed"
    )


def test_a_row_leads_to_its_runs_of_the_time_to_all_of_them_and_to_their_retry(root, failed):
    row = root.get(URL).context["rows"][0]

    listed = root.get(row["url"]).context["cl"]
    every = root.get(row["all_url"]).context["cl"]
    bulk = root.get(row["retry_url"])

    assert [run.pk for run in listed.result_list] == [failed[2].pk, failed[1].pk]
    assert [run.pk for run in every.result_list] == [run.pk for run in reversed(failed)]
    chip = next(chip for chip in every.chips if chip.name == "exception and place")
    assert chip.value == "TimeoutError, tests.probes.jobs:nothing"
    assert "failure" not in chip.without
    assert bulk.context["count"] == 2
    assert re.search(r'value="retry" class="jobs-button', text_of(bulk))
    assert "TimeoutError, tests.probes.jobs:nothing" in unescaped_text_of(bulk)


def test_a_time_of_ones_own_chooses_what_failed_since(root, failed):
    since = timezone.localtime(timezone.now() - timedelta(days=4))

    page = root.get(URL, {"since": f"{since:%Y-%m-%dT%H:%M}"})

    assert page.context["rows"][0]["failure"].count == 3
    assert not any(one["is_chosen"] for one in page.context["ranges"])
    assert root.get(URL, {"since": "9999-01-01"}).context["rows"] == []
    assert root.get(URL, {"range": "no such"}).context["ranges"][2]["is_chosen"]


def test_who_may_only_view_runs_is_not_offered_to_retry_them(client_of, failed):
    page = client_of("view_run").get(URL)

    assert len(page.context["rows"]) == 2
    assert not any("matching" in url for url in links(page))
    assert client_of("view_job").get(URL).status_code == 403


def test_older_failures_without_a_key_are_mentioned(root, make_run):
    make_run(status="FAILED", error="ValueError: old", error_key=None)

    assert "1 run failed under a version that did not group errors" in text_of(root.get(URL))


def test_what_the_page_costs_does_not_follow_the_number_of_errors(root, make_run, django_assert_num_queries):
    make_run(status="FAILED", error="E0: x")
    root.get(URL)

    with CaptureQueriesContext(connection) as few:
        root.get(URL)
    for number in range(1, 9):
        make_run(status="FAILED", error=f"E{number}: x")

    with django_assert_num_queries(len(few)):
        root.get(URL)
    assert len(few) <= 8


def test_a_key_that_no_run_has_is_an_empty_list(root, failed):
    assert root.get("/admin/django_jobs/run/?failure=nothing").context["cl"].result_list == []
    assert failures.describe("nothing", using="default") == ""
