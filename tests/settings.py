"""The example project's settings, and an app of functions that tests have called as jobs."""

import json
import os
from pathlib import Path

import django

# Each of several test processes has a folder of its own, and with it a SQLite database; so have those that
# it starts, which inherit both variables.
WORKER = os.environ.get("PYTEST_XDIST_WORKER")
if WORKER:
    folder = Path(os.environ.get("TESTPROJECT_VAR") or Path(__file__).parents[1] / "testproject" / "var")
    if folder.name != WORKER:
        os.environ["TESTPROJECT_VAR"] = str(folder / WORKER)

from testproject.settings import *  # noqa: E402, F403 - it reads what was just set
from testproject.settings import INSTALLED_APPS, LOGGING, MIDDLEWARE  # noqa: E402

INSTALLED_APPS = [*INSTALLED_APPS, "tests.probes"]
if django.VERSION < (6, 0):
    # The backport of Django Tasks.
    INSTALLED_APPS.append("django_tasks")
if os.environ.get("TESTS_APP"):
    INSTALLED_APPS = [*INSTALLED_APPS, os.environ["TESTS_APP"]]

# Pages in the language that a browser asks for, and under a policy that forbids inline scripts and styles.
LOCALE = "django.middleware.locale.LocaleMiddleware"
if LOCALE not in MIDDLEWARE:
    after = MIDDLEWARE.index("django.contrib.sessions.middleware.SessionMiddleware") + 1
    MIDDLEWARE = [*MIDDLEWARE[:after], LOCALE, *MIDDLEWARE[after:]]
MIDDLEWARE = ["tests.browser.policy.strict_policy", *MIDDLEWARE]

# Passwords are hashed in an instant.
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]

# What a test asks of the processes that it starts.
DJANGO_JOBS = json.loads(os.environ.get("TESTS_DJANGO_JOBS") or "{}")

# Of any queue, so that tests can choose; only `django_jobs.tasks` and its users read it.
TASKS = {"default": {"BACKEND": "django_jobs.tasks.JobsBackend", "QUEUES": []}}

if os.environ.get("TESTS_LOG_FORMAT"):
    # Lines that say which run they are from.
    LOGGING["filters"] = {"run": {"()": "django_jobs.logs.RunFilter"}}
    LOGGING["formatters"]["line"]["format"] = "[{job_id} {run_id} {attempt} {queue_name}] {message}"
    LOGGING["handlers"]["console"]["filters"] = ["run"]
