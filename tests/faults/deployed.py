"""The project that `tests.faults.rolling_deploy` deploys, with the old code and with the new: an app named `deployed`."""

SETTINGS = """
from testproject.settings import *

INSTALLED_APPS = [name for name in INSTALLED_APPS if name.startswith("django")] + ["deployed"]
ROOT_URLCONF = "deployed.urls"
DJANGO_JOBS = {"HEARTBEAT_SECONDS": 1, "LEASE_SECONDS": 8, "POLL_SECONDS": 1}
"""

JOBS = """
import os
import time

from django_jobs import Retry, current_run, job, recurring


def write(name, number):
    run = current_run()
    words = (name, number, run.run_id, run.attempt, os.environ["DEPLOYED"])
    line = " ".join(map(str, words)) + os.linesep
    ledger = os.open(os.environ["DEPLOYED_LEDGER"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(ledger, line.encode())
    os.close(ledger)


@job
def work(number):
    write("work", number)
    time.sleep(0.05)
    return number


@job(retry=Retry(3, delay=0.2))
def second_time(number):
    write("second_time", number)
    if current_run().attempt == 1:
        raise ValueError("the first time")
    return number


@job
def join(number):
    write("join", number)


@recurring(seconds=1, job_id="steady")
def steady():
    write("steady", 0)
"""

ADD = """
import signal
import sys
import time
from datetime import timedelta

import django

django.setup()

from django.db import OperationalError
from django.utils import timezone
from deployed.jobs import join, second_time, work
from django_jobs import get_job_manager

stops = []
signal.signal(signal.SIGTERM, lambda *args: stops.append(1))
manager = get_job_manager()
version, number = sys.argv[1], 0


def add(kind, name, number):
    if kind == 0:
        manager.add_scheduled_job(work, timezone.now() + timedelta(seconds=1), number, job_id=name)
    elif kind == 1:
        manager.using(queue_name="other", priority=5).add_immediate_job(work, number, job_id=name)
    else:
        manager.add_immediate_job(second_time if kind == 2 else work, number, job_id=name)


while not stops:
    number += 1
    name = f"{version}-{number}"
    try:
        add(number % 5, name, number)
    except OperationalError as error:
        # A deadlock of MariaDB's, which has undone it: nothing was accepted.
        print(error, flush=True)
        continue
    print(name, flush=True)
    if version == "new" and number % 20 == 0:
        with manager.batch(f"batch-{number}") as batch:
            parts = [batch.add(work, number) for _ in range(4)]
            batch.add(join, number, after=parts)
    time.sleep(0.03)
"""

# Held runs of a queue that a bulk action cancels; the action waits, too, until its queue is resumed.
ASK = """
import sys
import time

import django

django.setup()

from importlib import import_module

from deployed.jobs import work
from django.contrib.auth import get_user_model
from django_jobs import get_job_manager
from django_jobs.models import Run

version, place = sys.argv[1:]
manager = get_job_manager()
held, own = f"held-{version}", f"bulk-{version}"
user, _ = get_user_model().objects.get_or_create(username="staff", is_staff=True, is_superuser=True)
manager.pause_queue(held)
manager.pause_queue(own)
# For a claim that is under way.
time.sleep(1)
for number in range(30):
    manager.using(queue_name=held).add_immediate_job(work, number, job_id=f"{held}-{number}")
act = import_module(place).act_on_matching
up_to = Run.objects.order_by("-pk").first().pk
manager.using(queue_name=own).add_immediate_job(
    act, "cancel", {"queue": held}, up_to, user.pk, job_id=own
)
"""

FILES = {
    "__init__.py": "",
    "urls.py": "urlpatterns = []\n",
    "settings.py": SETTINGS,
    "jobs.py": JOBS,
    "add.py": ADD,
    "ask.py": ASK,
}
