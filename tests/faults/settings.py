"""Settings of the processes that the fault tests start; what differs comes from the environment.

FAULTS_DJANGO_JOBS: JSON of keys for DJANGO_JOBS.
FAULTS_LOCK_SECONDS: how long SQLite waits for another writer. Defaults to the example project's.
FAULTS_AT: where to stop or end the process, see `tests.faults.instants`.
FAULTS_SECRET_KEY: another one, as of another project.
FAULTS_OLD_KEYS: "1" for the usual key as its fallback.
FAULTS_USE_TZ: "0" for naive times.
FAULTS_MODULE: a module to import at start, as some part of the project would be.
FAULTS_ALERT_SECONDS: how often alerts are looked for, and how long something is wrong before it is told.
FAULTS_LEDGER: the file that the functions of `tests.probes.ledger` write to.
"""

import importlib
import json
import os

from tests.settings import *  # noqa: F403
from tests.settings import DATABASES, INSTALLED_APPS, SECRET_KEY

INSTALLED_APPS = [*INSTALLED_APPS, "tests.faults"]
DJANGO_JOBS = json.loads(os.environ.get("FAULTS_DJANGO_JOBS") or "{}")
ROOT_URLCONF = "tests.faults.urls"
if os.environ.get("FAULTS_LOCK_SECONDS"):
    DATABASES["default"]["OPTIONS"]["timeout"] = float(os.environ["FAULTS_LOCK_SECONDS"])
if os.environ.get("FAULTS_SECRET_KEY"):
    SECRET_KEY_FALLBACKS = [SECRET_KEY] if os.environ.get("FAULTS_OLD_KEYS") else []
    SECRET_KEY = os.environ["FAULTS_SECRET_KEY"]
if os.environ.get("FAULTS_USE_TZ") == "0":
    USE_TZ = False
if os.environ.get("FAULTS_MODULE"):
    importlib.import_module(os.environ["FAULTS_MODULE"])
