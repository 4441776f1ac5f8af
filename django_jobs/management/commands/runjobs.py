"""`manage.py runjobs`: a worker process."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from typing import TYPE_CHECKING, Any

from django.core.checks import Tags
from django.core.management.base import BaseCommand, CommandError

from django_jobs import signals
from django_jobs.conf import jobs_settings
from django_jobs.manager import get_job_manager
from django_jobs.service import Service

if TYPE_CHECKING:
    from argparse import ArgumentParser
    from types import FrameType


class Command(BaseCommand):
    """Execute jobs in this process until it is stopped."""

    # Without those of models: they ask the database, which may be away, and then claim that it
    # lacks what it has.
    requires_system_checks = (Tags.compatibility,)
    help = "Execute jobs in this process until it is stopped (SIGTERM or Ctrl-C; twice: at once)."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """See `manage.py runjobs --help`."""
        parser.add_argument(
            "--queue", action="append", default=[], dest="queues", metavar="NAME",
            help="Serve this queue only; may be given several times. Default: all.",
        )  # fmt: skip
        parser.add_argument(
            "--threads",
            type=int,
            default=None,
            help="Runs at the same time. Default: THREADS of DJANGO_JOBS.",
        )
        parser.add_argument(
            "--no-clock", action="store_false", dest="clock",
            help="Do not fire scheduled and recurring jobs here, only execute runs.",
        )  # fmt: skip
        parser.add_argument(
            "--drain", action="store_true", help="Work until nothing is due, then exit with 0."
        )

    def handle(
        self, *, queues: list[str], threads: int | None, clock: bool, drain: bool, verbosity: int, **_: Any
    ) -> None:
        """Serve until stopped."""
        if threads is not None and threads < 1:
            raise CommandError(f"--threads must be at least 1, not {threads}")
        _log_to_stderr(verbosity)
        if verbosity >= 1:
            signals.run_finished.connect(self._print_run)
        service = Service(queues=queues, threads=threads, clock=clock)
        manager = get_job_manager()
        if not manager.serve(service):
            raise CommandError("this process runs jobs already (AUTOSTART is on): start one or the other")
        stopped = threading.Event()
        before = _stop_on_signals(stopped)
        try:
            self._serve(service, stopped, queues, threads, clock, drain, verbosity)
        finally:
            manager.shutdown()
            signals.run_finished.disconnect(self._print_run)
            for number, handler in before.items():
                signal.signal(number, handler)
        if verbosity >= 1:
            self.stdout.write("runjobs: stopped.")

    def _serve(
        self,
        service: Service,
        stopped: threading.Event,
        queues: list[str],
        threads: int | None,
        clock: bool,
        drain: bool,
        verbosity: int,
    ) -> None:
        if verbosity >= 1:
            count = jobs_settings().THREADS if threads is None else threads
            self.stdout.write(
                f"runjobs: process {os.getpid()} serves {'queue ' + ', '.join(queues) if queues else 'all queues'} "
                f"with {count} thread{'' if count == 1 else 's'}, {'with' if clock else 'without'} a clock"
                f"{', until nothing is due' if drain else '; stop with Ctrl-C'}."
            )
            self.stdout.flush()
        if drain:
            service.drain(stopped)
        else:
            # Not without a timeout: a signal in the instant before Python begins to wait is only
            # handled when the wait ends.
            while not stopped.wait(1.0):
                pass
        if verbosity >= 1:
            self.stdout.write("runjobs: stopping ...")
            self.stdout.flush()

    def _print_run(self, *, run: Any, outcome: Any, **_: Any) -> None:
        seconds = (outcome.finished_at - outcome.started_at).total_seconds()
        style = self.style.SUCCESS if outcome.status == "SUCCESSFUL" else self.style.ERROR
        status = "RETRY" if outcome.status == "READY" else outcome.status
        error = f" {outcome.error}" if outcome.error else ""
        self.stdout.write(
            f"{outcome.finished_at:%Y-%m-%d %H:%M:%S} {style(status)} {run.name} job={run.job_id} "
            f"attempt={run.attempt} {seconds:.3f}s{error}"
        )
        self.stdout.flush()


def _log_to_stderr(verbosity: int) -> None:
    """Show warnings of ours where the project configured no logging for them; finished runs have their own line."""
    log = logging.getLogger("django_jobs")
    if not log.hasHandlers():
        logging.basicConfig(stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    if verbosity >= 2:
        log.setLevel(logging.DEBUG if verbosity >= 3 else logging.INFO)


def _stop_on_signals(stopped: threading.Event) -> dict[signal.Signals, Any]:
    """Set the event at a signal, and end the process at the next; return the handlers until now."""
    pid = os.getpid()

    def handle(number: int, frame: FrameType | None) -> None:
        if os.getpid() != pid:
            # A child that some job forked: it ends by signals as it would anywhere.
            signal.signal(number, before[signal.Signals(number)])
            signal.raise_signal(number)
            return
        if stopped.is_set():
            # A second signal: now. What runs is rescued when the lease ends.
            os._exit(128 + number)
        stopped.set()

    before = {number: signal.signal(number, handle) for number in (signal.SIGTERM, signal.SIGINT)}
    return before
