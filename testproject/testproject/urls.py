"""The demo's few addresses: the admin, documents to watch, and a small JSON interface to the job manager."""

from __future__ import annotations

from django.contrib import admin
from django.urls import include, path
from django.views.generic import RedirectView

from documents import uploads, views

urlpatterns = [
    path("", RedirectView.as_view(pattern_name="admin:index"), name="home"),
    path("documents/", uploads.documents, name="documents"),
    path("django-jobs/", include("django_jobs.live.urls")),
    path("ingest/", views.ingest, name="ingest"),
    path("jobs/", views.jobs, name="jobs"),
    path("jobs/<str:job_id>/", views.job, name="job"),
    path("admin/", admin.site.urls),
]
