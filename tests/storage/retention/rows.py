"""Prune, and see what is left."""

import threading
from datetime import timedelta

from django.utils import timezone

from django_jobs.models import MaintenanceTask, Run
from django_jobs.storage import retention
from django_jobs.storage.retention import rounds


def prune(keep_days=None, keep_runs_per_job=None, **more):
    return retention.prune(keep_days=keep_days, keep_runs_per_job=keep_runs_per_job, **more)


def prune_in_turn():
    return rounds.prune_in_turn("default", threading.Event())


def be_due():
    MaintenanceTask.objects.update(due_at=timezone.now() - timedelta(hours=1))


def ids():
    return list(Run.objects.order_by("id").values_list("id", flat=True))
