"""Functions that tests of the testing helpers have called as jobs."""

import contextlib

import pytest
from django.db import IntegrityError, transaction

from django_jobs import current_run, get_job_manager
from django_jobs.testing import drain_jobs
from tests.probes.models import Mark


def violate():
    mark = Mark.objects.create(text="of a run that is undone where the database undoes it")
    Mark.objects.create(pk=mark.pk, text="the same key")


def catch_violation():
    with contextlib.suppress(IntegrityError):
        violate()


def mark_on_commit(text):
    def second():
        Mark.objects.create(text=f"{text} by that")

    def first():
        Mark.objects.create(text=text)
        transaction.on_commit(second)

    transaction.on_commit(first)


def add_itself():
    get_job_manager().add_immediate_job(add_itself)


def raise_it(name):
    raise {"KeyboardInterrupt": KeyboardInterrupt, "SystemExit": SystemExit}.get(name, pytest.fail.Exception)


def drain_inside():
    get_job_manager().add_immediate_job("tests.probes.jobs:mark", "inside")
    drain_jobs()
    return current_run().job_id
