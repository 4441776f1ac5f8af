"""In how many clicks what an operator asks is answered: pages are reached by the links and buttons that are on them."""

import re
from datetime import timedelta
from html import unescape

import pytest
from django.utils import timezone

from django_jobs import triggers
from django_jobs.models import Run, Status
from tests.admin.pages import text_of

DASHBOARD = "/admin/django_jobs/dashboard/"


@pytest.fixture
def operator(root):
    """Someone who begins at the dashboard, and only follows what is there."""

    class Operator:
        clicks = 0

        def __init__(self):
            self._show(root.get(DASHBOARD))

        def _show(self, response):
            self.text = text_of(response)
            self.words = re.sub(
                r"\s+", " ", unescape(re.sub(r"<title>.*?</title>|<[^>]*>", " ", self.text, flags=re.DOTALL))
            )

        def follow(self, words):
            self.clicks += 1
            _, _, content = self.text.partition('id="content-main"')
            links = re.findall(r'<a[^>]* ?href="([^"]+)"[^>]*>(.*?)</a>', content, re.DOTALL)
            url = next(url for url, inner in links if words in re.sub("<[^>]+>", " ", inner))
            self._show(root.get(unescape(url)))

        def press(self, name):
            self.clicks += 1
            (url,) = re.findall(
                rf'class="jobs-button jobs-button-{name}"[^>]*formaction="([^"]+)"', self.text
            )
            self._show(root.post(unescape(url), follow=True))

    return Operator()


@pytest.fixture(autouse=True)
def project(make_job, make_run, make_worker, db):
    """A report at night among jobs that fire all the time, a run-away job, and queues that do not move."""
    now = timezone.now()
    worker = make_worker(queues=["default", "slow"])
    for number in range(12):
        make_job(
            id=f"poll-{number}", trigger=triggers.interval(20), next_run_time=now + timedelta(seconds=number)
        )
    make_job(
        id="nightly-report",
        trigger=triggers.crontab("0 3 * * *", "UTC"),
        next_run_time=now + timedelta(hours=9),
    )
    wild = make_job(id="wild", trigger=triggers.interval(60), next_run_time=now)
    for _ in range(3):
        run = make_run(
            job_id="wild", func="shop.jobs:wild", status=Status.RUNNING, worker_id=worker.pk, started_at=now
        )
    wild.last_run = run
    wild.save()
    make_run(queue_name="gpu", run_after=now - timedelta(hours=1)), make_run(queue_name="slow")
    failed = make_run(
        job_id="import", func="shop.jobs:load", status=Status.FAILED, error="KeyError: 'sku'", finished_at=now
    )
    failed.errors = [{"attempt": 1, "error": failed.error, "traceback": "Traceback: the reason of it all"}]
    failed.save()


def test_what_waits_and_why_is_seen_without_a_click(operator, manager):
    assert "2 Waiting 1 without a worker · 1 for a thread" in operator.words
    assert "gpu Not served" in operator.words
    assert "manage.py jobs work --queue gpu" in operator.words
    assert operator.clicks == 0


def test_when_the_next_report_runs_is_seen_without_a_click(operator):
    assert re.search(r"nightly-report at 03:00 .* in 9 hours", operator.words)
    assert operator.clicks == 0


def test_a_job_is_stopped_with_all_its_runs_in_two_clicks_on_its_page(operator):
    operator.follow("Jobs")
    operator.follow("wild")
    there = operator.clicks

    operator.press("pause")
    assert "3 runs of wild go on" in operator.words
    operator.press("stop_runs")

    assert operator.clicks - there == 2
    assert set(Run.objects.filter(job_id="wild").values_list("cancel_requested", flat=True)) == {True}


def test_why_something_failed_is_read_after_two_clicks(operator):
    operator.follow("Failed")
    operator.follow(str(Run.objects.get(status=Status.FAILED).pk))

    assert "the reason of it all" in operator.words
    assert operator.clicks == 2


def test_what_fires_between_two_and_four_is_read_after_two_clicks(operator):
    operator.follow("Jobs")
    operator.follow("Calendar")

    assert operator.clicks == 2
    assert 'name="from"' in operator.text
    assert 'name="until"' in operator.text
