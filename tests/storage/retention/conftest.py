from datetime import timedelta

import pytest
from django.utils import timezone

from django_jobs.models import FINISHED, Status
from django_jobs.storage.retention import deleter


@pytest.fixture(autouse=True)
def no_rests(monkeypatch):
    monkeypatch.setattr(deleter, "REST", 0)


@pytest.fixture
def make_old(make_run):
    """Return a factory of runs that were enqueued, and have finished, so many days ago."""

    def make(days, took_days=0.0, **fields):
        then = timezone.now() - timedelta(days=days)
        fields.setdefault("status", Status.SUCCESSFUL)
        finished_at = then + timedelta(days=took_days) if fields["status"] in FINISHED else None
        return make_run(enqueued_at=then, run_after=then, finished_at=finished_at, **fields)

    return make
