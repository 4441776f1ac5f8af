"""Pages of jobs, runs, workers and queues in Django's own admin."""

from __future__ import annotations

from django.contrib import admin
from django_apscheduler import admin as apscheduler_admin
from django_apscheduler.models import DjangoJob, DjangoJobExecution

from django_jobs.admin.dashboard.page import DashboardAdmin
from django_jobs.admin.jobs.page import JobAdmin
from django_jobs.admin.queues.page import QueueAdmin
from django_jobs.admin.runs.page import RunAdmin
from django_jobs.admin.workers.page import WorkerAdmin
from django_jobs.conf import jobs_settings

__all__ = ["DashboardAdmin", "JobAdmin", "QueueAdmin", "RunAdmin", "WorkerAdmin", "hide_apscheduler_pages"]

# By importing its admin above we have django-apscheduler register its pages now, whatever the
# order of INSTALLED_APPS, so that they can be taken back here.
_THEIRS = {
    DjangoJob: apscheduler_admin.DjangoJobAdmin,
    DjangoJobExecution: apscheduler_admin.DjangoJobExecutionAdmin,
}


def hide_apscheduler_pages(site: admin.AdminSite) -> None:
    """Unregister django-apscheduler's own pages, unless the project put others in their place."""
    for model, page in _THEIRS.items():
        if site.is_registered(model) and type(site.get_model_admin(model)) is page:
            site.unregister(model)


if not jobs_settings().SHOW_APSCHEDULER_ADMIN:
    hide_apscheduler_pages(admin.site)
