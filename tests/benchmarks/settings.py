"""Django settings of one measurement; its databases come from the environment."""

import os

from tests.benchmarks.databases import describe

SECRET_KEY = "for benchmarks only"
INSTALLED_APPS = ["django.contrib.contenttypes", "django_apscheduler", "django_jobs"]
DATABASES = {"default": describe(os.environ["BENCH_KIND"], os.environ["BENCH_NAME"])}
if os.environ.get("BENCH_OTHER_NAME"):
    # A second one, to measure the same thing over many rows and over few in turns.
    DATABASES["grown"] = describe(os.environ["BENCH_KIND"], os.environ["BENCH_OTHER_NAME"])
DJANGO_JOBS = {"AUTOSTART": False, "ALLOWED_MODULES": ["tests.benchmarks"]}
if os.environ.get("BENCH_MAX_LOG_BYTES"):
    DJANGO_JOBS["MAX_LOG_BYTES"] = int(os.environ["BENCH_MAX_LOG_BYTES"])
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
TIME_ZONE = "UTC"
