import json
import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from django_jobs.integrations import apscheduler

PROJECT = Path(__file__).parents[2] / "testproject"
# What only serves, works, looks or checks: the parts of the app that a command imports when it needs them.
NOT_IN_EVERY_COMMAND = {
    "apscheduler.triggers.calendarinterval",
    "django.db.migrations.executor",
    "django_jobs.admin.",
    "django_jobs.api",
    "django_jobs.execution.engines",
    "django_jobs.integrations.celery.",
    "django_jobs.integrations.django_tasks.",
    "django_jobs.live",
    "django_jobs.management",
    "django_jobs.operations",
    "django_jobs.scheduler",
    "django_jobs.storage.",
    "django_jobs.tasks",
    "django_jobs.triggers.description",
    "django_jobs.triggers.storage",
    "django_jobs.worker.",
}
# Of those, what is connected or asked in every process, and imports next to nothing.
SMALL = {
    "django_jobs.admin.panel",
    "django_jobs.admin.panel.mixin",
    "django_jobs.admin.shared",
    "django_jobs.admin.shared.stock",
    "apscheduler.triggers.calendarinterval",
    "django_jobs.storage.forks",
    "django_jobs.worker.autostart",
    "django_jobs.worker.components",
    "django_jobs.worker.first_steps",
}
# What the first request would wait for.
IN_A_SERVER = {
    "django_jobs.admin.jobs.page",
    "django_jobs.admin.runs.page",
    "django_jobs.api.manager",
    "django_jobs.storage.enqueue",
    "django_jobs.worker.service",
}
SHOW = "import json, sys; print(json.dumps(sorted(sys.modules)))"


def python(*arguments, **variables):
    env = (
        os.environ
        | {"DJANGO_SETTINGS_MODULE": "testproject.settings", "PYTHONPATH": str(PROJECT)}
        | variables
    )
    done = subprocess.run(
        [sys.executable, *arguments], cwd=PROJECT, env=env, check=True, capture_output=True, text=True
    )
    return done.stdout.splitlines()[-1]


@pytest.fixture(scope="module")
def modules_of_a_command():
    return set(json.loads(python("manage.py", "shell", "--no-imports", "-v", "0", "-c", SHOW)))


def test_a_plain_command_imports_no_manager_worker_clock_pages_or_integrations(modules_of_a_command):
    found = {name for name in modules_of_a_command - SMALL if name.startswith(tuple(NOT_IN_EVERY_COMMAND))}

    assert found == set()
    assert {"django_jobs.models", "django_jobs.admin", "reports.jobs"} <= modules_of_a_command


@pytest.mark.parametrize("application", ["wsgi", "asgi"])
def test_a_server_imports_before_its_first_request_what_requests_use(application):
    serve = f"from testproject import {application}; {SHOW}"

    modules = set(json.loads(python("-c", serve, DJANGO_JOBS_AUTOSTART="0")))

    assert modules >= IN_A_SERVER


def test_a_script_that_enqueues_imports_the_manager_with_its_first_call():
    script = (
        "import sys, django; django.setup(); from reports.jobs import write_report as f\n"
        "before = 'django_jobs.api.manager' in sys.modules; f.using(queue_name='few')._manager()\n"
        "print(before, 'django_jobs.api.manager' in sys.modules)"
    )

    assert python("-c", script) == "False True"


def test_the_schedulers_plugins_are_those_of_all_installed_packages():
    script = (
        "import django; django.setup(); from importlib import metadata\n"
        "from apscheduler.schedulers import base\n"
        "print(base.entry_points is metadata.entry_points, *[\n"
        "    all(point.name in plugins and plugins[point.name] == point and plugins.get('none') is None\n"
        "        for point in metadata.entry_points(group=f'apscheduler.{kind}s'))\n"
        "    for kind in ('trigger', 'executor', 'jobstore')\n"
        "    for plugins in [getattr(base.BaseScheduler, f'_{kind}_plugins')]])"
    )

    assert python("-c", script) == "True True True True"
    assert len(metadata.entry_points(group="apscheduler.triggers")) >= 3


def test_a_scheduler_of_the_projects_own_finds_plugins_by_their_names():
    script = (
        "import django; django.setup(); import logging\n"
        "from apscheduler.schedulers.background import BackgroundScheduler\n"
        "scheduler = BackgroundScheduler({'apscheduler.jobstores.default': {'type': 'memory'}})\n"
        "job = scheduler.add_job(print, 'interval', seconds=5)\n"
        "try:\n    scheduler.add_job(print, 'nosuch')\nexcept LookupError as error:\n    print(job.trigger, error)"
    )

    assert python("-c", script) == 'interval[0:00:05] No trigger by the name "nosuch" was found'


def test_searching_for_plugins_is_left_until_one_is_asked_for(monkeypatch):
    searched = []
    monkeypatch.setattr(metadata, "entry_points", lambda **params: searched.append(params) or [])
    plugins = apscheduler.Plugins("trigger")

    assert searched == []
    assert "cron" not in plugins
    with pytest.raises(KeyError):
        plugins["cron"]
    assert searched == [{"group": "apscheduler.triggers"}]
