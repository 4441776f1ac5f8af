"""The app: connects what must be connected once per process."""

from __future__ import annotations

from django.apps import AppConfig
from django.core import checks as django_checks
from django.utils.translation import gettext_lazy as _

from django_jobs import checks, signals
from django_jobs.registry import discovery, schedules


class DjangoJobsConfig(AppConfig):
    """The app."""

    name = "django_jobs"
    verbose_name = _("Jobs")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Register checks and log, import declarations; start the manager where requests are served."""
        # Only now may models be imported, and with them the manager.
        from django_jobs.api.manager import get_job_manager
        from django_jobs.integrations import celery
        from django_jobs.integrations.django_tasks import results
        from django_jobs.live import layer
        from django_jobs.worker import autostart

        for check in checks.ALL:
            django_checks.register(check, django_checks.Tags.compatibility)
        for check in checks.DEPLOY:
            django_checks.register(check, django_checks.Tags.compatibility, deploy=True)
        for check in checks.DATABASE:
            django_checks.register(check, django_checks.Tags.database)
        signals.write_to_log()
        results.connect_where_used()
        celery.connect_where_used()
        layer.connect_where_used()
        discovery.import_declarations()
        schedules.check_declarations()
        autostart.start_where_requests_are_served(get_job_manager)
