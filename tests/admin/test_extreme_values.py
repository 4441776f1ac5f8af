import itertools
import json

import pytest
from django.urls import reverse
from django.utils import timezone

from django_jobs.admin.runs import filters
from django_jobs.models import Queue

FILTERS = (*filters.NAMES, "q")
# By page, what it reads each value of in its own way. What is looked up in a list, or is none of its words, is tried
# together.
ALONE = {
    "run": ("q", "p", "before", "after"), "job": ("q", "p", "queue"), "worker": ("q", "p"), "queue": ("q", "p"),
    "batch": ("q", "p"), "dashboard": (),
}  # fmt: skip
TOGETHER = ("o", "e", "all", "state", "status", "kind__exact", "queue", "range", "chart", "by")
VALUES = (
    "", "\0", "x\0y", "0001-01-01T00:00", "0001-01-01T00:00+14:00", "9999-12-31T23:59", "9999-12-31T23:59:59.999999-12:00",
    "10000-01-01T00:00", "-1", "0", "9" * 18, "9" * 19, "9" * 400, "1e999", "NaN", "%", "'", "\u0661", "\U0001f600", "x" * 5000,
)  # fmt: skip
# The first and the last to begin a day, nearly.
ZONES = ("Pacific/Kiritimati", "America/Los_Angeles")
TIMES = ("0001-01-01", "00:00:00"), ("9999-12-31", "23:59:59")


@pytest.fixture
def rows(make_job, make_run, make_worker):
    Queue.objects.create(name="mail")
    return [make_job(id="nightly"), make_run(job_id="nightly", status="FAILED"), make_worker(id="w")]


@pytest.mark.parametrize("page", ALONE)
def test_no_value_in_the_address_of_a_list_breaks_it(root, list_url, rows, page):
    queries = [(name,) for name in ALONE[page]] + [FILTERS[:-1] if page == "run" else TOGETHER]

    for names, value in itertools.product(queries, VALUES):
        # Stock lists go back to themselves where they refuse a value, and refuse filters that are not theirs.
        expected = {200} if page in {"run", "dashboard"} and names != ("p",) else {200, 302, 400}
        assert root.get(list_url(page, **dict.fromkeys(names, value))).status_code in expected, (names, value)


@pytest.mark.parametrize("zone", ZONES)
def test_no_time_in_an_address_breaks_a_page_in_any_zone(root, list_url, rows, zone):
    with timezone.override(zone):
        for value in VALUES:
            query = dict.fromkeys(filters.TIMES, value)
            assert root.get(list_url("run", **query)).status_code == 200, value
            assert root.get(reverse("admin:django_jobs_run_bulk"), query).status_code == 200, value


@pytest.mark.parametrize("name", FILTERS)
def test_no_value_in_the_address_of_an_export_breaks_it_off(root, rows, name):
    for value, kind in zip(VALUES, itertools.cycle(["csv", "json"]), strict=False):
        response = root.get(reverse("admin:django_jobs_run_export", args=[kind]), {name: value})
        text = b"".join(response.streaming_content).decode()

        assert response.status_code == 200
        assert isinstance(json.loads(text), list) if kind == "json" else text.endswith("\n"), (name, value)


@pytest.mark.parametrize("names", [FILTERS[:-1], ("q",)], ids=["filters", "q"])
def test_no_value_in_the_address_of_a_bulk_action_breaks_it(root, rows, names):
    url = reverse("admin:django_jobs_run_bulk")

    for value in VALUES:
        assert root.get(url, dict.fromkeys(names, value)).status_code == 200, value


@pytest.mark.parametrize("value", [value for value in VALUES if value])
@pytest.mark.parametrize("model", ["run", "job", "worker", "queue"])
def test_no_object_id_in_an_address_breaks_a_page(root, rows, model, value):
    pages = {"change": "get", "history": "get", "delete": "get", "act": "post"}
    if model == "run":
        pages["retry_with_changes"] = "get"
    if model == "job":
        pages["schedule"] = "get"

    for page, method in pages.items():
        arguments = [value, "pause"] if page == "act" else [value]
        response = getattr(root, method)(reverse(f"admin:django_jobs_{model}_{page}", args=arguments))
        # Workers are never deleted; and 1 is a number in the digits of other scripts, too.
        assert response.status_code in {200, 302, 403, 404}, page


@pytest.mark.parametrize("value", VALUES)
def test_no_topic_breaks_what_live_pages_ask(root, rows, value):
    url = reverse("admin:django_jobs_changes")

    for topic in (value, f"run:{value}", f"job:{value}"):
        assert root.get(url, {"watch": topic}).status_code in {200, 400}


@pytest.mark.parametrize(
    ("date", "time", "zone"),
    [*((*time, zone) for time in TIMES for zone in ZONES), ("9" * 30, "99:99", "UTC"), ("\0", "\0", "UTC")],
)
def test_no_time_in_a_form_breaks_it(root, page_url, rows, date, time, zone):
    url = page_url(rows[0], "schedule")
    fields = {"zone": zone, "queue_name": "default", "priority": "0", "max_instances": "1"}
    for name in ("next_run", "start", "end", "at", "run_date", "start_date", "end_date"):
        fields |= {f"{name}_0": date, f"{name}_1": time, name: f"{date}T{time}"}
    kinds = [("once", "1"), ("cron", "1"), ("interval", "1"), ("interval", "9" * 30), ("interval", "1e400")]

    with timezone.override(zone):
        for kind, every in kinds:
            data = {**fields, "kind": kind, "every": every, "unit": "weeks", "_save": "1"}
            assert root.post(url, data).status_code in {200, 302}
