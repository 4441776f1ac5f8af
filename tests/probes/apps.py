"""Functions that tests have called as jobs, and where they leave their marks."""

import os

from django.apps import AppConfig


class ProbesConfig(AppConfig):
    """The app."""

    name = "tests.probes"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self):
        from django_jobs.registry import schedules

        # The processes that tests start have no schedules but those of the app that a test adds.
        app = os.environ.get("TESTS_APP", "-")
        for path in list(schedules._declared):
            if not path.startswith(f"{app}."):
                del schedules._declared[path]
