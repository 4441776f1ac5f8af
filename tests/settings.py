"""The example project's settings, and an app of functions that tests have called as jobs."""

import json
import os

import django

from testproject.settings import *  # noqa: F403
from testproject.settings import INSTALLED_APPS, MIDDLEWARE

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

# What a test asks of the processes that it starts.
DJANGO_JOBS = json.loads(os.environ.get("TESTS_DJANGO_JOBS") or "{}")

# Of any queue, so that tests can choose; only `django_jobs.tasks` and its users read it.
TASKS = {"default": {"BACKEND": "django_jobs.tasks.JobsBackend", "QUEUES": []}}
