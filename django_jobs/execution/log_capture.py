"""Have what a run's code says by `logging` in the run's own log, for runs that want it."""

from __future__ import annotations

import logging

from django_jobs.execution import context


class RunHandler(logging.Handler):
    """Passes records on to the run that is executed where they come from, if it wants those of their level."""

    def emit(self, record: logging.LogRecord) -> None:
        """Add a record to the log of the current run."""
        run = context.current_run()
        if run is not None and run.capture_level is not None and record.levelno >= run.capture_level:
            try:
                run.lines.add(self.format(record), record.levelno)
            except Exception:  # noqa: BLE001 - arguments that cannot be formatted are reported as by any handler
                self.handleError(record)
        if record.levelno >= logging.WARNING and logging.lastResort is not None and self._is_alone(record):
            # Without this handler there would have been none, and Python would have printed it.
            logging.lastResort.handle(record)

    def _is_alone(self, record: logging.LogRecord) -> bool:
        logger: logging.Logger | None = logging.getLogger(record.name)
        while logger is not None:
            if any(handler is not self for handler in logger.handlers):
                return False
            logger = logger.parent if logger.propagate else None
        return True


_handler = RunHandler()
_handler.setFormatter(logging.Formatter("%(name)s: %(message)s"))


def install() -> None:
    """Have the records of this process seen; again where `logging` was configured since."""
    root = logging.getLogger()
    if _handler not in root.handlers:
        root.addHandler(_handler)
