"""What the web processes of the fault tests serve: one address that adds a job."""

import os

from django.db import DatabaseError, InterfaceError
from django.http import HttpResponse
from django.urls import path

from django_jobs import get_job_manager
from tests.probes import ledger


def add(request):
    """Add a job and answer with its id; 503 when the database refused, which may have committed it."""
    try:
        job_id = get_job_manager().add_immediate_job(ledger.work, float(request.GET.get("seconds", 0)))
    except (DatabaseError, InterfaceError) as error:
        return HttpResponse(str(error), status=503)
    return HttpResponse(job_id)


def pid(request):
    """Name the process that answers."""
    return HttpResponse(str(os.getpid()))


urlpatterns = [path("add/", add), path("pid/", pid)]
