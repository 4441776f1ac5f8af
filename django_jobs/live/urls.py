"""For a project's own pages: `path("django-jobs/", include("django_jobs.live.urls"))`."""

from __future__ import annotations

from django.urls import path

from django_jobs.live import views

app_name = "django_jobs"
urlpatterns = [path("jobs/<str:token>/", views.job, name="job")]
