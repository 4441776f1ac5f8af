import pytest
from django.core.checks import run_checks
from django.db import connections

from django_jobs import checks

pytestmark = pytest.mark.django_db


def ids(found):
    return [message.id for message in found]


def test_the_example_project_has_no_problem_of_ours():
    assert [message for message in run_checks() if message.id.startswith("django_jobs")] == []


def test_a_wrong_setting_is_an_error_of_check(settings):
    settings.DJANGO_JOBS = {"THREAD": 3}

    (message,) = checks.check_settings()

    assert message.id == "django_jobs.E001"
    assert "did you mean THREADS?" in message.msg
    assert message in run_checks()


def test_a_missing_django_apscheduler_is_named(settings):
    settings.INSTALLED_APPS = [app for app in settings.INSTALLED_APPS if app != "django_apscheduler"]

    assert ids(checks.check_apps()) == ["django_jobs.E002"]


def test_naive_times_are_refused(settings):
    settings.USE_TZ = False

    assert ids(checks.check_time_zones()) == ["django_jobs.E003"]


def test_a_database_without_the_router_is_an_error(settings):
    settings.DJANGO_JOBS = {"DATABASE": "default"}
    assert ids(checks.check_database()) == ["django_jobs.E004"]

    settings.DATABASE_ROUTERS = ["django_jobs.routers.JobsRouter"]
    assert ids(checks.check_database()) == []


@pytest.mark.parametrize("vendor", ["oracle", "unknown"])
def test_a_database_that_we_do_not_know_is_an_error(monkeypatch, vendor):
    monkeypatch.setattr(connections["default"], "vendor", vendor)

    assert ids(checks.check_database()) == ["django_jobs.E005"]
