"""`manage.py check` of a project as startproject makes it: a check only helps where the command reaches it."""

import os
import sys

import pytest
from django.core.management import call_command

BOTH = 'INSTALLED_APPS += ["django_apscheduler", "django_jobs"]\n'


@pytest.fixture
def check(tmp_path, zygote):
    """Return a function that adds lines to a new project's settings and returns what `manage.py check` says."""
    call_command("startproject", "mysite", str(tmp_path))
    env = {name: value for name, value in os.environ.items() if not name.startswith("DJANGO_")}

    def run(lines, *arguments):
        with (tmp_path / "mysite" / "settings.py").open("a") as file:
            file.write(lines)
        done = zygote.run([sys.executable, *(arguments or ("manage.py", "check"))], env, cwd=tmp_path)
        return done.returncode, done.stderr

    return run


def test_a_new_project_is_told_the_options_of_sqlite_to_paste(check):
    code, said = check(BOTH)

    assert code == 0
    assert said.count("?: (django_jobs.") == 1
    assert "(django_jobs.W002)" in said
    assert '"OPTIONS": {"timeout": 20, "transaction_mode": "IMMEDIATE"' in said


def test_a_forgotten_django_apscheduler_is_named_with_the_way_out(check):
    code, said = check('INSTALLED_APPS += ["django_jobs"]\n')

    assert code == 1
    assert said.splitlines()[-1].endswith(
        "django_jobs extends a table of django_apscheduler, which is not installed: add "
        '"django_apscheduler" to INSTALLED_APPS.'
    )


@pytest.mark.parametrize("value", ['["THREADS"]', '"THREADS"', "5"])
def test_settings_that_are_no_dict_are_an_error_of_check(check, value):
    code, said = check(f"{BOTH}DJANGO_JOBS = {value}\n")

    assert code == 1
    assert "(django_jobs.E001) DJANGO_JOBS must be a dict" in said
    assert "Traceback" not in said


def test_each_value_of_a_wrong_type_is_an_error_of_check(check):
    numbers = dict.fromkeys(
        ["THREADS", "PROCESSES", "POLL_SECONDS", "MAX_RUNS_PER_CHILD", "KEEP_DAYS"], "ten"
    )
    others = {
        "AUTOSTART": "yes", "CLOCK": None, "ENGINES": "processes", "MOVED": ["a"], "QUEUES": 5,
        "ALLOWED_MODULES": {"a": 1}, "DATABASE": ["default"], "CELERY_APP": 5, "SOCKET_URL": 5,
    }  # fmt: skip
    wrong = numbers | others

    code, said = check(f"{BOTH}DJANGO_JOBS = {wrong!r}\n")

    assert code == 1
    assert [key for key in wrong if f"(django_jobs.E001) DJANGO_JOBS['{key}'] is " not in said] == []
    assert "Traceback" not in said


def test_naive_times_and_a_database_without_its_router_are_errors_of_check(check):
    code, said = check(f'{BOTH}USE_TZ = False\nDJANGO_JOBS = {{"DATABASE": "default"}}\n')

    assert code == 1
    assert "(django_jobs.E003)" in said
    assert "(django_jobs.E004)" in said


@pytest.mark.parametrize("server", ["wsgi", "asgi"])
def test_a_server_logs_the_options_of_sqlite_once_as_it_starts(check, server):
    code, said = check(f'{BOTH}DJANGO_JOBS = {{"AUTOSTART": False}}\n', "-c", f"import mysite.{server}")

    assert code == 0
    assert said.count("is not set up for more than one writer") == 1
    assert '"transaction_mode": "IMMEDIATE"' in said


def test_another_apps_command_runjobs_is_named_with_the_command_that_always_works(check, tmp_path):
    commands = tmp_path / "extensions" / "management" / "commands"
    commands.mkdir(parents=True)
    for package in (commands, commands.parent, commands.parent.parent):
        (package / "__init__.py").touch()
    (commands / "runjobs.py").write_text(
        "from django.core.management.base import BaseCommand\n"
        "class Command(BaseCommand):\n"
        "    def handle(self, **options):\n"
        "        self.stderr.write('nothing of ours runs')\n"
    )

    code, said = check(f'INSTALLED_APPS += ["extensions"]\n{BOTH}')

    assert code == 0
    assert "(django_jobs.W007) `manage.py runjobs` is the command of extensions" in said
    assert "Use `manage.py jobs work`" in said
    assert check("", "manage.py", "runjobs")[1].endswith("nothing of ours runs\n")
    code, said = check("", "manage.py", "jobs", "work", "--max-age", "5", "--settings=mysite.settings")
    assert code == 1
    assert "--max-age is about processes that are replaced: it needs --processes" in said
