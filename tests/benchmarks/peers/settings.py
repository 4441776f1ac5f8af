"""Django settings of the other systems that are Django apps."""

import os

from tests.benchmarks.databases import describe

SECRET_KEY = "for benchmarks only"
INSTALLED_APPS = ["django.contrib.contenttypes", *filter(None, os.environ.get("BENCH_APPS", "").split(","))]
DATABASES = {"default": describe(os.environ["BENCH_KIND"], os.environ["BENCH_NAME"])}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
TIME_ZONE = "UTC"
DEBUG = False
if "django_tasks_db" in INSTALLED_APPS:
    TASKS = {"default": {"BACKEND": "django_tasks_db.DatabaseBackend"}}
if "procrastinate.contrib.django" in INSTALLED_APPS:
    PROCRASTINATE_IMPORT_PATHS = ["tests.benchmarks.peers.procrastinate_peer"]
