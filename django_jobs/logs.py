"""Say in each line of the log which run it is from: a filter for `LOGGING`."""

from __future__ import annotations

import logging

from django_jobs.execution.context import current_run
from django_jobs.texts.printable import printable

_FIELDS = ("job_id", "run_id", "attempt", "queue_name")


class RunFilter(logging.Filter):
    """Puts `job_id`, `run_id`, `attempt` and `queue_name` on every record; empty texts outside of a run.

    Put it on handlers, not on loggers: a logger's filters do not see what its children log. What a record
    was given by `extra` stays.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Put them there, and let the record pass."""
        run = current_run()
        for name in _FIELDS:
            if not hasattr(record, name):
                value = "" if run is None else getattr(run, name)
                setattr(record, name, printable(value) if isinstance(value, str) else value)
        return True
