"""Functions that tests have called as jobs, and where they leave their marks."""

import os

from django.apps import AppConfig


class ProbesConfig(AppConfig):
    """The app."""

    name = "tests.probes"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self):
        from django_jobs import functions

        if not os.environ.get("TESTS_APP"):
            # The processes that tests start have no schedules but those that the tests add.
            functions._declared.clear()
