"""Functions that tests have called as jobs, and where they leave their marks."""

from django.apps import AppConfig


class ProbesConfig(AppConfig):
    """The app."""

    name = "tests.probes"
    default_auto_field = "django.db.models.BigAutoField"
