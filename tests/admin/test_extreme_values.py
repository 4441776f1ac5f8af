import itertools
import json

import pytest
from django.urls import reverse
from django.utils import timezone

from django_jobs.models import Queue

FILTERS = (
    "status", "kind", "queue", "func", "worker_id", "job_id", "error", "since", "from", "until", "before", "after", "q",
)  # fmt: skip
STOCK = ("q", "p", "o", "e", "all", "state", "status", "kind__exact", "queue", "range")
VALUES = (
    "", "\0", "x\0y", "0001-01-01T00:00", "0001-01-01T00:00+14:00", "9999-12-31T23:59", "9999-12-31T23:59:59.999999-12:00",
    "10000-01-01T00:00", "-1", "0", "9" * 18, "9" * 19, "9" * 400, "1e999", "NaN", "%", "'", "\u0661", "\U0001f600", "x" * 5000,
)  # fmt: skip
ZONES = ("UTC", "Pacific/Kiritimati", "America/Los_Angeles")


@pytest.fixture
def rows(make_job, make_run, make_worker):
    Queue.objects.create(name="mail")
    return [make_job(id="nightly"), make_run(job_id="nightly", status="FAILED"), make_worker(id="w")]


@pytest.mark.parametrize("name", FILTERS)
def test_no_value_of_a_filter_breaks_the_list_of_runs(root, list_url, rows, name):
    for value in VALUES:
        assert root.get(list_url("run", **{name: value})).status_code == 200, value


@pytest.mark.parametrize("page", ["run", "job", "worker", "queue", "dashboard"])
def test_no_value_in_the_address_of_a_list_breaks_it(root, list_url, rows, page):
    for name, value in itertools.product(STOCK, VALUES):
        # Stock lists go back to themselves where they refuse a value, and refuse filters that are not theirs.
        assert root.get(list_url(page, **{name: value})).status_code in {200, 302, 400}, (name, value)


@pytest.mark.parametrize("zone", ["Pacific/Kiritimati", "America/Los_Angeles"])
@pytest.mark.parametrize("name", ["from", "until"])
def test_no_time_in_an_address_breaks_a_page_in_any_zone(root, list_url, rows, name, zone):
    with timezone.override(zone):
        for value in VALUES:
            assert root.get(list_url("run", **{name: value})).status_code == 200, value
            assert root.get(reverse("admin:django_jobs_run_bulk"), {name: value}).status_code == 200, value


@pytest.mark.parametrize("kind", ["csv", "json"])
@pytest.mark.parametrize("name", FILTERS)
def test_no_value_in_the_address_of_an_export_breaks_it_off(root, rows, name, kind):
    url = reverse("admin:django_jobs_run_export", args=[kind])

    for value in VALUES:
        response = root.get(url, {name: value})
        text = b"".join(response.streaming_content).decode()

        assert response.status_code == 200
        assert isinstance(json.loads(text), list) if kind == "json" else text.endswith("\n"), (name, value)


@pytest.mark.parametrize("name", FILTERS)
def test_no_value_in_the_address_of_a_bulk_action_breaks_it(root, rows, name):
    url = reverse("admin:django_jobs_run_bulk")

    for value in VALUES:
        assert root.get(url, {name: value}).status_code == 200, (name, value)


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


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize(
    ("date", "time"),
    [("0001-01-01", "00:00:00"), ("9999-12-31", "23:59:59"), ("9" * 30, "99:99"), ("\0", "\0")],
)
def test_no_time_in_a_form_breaks_it(root, page_url, rows, date, time, zone):
    url = page_url(rows[0], "schedule")
    fields = {"kind": "date", "zone": zone, "queue_name": "default", "priority": "0", "max_instances": "1"}
    for name in ("next_run", "start", "end", "at", "run_date", "start_date", "end_date"):
        fields |= {f"{name}_0": date, f"{name}_1": time, name: f"{date}T{time}"}

    with timezone.override(zone):
        for kind in ("once", "interval", "cron"):
            for every in ("1", "9" * 30, "1e400"):
                data = {**fields, "kind": kind, "every": every, "unit": "weeks", "_save": "1"}
                assert root.post(url, data).status_code in {200, 302}
