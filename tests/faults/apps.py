"""The app that fault tests add to the processes they start."""

import os
from datetime import timedelta

from django.apps import AppConfig


class FaultsConfig(AppConfig):
    """Stops the process where it is told to, and writes events to the ledger."""

    name = "tests.faults"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self):
        from tests.faults import instants

        instants.install()
        instants.write_events()
        if os.environ.get("FAULTS_ALERT_SECONDS"):
            # Half a minute each, otherwise.
            from django_jobs.operations.alerts import watch

            watch.EVERY = watch.PATIENCE = timedelta(seconds=float(os.environ["FAULTS_ALERT_SECONDS"]))
