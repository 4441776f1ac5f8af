import ast
import contextlib
import re
import sqlite3
import sys
from pathlib import Path

import pytest
from django.core import management
from django.core.checks import Tags, run_checks
from django.db import connections
from django.db.migrations.recorder import MigrationRecorder

from django_jobs import checks, conf, cron, job
from django_jobs.management.commands import runjobs
from django_jobs.registry import decorators, discovery, functions, options
from tests.execution.engines import celery_apps
from tests.probes import jobs as probes

pytestmark = pytest.mark.django_db

README = Path(__file__).parents[1] / "README.md"


def ids(found):
    return [message.id for message in found]


@pytest.fixture
def no_functions_of_tests(monkeypatch):
    registered = {path for path in functions._registered if not path.startswith("tests.")}
    monkeypatch.setattr(functions, "_registered", registered)


@pytest.mark.usefixtures("no_functions_of_tests")
def test_the_example_project_has_no_problem_of_ours():
    assert [message for message in run_checks() if message.id.startswith("django_jobs")] == []


def test_a_wrong_setting_is_an_error_of_check(settings):
    settings.DJANGO_JOBS = {"THREAD": 3}

    (message,) = checks.check_settings()

    assert message.id == "django_jobs.E001"
    assert "did you mean THREADS?" in message.msg
    assert message in run_checks()


def test_check_says_by_which_zone_expressions_without_one_go(settings, forgotten):
    cron("0 3 * * *", job_id="open")(probes.nothing)
    cron("0 3 * * *", timezone="Europe/Berlin", job_id="said")(probes.nothing)
    settings.TIME_ZONE = "Europe/Berlin"

    (message,) = checks.check_cron_zone()

    assert message.id == "django_jobs.I001"
    assert "not by TIME_ZONE (Europe/Berlin): open." in message.msg
    assert "CRON_TIME_ZONE" in message.hint
    settings.DJANGO_JOBS = {"CRON_TIME_ZONE": "UTC"}
    assert checks.check_cron_zone() == []


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


@pytest.fixture
def database(monkeypatch):
    """Return a function that changes what the default database is taken to be."""

    def change(vendor, **settings):
        monkeypatch.setattr(connections["default"], "vendor", vendor)
        monkeypatch.setattr(connections["default"], "is_in_memory_db", lambda: False, raising=False)
        for key, value in settings.items():
            monkeypatch.setitem(connections["default"].settings_dict, key, value)

    return change


WAL = "PRAGMA journal_mode=WAL;"


@pytest.mark.parametrize(
    ("options", "lacks"),
    [
        ({}, ["WAL", "IMMEDIATE"]),
        ({"init_command": WAL}, ["IMMEDIATE"]),
        ({"init_command": WAL, "transaction_mode": "DEFERRED"}, ["IMMEDIATE"]),
        ({"init_command": "PRAGMA journal_mode=DELETE;", "transaction_mode": "IMMEDIATE"}, ["WAL"]),
        ({"init_command": "pragma journal_mode = 'wal'", "transaction_mode": "exclusive"}, []),
        ({"init_command": f"PRAGMA foreign_keys=1; {WAL}", "transaction_mode": "IMMEDIATE"}, []),
    ],
)
def test_sqlite_that_is_not_set_up_for_more_than_one_writer_is_a_warning(database, tmp_path, options, lacks):
    database("sqlite", NAME=tmp_path / "none.sqlite3", OPTIONS=options)

    found = checks.check_sqlite()

    assert ids(found) == (["django_jobs.W002"] if lacks else [])
    for word in ("WAL", "IMMEDIATE"):
        assert (word in "".join(message.msg for message in found)) == (word in lacks)


@pytest.mark.parametrize("mode", ["wal", "delete"])
def test_a_sqlite_file_that_was_put_in_wal_mode_once_stays_in_it(database, tmp_path, mode):
    path = tmp_path / "file.sqlite3"
    with contextlib.closing(sqlite3.connect(path)) as raw:
        raw.execute(f"PRAGMA journal_mode={mode}")
        raw.execute("CREATE TABLE thing (id INTEGER)")
    database("sqlite", NAME=str(path), OPTIONS={"transaction_mode": "IMMEDIATE"})

    assert ids(checks.check_sqlite()) == ([] if mode == "wal" else ["django_jobs.W002"])


def test_other_databases_have_no_modes_to_choose(database):
    database("postgresql", OPTIONS={})

    assert checks.check_sqlite() == []


def test_sqlites_modes_are_a_question_without_a_deploy_too(database, tmp_path):
    database("sqlite", NAME=str(tmp_path / "none.sqlite3"), OPTIONS={})

    assert "django_jobs.W002" in ids(run_checks(tags=[Tags.compatibility]))


def test_the_options_of_the_readme_are_those_that_the_check_wants(database, tmp_path):
    (text,) = re.findall(
        r'^DATABASES\["default"\]\["OPTIONS"\] = ({.*?^})', README.read_text(), re.MULTILINE | re.DOTALL
    )

    database("sqlite", NAME=str(tmp_path / "none.sqlite3"), OPTIONS=ast.literal_eval(text))

    assert checks.check_sqlite() == []


def test_migrations_that_are_not_applied_are_named(monkeypatch):
    assert checks.check_migrations(databases=["default"]) == []
    MigrationRecorder.Migration.objects.filter(app="django_jobs").delete()

    (message,) = [m for m in run_checks(databases=["default"]) if m.id == "django_jobs.W003"]

    assert "django_jobs.0001_initial" in message.msg
    # Nobody asked the database, or the answer is on its way.
    assert checks.check_migrations() == []
    monkeypatch.setattr(sys, "argv", ["manage.py", "migrate"])
    assert checks.check_migrations(databases=["default"]) == []


@pytest.fixture
def decorate(monkeypatch):
    """Return a function that decorates one of this module's functions for the time of a test."""
    module = sys.modules[__name__]
    monkeypatch.setattr(functions, "_registered", set())

    def add(function, **options):
        function.__qualname__ = function.__name__
        monkeypatch.setattr(module, function.__name__, job(**options)(function), raising=False)

    return add


def test_a_job_that_takes_a_secret_is_named_with_the_way_out(decorate):
    def log_in(user, password, *, api_key=""):
        raise NotImplementedError

    decorate(log_in)

    (message,) = checks.check_secrets()

    assert message.id == "django_jobs.W004"
    assert f"{__name__}:log_in takes password, api_key as an argument" in message.msg
    assert "@job(sensitive=['password', 'api_key'])" in message.hint


def test_a_job_that_says_what_is_secret_is_left_alone(decorate):
    def log_in(user, password):
        raise NotImplementedError

    decorate(log_in, sensitive=["password"])

    assert checks.check_secrets() == []


def test_words_that_only_contain_a_secrets_are_no_secrets(decorate):
    def count(author_id, max_tokens, token_count, passenger, key, monkey, keys, secretary):
        raise NotImplementedError

    decorate(count)

    assert checks.check_secrets() == []


@pytest.mark.parametrize("name", ["secret", "client_secret", "refresh_token", "DB_PASSWORD", "private_key"])
def test_words_that_name_a_secret(name):
    assert re.search(checks.SECRET, name.lower())


def test_a_pooler_in_transaction_mode_is_a_warning_until_somebody_chose_how_long_to_wait(database, settings):
    database("postgresql", DISABLE_SERVER_SIDE_CURSORS=True)
    (found,) = checks.check_pooler_settings()
    assert found.id == "django_jobs.W006"
    assert f"every {conf.JobsSettings().POLL_SECONDS} seconds" in found.msg

    settings.DJANGO_JOBS = {"POLL_SECONDS": 1}
    assert checks.check_pooler_settings() == []

    settings.DJANGO_JOBS = {}
    database("postgresql", DISABLE_SERVER_SIDE_CURSORS=False)
    assert checks.check_pooler_settings() == []


@pytest.mark.usefixtures("no_functions_of_tests")
def test_the_checks_of_a_deploy_find_nothing_in_the_example_project():
    found = run_checks(include_deployment_checks=True, databases=["default"])

    assert [message for message in found if message.id.startswith("django_jobs")] == []


def test_celery_without_an_app_or_with_one_that_takes_no_json_is_an_error(settings, monkeypatch):
    settings.DJANGO_JOBS = {"ENGINES": {"fleet": "celery"}}
    monkeypatch.setattr("celery._state.default_app", None)
    monkeypatch.setattr("celery._state._tls.current_app", None)
    (message,) = checks.check_celery()
    assert message.id == "django_jobs.E020"
    assert "no Celery app was made" in message.msg

    settings.DJANGO_JOBS = {
        "ENGINES": {"fleet": "celery"},
        "CELERY_APP": "tests.execution.engines.celery_apps.missing",
    }
    (message,) = checks.check_celery()
    assert "tests.execution.engines.celery_apps.missing" in message.msg

    settings.DJANGO_JOBS = {
        "ENGINES": {"fleet": "celery"},
        "CELERY_APP": "tests.execution.engines.celery_apps.URLS",
    }
    (message,) = checks.check_celery()
    assert "which is not a Celery app" in message.msg

    settings.DJANGO_JOBS = {
        "ENGINES": {"fleet": "celery"},
        "CELERY_APP": "tests.execution.engines.celery_apps:redis",
    }
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
        ("tests.nowhere.pool", "cannot be imported"),
        ("tests.execution.engines.test_conformance:missing", "cannot be imported"),
        ("tests.execution.engines.celery_apps:URLS", "cannot be called"),
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


def test_options_of_schedules_on_a_function_without_one_are_named(monkeypatch, forgotten):
    chosen = options.JobOptions(max_instances=1, misfire_grace_time=5)
    functions_of = {"shop.jobs:lone": probes.nothing, "shop.jobs:both": probes.add}
    cron("0 3 * * *", args=[1], kwargs={"b": 2}, job_id="both")(probes.add)
    monkeypatch.setattr(decorators, "decorated", lambda: functions_of)
    monkeypatch.setattr(decorators, "options_of", lambda function: chosen)

    (message,) = checks.check_schedule_options()

    assert message.id == "django_jobs.I002"
    assert message.msg.startswith("shop.jobs:lone has max_instances, misfire_grace_time in @job")
    assert "use unique=Unique(key)" in message.hint


def test_a_command_runjobs_of_the_projects_own_made_from_ours_is_fine(monkeypatch):
    class Theirs(runjobs.Command):
        pass

    monkeypatch.setattr(management, "get_commands", lambda: {"runjobs": "shop"})
    monkeypatch.setattr(management, "load_command_class", lambda app, name: Theirs())

    assert checks.check_commands() == []


def test_a_schedule_for_some_environments_in_one_without_a_name_is_said(forgotten, settings):
    cron("0 3 * * *", environments=["production", "staging"])(probes.nothing)

    (message,) = checks.check_environment()

    assert message.id == "django_jobs.I003"
    assert "(production, staging)" in message.msg
    settings.DJANGO_JOBS = {"ENVIRONMENT": "laptop"}
    assert checks.check_environment() == []


def test_a_database_that_does_not_commit_by_itself_is_an_error(database):
    database(connections["default"].vendor, AUTOCOMMIT=False)

    assert "django_jobs.E006" in ids(checks.check_database())


def test_a_module_of_an_installed_package_that_cannot_be_imported_is_a_warning(monkeypatch):
    monkeypatch.setattr(discovery, "_failures", {"theirs.jobs": "theirs.jobs cannot be imported: no"})

    (found,) = checks.check_installed_jobs()

    assert (found.id, found.msg) == ("django_jobs.W009", "theirs.jobs cannot be imported: no.")
