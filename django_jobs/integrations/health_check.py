"""A check for django-health-check (4.0 or later): whether jobs are executed as they should be."""

from __future__ import annotations

import dataclasses
from datetime import timedelta
from typing import ClassVar

from django.db import DatabaseError, InterfaceError, connections

from django_jobs.models import jobs_database
from django_jobs.operations import health

try:
    from health_check.base import HealthCheck
    from health_check.exceptions import ServiceUnavailable, ServiceWarning
except ImportError as missing:
    raise ImportError(
        "django_jobs.integrations.health_check needs django-health-check 4.0 or later: "
        "pip install 'django-durable-jobs[health-check]'"
    ) from missing


@dataclasses.dataclass
class Jobs(HealthCheck):  # type: ignore[misc] # django-health-check ships no types
    """Looks at workers, queues and jobs as `manage.py jobs status --exit-code` does.

    Args:
        overdue: How late a due run may begin, and a due job fire.
        needs_clock: Whether no worker with a clock is a problem.
        ignored: Codes of problems that do not count, out of `health.CODES`.
    """

    NO_WORK: ClassVar[frozenset[str]] = frozenset({"no_worker", "no_clock"})

    overdue: timedelta = dataclasses.field(default=timedelta(minutes=5), repr=False)
    needs_clock: bool = dataclasses.field(default=True, repr=False)
    ignored: tuple[str, ...] = dataclasses.field(default=(), repr=False)

    def run(self) -> None:
        """Look.

        Raises:
            ServiceUnavailable: Nothing is executed or fired, or the database does not answer.
            ServiceWarning: Something is late, broken or lost.
        """
        connection = connections[jobs_database()]
        was_open = connection.connection is not None
        try:
            report = health.report(overdue=self.overdue, needs_clock=self.needs_clock)
        except (DatabaseError, InterfaceError) as error:
            # What the driver says may name hosts and users.
            raise ServiceUnavailable(
                "the database of the jobs does not answer, or tables are missing"
            ) from error
        finally:
            # It runs on a thread of the library's, where nobody closes it.
            if not was_open:
                connection.close()
        problems = [problem for problem in report["problems"] if problem["code"] not in self.ignored]
        if problems:
            kind = (
                ServiceUnavailable if any(one["code"] in self.NO_WORK for one in problems) else ServiceWarning
            )
            raise kind("; ".join(problem["text"] for problem in problems))
