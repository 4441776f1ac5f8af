import sys

import pytest
from django.core.checks import run_checks
from django.db import connections

from django_jobs import checks
from tests.engines import celery_apps

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


def test_celery_without_an_app_or_with_one_that_takes_no_json_is_an_error(settings, monkeypatch):
    settings.DJANGO_JOBS = {"ENGINES": {"fleet": "celery"}}
    monkeypatch.setattr("celery._state.default_app", None)
    monkeypatch.setattr("celery._state._tls.current_app", None)
    (message,) = checks.check_celery()
    assert message.id == "django_jobs.E020"
    assert "no Celery app was made" in message.msg

    settings.DJANGO_JOBS = {"ENGINES": {"fleet": "celery"}, "CELERY_APP": "tests.engines.celery_apps.missing"}
    (message,) = checks.check_celery()
    assert "tests.engines.celery_apps.missing" in message.msg

    settings.DJANGO_JOBS = {"ENGINES": {"fleet": "celery"}, "CELERY_APP": "tests.engines.celery_apps.URLS"}
    (message,) = checks.check_celery()
    assert "which is no Celery app" in message.msg

    settings.DJANGO_JOBS = {"ENGINES": {"fleet": "celery"}, "CELERY_APP": "tests.engines.celery_apps:redis"}
    assert checks.check_celery() == []

    app = celery_apps.make_app("pickled", celery_apps.URLS["redis"])
    app.conf.accept_content = ["pickle"]
    monkeypatch.setattr(celery_apps, "redis", app)
    (message,) = checks.check_celery()
    assert 'add "json" to its accept_content' in message.msg


def test_a_celery_that_is_not_installed_is_named_with_its_extra(settings, monkeypatch):
    settings.DJANGO_JOBS = {"ENGINES": {"fleet": "celery"}}
    monkeypatch.setitem(sys.modules, "celery", None)

    (message,) = checks.check_celery()

    assert 'pip install "django-durable-jobs[celery]"' in message.msg


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("tests.nowhere.pool", "cannot be had"),
        ("tests.engines.test_conformance:missing", "cannot be had"),
        ("tests.engines.celery_apps:URLS", "cannot be called"),
        ("tests.probes.jobs.nothing", "takes no argument max_workers"),
    ],
)
def test_an_engine_that_makes_no_executor_is_an_error(settings, path, says):
    settings.DJANGO_JOBS = {"ENGINES": {"own": path, "another": path}}

    (message,) = checks.check_executors()

    assert message.id == "django_jobs.E021"
    assert path in message.msg
    assert says in message.msg


def test_engines_that_can_be_had_are_no_problem(settings):
    settings.DJANGO_JOBS = {
        "ENGINES": {
            "default": "threads", "cpu": "processes", "script": "inline",
            "own": "concurrent.futures.ThreadPoolExecutor", "loky": "loky:get_reusable_executor",
        }
    }  # fmt: skip

    assert [*checks.check_settings(), *checks.check_celery(), *checks.check_executors()] == []
