"""`manage.py jobs metrics`."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.core.management.base import CommandError

from django_jobs.management.actions.action import Action, wrong_usage
from django_jobs.management.actions.values import at_least
from django_jobs.management.actions.values import duration as read_duration

if TYPE_CHECKING:
    from argparse import ArgumentParser


class Metrics(Action):
    """Write what Prometheus would scrape."""

    name = "metrics"
    help = "Write metrics for Prometheus, to be read or to a file of node_exporter's."

    @classmethod
    def add_arguments(cls, parser: ArgumentParser) -> None:
        """See `manage.py jobs metrics --help`."""
        parser.add_argument(
            "--output", type=Path, metavar="FILE",
            help="Replace this file in one step, as node_exporter's textfile collector needs it.",
        )  # fmt: skip
        parser.add_argument(
            "--functions", type=at_least(0, "number"), default=0, metavar="N",
            help="Tell this many functions apart too. Default: 0.",
        )  # fmt: skip
        parser.add_argument(
            "--overdue", type=read_duration, default=timedelta(minutes=5), metavar="DURATION",
            help="As for status. Default: 5m.",
        )  # fmt: skip
        parser.add_argument(
            "--no-clock", action="store_false", dest="clock", help="As for status.",
        )  # fmt: skip

    def run(self, options: dict[str, Any]) -> None:
        """Write them.

        Raises:
            CommandError: prometheus_client is not installed, or the file cannot be written.
        """
        try:
            from django_jobs.integrations import metrics
        except ImportError as error:
            raise wrong_usage(str(error)) from error
        collector = metrics.JobsCollector(
            overdue=options["overdue"], needs_clock=options["clock"], most_functions=options["functions"]
        )
        if self.terminal.is_json:
            samples = [sample for metric in collector.collect() for sample in metric.samples]
            self.terminal.json([{"name": s.name, "labels": s.labels, "value": s.value} for s in samples])
            return
        text, _ = metrics.exposition(collector)
        if options["output"] is None:
            self.terminal.raw(text.decode())
            return
        try:
            _replace(options["output"], text)
        except OSError as error:
            raise CommandError(f"cannot write {options['output']}: {error.strerror or error}") from error


def _replace(path: Path, text: bytes) -> None:
    # Whoever reads it meanwhile finds the old or the new one, never a half.
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(text)
        # As any file would have been made: node_exporter is another user.
        Path(name).chmod(0o644)
        Path(name).replace(path)
    except BaseException:
        with suppress(FileNotFoundError):
            Path(name).unlink()
        raise
