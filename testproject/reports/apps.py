"""The reports app: what the database holds, written to files."""

from django.apps import AppConfig


class ReportsConfig(AppConfig):
    """One job; no tables of its own."""

    name = "reports"
