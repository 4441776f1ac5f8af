"""What those see who may do nothing, and those who may only look."""

import re

import pytest
from django.urls import reverse

from django_jobs.models import Job, Queue, Run


@pytest.fixture
def rows(make_run, make_job, make_worker):
    """One of everything, such that each button would make sense."""
    job = make_job(id="nightly")
    return [
        job,
        make_run(job_id="nightly", status="FAILED"),
        make_worker(),
        Queue.objects.create(name="mail"),
    ]


@pytest.fixture
def urls(rows, list_url, page_url):
    """Every page of ours."""
    job, run = rows[:2]
    names = ["dashboard_changelist", "job_add", "run_bulk"]
    return [
        *(reverse(f"admin:django_jobs_{name}") for name in names),
        *(list_url(row._meta.model_name) for row in rows),
        *(page_url(row, view) for row in rows for view in ("change", "history", "delete")),
        page_url(job, "schedule"),
        page_url(run, "retry_with_changes"),
        reverse("admin:django_jobs_run_export", args=["json"]),
        reverse("admin:django_jobs_changes") + "?watch=changes",
    ]


@pytest.fixture
def posts(rows, page_url):
    """Every address that changes something, and what is sent there."""
    job, run, _worker, row = rows
    buttons = {job: ["run_now", "pause", "resume"], run: ["cancel", "retry"], row: ["pause", "resume"]}
    return [
        *((page_url(it, "act", name), {}) for it, names in buttons.items() for name in names),
        *((page_url(it, "delete"), {"post": "yes"}) for it in buttons),
        (page_url(job, "schedule"), {"_save": "1"}),
        (page_url(run, "retry_with_changes"), {"args": "[]", "kwargs": "{}"}),
        (reverse("admin:django_jobs_run_bulk"), {"bulk_action": "delete"}),
        (reverse("admin:django_jobs_dashboard_queue"), {"name": "mail", "action": "pause"}),
        (reverse("admin:django_jobs_job_add"), {}),
    ]


def unchanged():
    job, row = Job.objects.get(), Queue.objects.get()
    return job.status == "scheduled" and row.paused_at is None and Run.objects.get().status == "FAILED"


def test_who_has_no_permission_sees_nothing_and_can_do_nothing(client_of, urls, posts):
    client = client_of()

    assert "django_jobs" not in client.get("/admin/").content.decode()
    assert {url: client.get(url).status_code for url in urls} == dict.fromkeys(urls, 403)
    assert {url: client.post(url, data).status_code for url, data in posts} == {url: 403 for url, _ in posts}
    assert unchanged()


def test_who_is_nobody_is_sent_to_log_in(client, urls):
    for url in urls:
        assert client.get(url).status_code in {302, 401, 403}, url
        assert b"nightly" not in client.get(url).content


def test_who_may_only_look_is_shown_no_button_and_can_press_none(client_of, rows, list_url, page_url, posts):
    client = client_of("view_job", "view_run", "view_worker", "view_queue")
    pages = [
        reverse("admin:django_jobs_dashboard_changelist"),
        *(list_url(row._meta.model_name) for row in rows),
        *map(page_url, rows),
    ]

    for url in pages:
        html = client.get(url).content.decode()
        main = html.partition('<div id="content')[2]
        assert main, url
        for sign in (
            "jobs-button-",
            "jobs-act-",
            'jobs-switch" name=',
            "jobs-bulk",
            'name="action"',
            "/add/",
            "/schedule/",
            "deletelink",
        ):
            assert sign not in main, (url, sign)
        assert not re.search(r'href="[^"]*retry-with-changes', main), url
    assert {url: client.post(url, data).status_code for url, data in posts} == {url: 403 for url, _ in posts}
    assert unchanged()
