"""The app: connects what must be connected once per process.

Every `manage.py` command of every project passes here. So only what is connected is imported, and the rest
where it is used: see "Start-up" in docs/contributing.md.
"""

from __future__ import annotations

import logging
import sys
from typing import Any

from django.apps import AppConfig, apps
from django.conf import settings
from django.core import checks as django_checks
from django.core.exceptions import ImproperlyConfigured
from django.utils.translation import gettext_lazy as _

from django_jobs import checks, conf, signals
from django_jobs.integrations import apscheduler, celery, django_tasks
from django_jobs.registry import discovery
from django_jobs.registry.managers import provide_manager
from django_jobs.worker import autostart, first_steps

logger = logging.getLogger(__name__)

# As early as can be: most of a start is still to come.
first_steps.take(sys.argv)
# Django imports the apps first and their models then, django-apscheduler's among them.
apscheduler.import_scheduler()


class DjangoJobsConfig(AppConfig):
    """The app."""

    name = "django_jobs"
    verbose_name = _("Jobs")
    default_auto_field = "django.db.models.BigAutoField"

    def import_models(self) -> None:
        """Import the models, which extend a table of django-apscheduler's.

        Raises:
            ImproperlyConfigured: That app is not installed. No check can say so: no app is loaded then.
        """
        if all(config.name != "django_apscheduler" for config in apps.app_configs.values()):
            raise ImproperlyConfigured(
                "django_jobs extends a table of django_apscheduler, which is not installed: add "
                '"django_apscheduler" to INSTALLED_APPS.'
            )
        super().import_models()

    def ready(self) -> None:
        """Register checks and log, import declarations; start the manager where requests are served."""
        for check in checks.ALL:
            django_checks.register(check, django_checks.Tags.compatibility)
        for check in checks.DEPLOY:
            django_checks.register(check, django_checks.Tags.compatibility, deploy=True)
        for check in checks.DATABASE:
            django_checks.register(check, django_checks.Tags.database)
        signals.write_to_log()
        provide_manager(_manager)
        django_tasks.connect_where_used()
        celery.connect_where_used()
        if conf.jobs_settings().ALERTS:
            _connect_alerts()
        if getattr(settings, "CHANNEL_LAYERS", None):
            from django_jobs.live import layer

            layer.connect_where_used()
        discovery.import_declarations()
        # Only a module that declares schedules has imported this.
        if schedules := sys.modules.get("django_jobs.registry.schedules"):
            schedules.check_declarations()
        if autostart.serves_requests():
            _import_what_requests_use()
            if not autostart.is_command():
                _log_what_checks_would_say()
        autostart.start_where_requests_are_served(_manager)


def _connect_alerts() -> None:
    from django_jobs.operations.alerts import watch
    from django_jobs.storage import endings

    endings.when_failed("django_jobs.operations.alerts.failures.runs_failed")
    watch.connect()


def _manager() -> Any:
    # Only once all apps are loaded may models be imported, and with them the manager.
    from django_jobs.api.manager import get_job_manager

    return get_job_manager()


def _log_what_checks_would_say() -> None:
    """Log that SQLite is set up for one writer: servers run no checks, and there requests and jobs meet."""
    for message in checks.check_sqlite():
        logger.warning("%s %s", message.msg, message.hint)


def _import_what_requests_use() -> None:
    """Import before the first request what no request should wait for."""
    _manager()
    if django_tasks.is_used():
        from django_jobs.integrations.django_tasks import enqueue  # noqa: F401 - see above
