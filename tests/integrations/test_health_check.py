import re
import sys
from datetime import timedelta

import pytest
from django.db import DatabaseError, connection
from django.test import RequestFactory
from django.utils import timezone
from health_check.views import HealthCheckView

from django_jobs.integrations.health_check import Jobs
from django_jobs.operations import health

CHECK = "django_jobs.integrations.health_check.Jobs"


@pytest.fixture
def ask(transactional_db, run_async):
    """Return a function that asks the library's view; what it says, and its status."""

    def get(**options):
        view = HealthCheckView.as_view(checks=[(CHECK, options)])
        answer = run_async(view(RequestFactory().get("/healthz/", {"format": "text"})))
        return answer.status_code, answer.content.decode()

    return get


def test_all_is_well_with_a_live_worker_that_has_a_clock(ask, make_worker):
    make_worker(has_clock=True)

    assert ask() == (200, "Jobs(): OK\n")


def test_without_a_worker_the_service_is_unavailable(ask):
    status, text = ask()

    assert status == 500
    assert re.match(r"Jobs\(\): Unavailable: no worker is alive, .*; no live worker has a clock", text)


def test_what_is_late_is_a_warning_that_says_what(ask, make_worker, make_run):
    make_worker(has_clock=True)
    make_run(run_after=timezone.now() - timedelta(minutes=6))

    status, text = ask()

    assert status == 500
    assert text.startswith("Jobs(): Warning: queue default: 1 run is due")
    assert ask(overdue=timedelta(minutes=7))[0] == 200
    assert ask(ignored=("overdue_runs",))[0] == 200


def test_a_clock_can_be_elsewhere(ask, make_worker):
    make_worker(has_clock=False)

    assert ask()[0] == 500
    assert ask(needs_clock=False)[0] == 200


def test_a_database_that_does_not_answer_is_said_without_its_address(ask, monkeypatch):
    def away(**_):
        raise DatabaseError("no route to db.example.com")

    monkeypatch.setattr(health, "report", away)

    status, text = ask()

    assert status == 500
    assert "Unavailable: the database of the jobs does not answer" in text
    assert "example.com" not in text


@pytest.mark.django_db(transaction=True)
def test_a_thread_that_had_no_connection_has_none_afterwards(make_worker):
    make_worker(has_clock=True)
    connection.close()

    Jobs().run()

    assert connection.connection is None


def test_without_the_library_it_says_what_to_install(monkeypatch):
    monkeypatch.delitem(sys.modules, "django_jobs.integrations.health_check")
    monkeypatch.setitem(sys.modules, "health_check.base", None)

    with pytest.raises(ImportError, match=r"pip install 'django-durable-jobs\[health-check\]'"):
        import django_jobs.integrations.health_check  # noqa: F401
