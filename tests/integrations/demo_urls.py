import os

from django.urls import include, path

from django_jobs.integrations.metrics import MetricsView

urlpatterns = [
    path("metrics/jobs", MetricsView.as_view(token=os.environ["METRICS_TOKEN"])),
    path("", include("testproject.urls")),
]
