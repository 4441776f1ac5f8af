"""Pages of jobs, runs, workers and queues in Django's own admin.

Django imports this module in every command of a project that has the admin. So the pages are registered
here, and imported when the admin or a check first looks at one.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.utils.functional import SimpleLazyObject
from django_apscheduler import admin as apscheduler_admin
from django_apscheduler.models import DjangoJob, DjangoJobExecution

from django_jobs.conf import jobs_settings
from django_jobs.models import Batch, Dashboard, Job, LimitEdit, Queue, Run, Worker
from django_jobs.worker.autostart import serves_requests

if TYPE_CHECKING:
    from django.db.models import Model

    from django_jobs.admin.batches.page import BatchAdmin
    from django_jobs.admin.dashboard.page import DashboardAdmin
    from django_jobs.admin.jobs.page import JobAdmin
    from django_jobs.admin.limits.page import LimitAdmin
    from django_jobs.admin.panel.mixin import JobsPanel
    from django_jobs.admin.queues.page import QueueAdmin
    from django_jobs.admin.runs.page import RunAdmin
    from django_jobs.admin.workers.page import WorkerAdmin

    _Lazy = SimpleLazyObject[Any]
else:
    # Django's cannot be subscripted when the program runs.
    _Lazy = SimpleLazyObject

__all__ = [
    "BatchAdmin",
    "DashboardAdmin",
    "JobAdmin",
    "JobsPanel",
    "LimitAdmin",
    "QueueAdmin",
    "RunAdmin",
    "WorkerAdmin",
    "hide_apscheduler_pages",
]

_HOMES = {
    "BatchAdmin": "batches.page",
    "DashboardAdmin": "dashboard.page",
    "JobAdmin": "jobs.page",
    "LimitAdmin": "limits.page",
    "JobsPanel": "panel.mixin",
    "QueueAdmin": "queues.page",
    "RunAdmin": "runs.page",
    "WorkerAdmin": "workers.page",
}
_PAGES: dict[type[Model], str] = {
    Batch: "BatchAdmin",
    Dashboard: "DashboardAdmin",
    Job: "JobAdmin",
    LimitEdit: "LimitAdmin",
    Queue: "QueueAdmin",
    Run: "RunAdmin",
    Worker: "WorkerAdmin",
}

# By importing its admin above we have django-apscheduler register its pages now, whatever the
# order of INSTALLED_APPS, so that they can be taken back here.
_THEIRS = {
    DjangoJob: apscheduler_admin.DjangoJobAdmin,
    DjangoJobExecution: apscheduler_admin.DjangoJobExecutionAdmin,
}


def __getattr__(name: str) -> Any:
    try:
        home = _HOMES[name]
    except KeyError:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None
    return getattr(import_module(f"{__name__}.{home}"), name)


def _stand_in(name: str) -> type[_Lazy]:
    """Return what stands for a page among those of a site, and becomes it when it is looked at.

    A class, because projects fill sites of their own with `site.register(model, type(page))`.
    """

    class Page(_Lazy):
        def __init__(self, model: type[Model], site: admin.AdminSite) -> None:
            super().__init__(lambda: __getattr__(name)(model, site))

    return Page


def hide_apscheduler_pages(site: admin.AdminSite) -> None:
    """Unregister django-apscheduler's own pages, unless the project put others in their place."""
    for model, page in _THEIRS.items():
        if site.is_registered(model) and type(site.get_model_admin(model)) is page:
            site.unregister(model)


for _model, _name in _PAGES.items():
    admin.site.register(_model, _stand_in(_name))  # type: ignore[arg-type] # only called, with model and site
if not jobs_settings().SHOW_APSCHEDULER_ADMIN:
    hide_apscheduler_pages(admin.site)
if serves_requests():
    # No request should wait for them.
    for _name in _HOMES:
        __getattr__(_name)
