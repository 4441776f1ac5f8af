"""The app that fault tests add to the processes they start."""

from django.apps import AppConfig


class FaultsConfig(AppConfig):
    """Stops the process where it is told to, and writes events to the ledger."""

    name = "tests.faults"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self):
        from tests.faults import instants

        instants.install()
        instants.write_events()
