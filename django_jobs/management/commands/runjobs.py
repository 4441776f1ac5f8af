"""`manage.py runjobs`, which is also `manage.py jobs work`: a worker process, or several under a supervisor."""

from __future__ import annotations

import argparse
import atexit
import logging
import os
import signal
import sys
import threading
from typing import TYPE_CHECKING, Any

from django.core.checks import Tags
from django.core.management.base import BaseCommand, CommandError
from django.utils import autoreload

from django_jobs import signals
from django_jobs.api.manager import get_job_manager
from django_jobs.conf import jobs_settings
from django_jobs.texts.printable import printable
from django_jobs.worker import autostart
from django_jobs.worker.process_end import end_at_latest, end_process
from django_jobs.worker.service import Service
from django_jobs.worker.supervisor import Supervisor, is_possible
from django_jobs.worker.supervisor_link import OPTION, SupervisorLink, own_command

if TYPE_CHECKING:
    from types import FrameType

# Stopping may take so long, beside running work and outcomes that cannot be written.
STOP_MARGIN_SECONDS = 8.0
# What no machine and no plan needs: a hundred years, and a petabyte.
MOST = {"threads": 10_000, "processes": 1_000, "max_age": 3_200_000_000, "max_memory": 1_000_000_000}


class Command(BaseCommand):
    """Execute jobs in this process, or in several that it starts, until it is stopped."""

    # Without those of models: they ask the database, which may be away, and then claim that it
    # lacks what it has.
    requires_system_checks = (Tags.compatibility,)
    help = (
        "Execute jobs in this process, or in several that it starts, until it is stopped "
        "(SIGTERM or Ctrl-C; twice: immediately)."
    )
    # How it was called: the lines it prints begin with that.
    called = "runjobs"
    # Whether a supervisor can start this process's command line again; None where Django knows it.
    is_from_command_line: bool | None = None

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """See `manage.py runjobs --help`."""
        parser.add_argument(
            "--queue", action="extend", type=_names, default=[], dest="queues", metavar="NAME[:N][,NAME]",
            help="Serve these queues only; may be given several times. Default: all. NAME:4 takes 4 threads at most.",
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
        parser.add_argument(
            "--reload", action="store_true",
            help="Start again when the code changes, as runserver does; for development.",
        )  # fmt: skip
        parser.add_argument(
            "--processes", type=int, default=None, metavar="N",
            help="Start N worker processes, and start one again that ends. SIGHUP replaces them one by one.",
        )  # fmt: skip
        parser.add_argument(
            "--max-age", type=float, default=None, metavar="SECONDS",
            help="With --processes: replace a worker process that is so old.",
        )  # fmt: skip
        parser.add_argument(
            "--max-memory", type=float, default=None, metavar="MB",
            help="With --processes: replace a worker process that takes more resident memory.",
        )  # fmt: skip
        # Said by a supervisor to those that it starts: which one it is, and the socket between them.
        parser.add_argument(
            OPTION, nargs=2, type=int, default=None, dest="supervised", help=argparse.SUPPRESS
        )

    def handle(self, *, verbosity: int, **options: Any) -> None:
        """Serve, or have others serve, until stopped."""
        _check(options)
        _log_to_stderr(verbosity)
        if options["reload"]:
            self._reload(verbosity, **options)
        elif options["processes"] is not None and options["supervised"] is None:
            self._supervise(verbosity, **options)
        else:
            self._work(verbosity, **options)

    def _reload(self, verbosity: int, **options: Any) -> None:
        """Work in a process of its own, which ends and is started again when the code changes."""
        if options["processes"] is not None or options["drain"]:
            raise CommandError("--reload is for one process that works until it is stopped")
        if os.environ.get(autoreload.DJANGO_AUTORELOAD_ENV) != "true" and verbosity >= 1:
            self.stdout.write(f"{self.called}: watching for changes of the code.")
            self.stdout.flush()
        autoreload.run_with_reloader(self._work, verbosity, **options)

    def _supervise(
        self,
        verbosity: int,
        *,
        processes: int,
        max_age: float | None,
        max_memory: float | None,
        drain: bool,
        **_: Any,
    ) -> None:
        is_from_command_line = self.is_from_command_line
        if is_from_command_line is None:
            is_from_command_line = getattr(self, "_called_from_command_line", False)
        if not is_from_command_line:
            raise CommandError(
                "--processes starts this command line again, so call it from one, as with manage.py"
            )
        if not is_possible():
            raise CommandError("--processes needs signals and sockets of POSIX: start each process by itself")
        if verbosity >= 1:
            # What a person who starts it wants to see; the log of other rooms is up to the project.
            logging.getLogger("django_jobs.worker.supervisor").setLevel(logging.INFO)
            self.stdout.write(
                f"{self.called}: process {os.getpid()} supervises {processes} worker process"
                f"{'' if processes == 1 else 'es'}; stop with Ctrl-C."
            )
            self.stdout.flush()
        code = Supervisor(
            own_command(),
            processes,
            max_age=max_age,
            max_memory=None if max_memory is None else int(max_memory * 2**20),
            drain=drain,
        ).run()
        if verbosity >= 1:
            self.stdout.write(f"{self.called}: stopped.")
        if code:
            sys.exit(code)

    def _work(
        self,
        verbosity: int,
        *,
        queues: list[str],
        threads: int | None,
        clock: bool,
        drain: bool,
        supervised: list[int] | None,
        **_: Any,
    ) -> None:
        if supervised is not None:
            self._prefix = f"[{supervised[0]}] "
        announcing, announced = threading.Lock(), threading.Event()

        def announce() -> None:
            with announcing:
                if not announced.is_set():
                    self._announce(queues, threads, clock, drain)
                    announced.set()

        def print_run(**said: Any) -> None:
            # The first run may end before all parts have started.
            announce()
            self._print_run(**said)

        if verbosity >= 1:
            signals.run_finished.connect(print_run)
        supervisor_link = None if supervised is None else SupervisorLink(supervised[1])

        def say_started() -> None:
            if supervisor_link is not None:
                supervisor_link.say_serving()
            if verbosity >= 1:
                announce()

        names, most = _queues(queues)
        service = Service(
            queues=names, threads=threads, queue_threads=most, clock=clock, on_started=say_started
        )
        manager = get_job_manager()
        if not manager.serve(service):
            raise CommandError("this process runs jobs already (AUTOSTART is on): start one or the other")
        stopped = threading.Event()
        if threading.current_thread() is threading.main_thread():
            before = _stop_on_signals(stopped, ends_at_second=supervisor_link is None)
        else:
            # The reloader has the main thread; its signals, and a change of the code, end Python.
            before = {}
            atexit.register(_end_soon, service, stopped)
        if supervisor_link is not None:
            supervisor_link.watch(stopped.set)
        try:
            self._serve(service, stopped, drain, verbosity)
        finally:
            limit = 2 * jobs_settings().SHUTDOWN_SECONDS + STOP_MARGIN_SECONDS
            # A supervisor kills what does not end in time, and says so.
            is_over = end_at_latest(limit) if supervisor_link is None else threading.Event()
            manager.shutdown()
            is_over.set()
            signals.run_finished.disconnect(print_run)
            for number, handler in before.items():
                signal.signal(number, handler)
        if not service.has_started and (service.failure or (drain and service.is_refused)):
            raise CommandError(f"nothing could be executed here: {service.failure or service.waits_for}")
        if verbosity >= 1:
            self._say(f"{self.called}: stopped.")
        if getattr(self, "_called_from_command_line", False):
            end_process(has_finished=service.has_finished)

    def _serve(self, service: Service, stopped: threading.Event, drain: bool, verbosity: int) -> None:
        if drain:
            service.drain(stopped)
        else:
            # Not without a timeout: a signal in the instant before Python begins to wait is only
            # handled when the wait ends.
            while not stopped.wait(1.0) and not service.failure:
                # Maintenance looks, too, unless it is what hangs.
                service.look()
        if verbosity >= 1:
            self._say(f"{self.called}: stopping ...")

    def _announce(self, queues: list[str], threads: int | None, clock: bool, drain: bool) -> None:
        count = jobs_settings().THREADS if threads is None else threads
        names = printable(", ".join(queues))
        self._say(
            f"{self.called}: process {os.getpid()} serves {'queue ' + names if queues else 'all queues'} "
            f"with {count} thread{'' if count == 1 else 's'}, {'with' if clock else 'without'} a clock"
            f"{', until nothing is due' if drain else '' if self._prefix else '; stop with Ctrl-C'}."
        )

    def _print_run(self, *, run: Any, outcome: Any, **_: Any) -> None:
        if _is_on_console(*signals.log_of(outcome.status)):
            # The log's line says the same.
            return
        seconds = (outcome.finished_at - outcome.started_at).total_seconds()
        style = self.style.SUCCESS if outcome.status == "SUCCESSFUL" else self.style.ERROR
        status = "RETRY" if outcome.status == "READY" else outcome.status
        error = f" {printable(outcome.error)}" if outcome.error else ""
        self._say(
            f"{outcome.finished_at:%Y-%m-%d %H:%M:%S} {style(status)} {printable(run.name)} job={printable(run.job_id)} "
            f"attempt={run.attempt} {seconds:.3f}s{error}"
        )

    # Which of several workers says it.
    _prefix = ""

    def _say(self, line: str) -> None:
        self.stdout.write(self._prefix + line)
        self.stdout.flush()


def _end_soon(service: Service, stopped: threading.Event) -> None:
    """Hand back what runs: somebody waits to see what they have just written."""
    service.stop(min(autostart.RELOAD_SECONDS, jobs_settings().SHUTDOWN_SECONDS))
    stopped.set()


def _names(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",")]
    if not all(names):
        raise argparse.ArgumentTypeError(f"a name is missing in {text!r}")
    return names


def _queues(words: list[str]) -> tuple[list[str], dict[str, int]]:
    """Return the names of queues, and how many threads those take at most that say it, as in "mail:4"."""
    names: list[str] = []
    most: dict[str, int] = {}
    for word in words:
        name, colon, count = word.rpartition(":")
        if colon and name and count.isascii() and count.isdecimal():
            if not 1 <= int(count) <= MOST["threads"]:
                raise CommandError(f"--queue {word}: a queue takes 1 to {MOST['threads']} threads")
            most[name] = int(count)
        else:
            name = word
        names.append(name)
    return names, most


def _check(options: dict[str, Any]) -> None:
    """Refuse what cannot be meant.

    Raises:
        CommandError: With the option and what is allowed.
    """
    for name, most in MOST.items():
        option, value = f"--{name.replace('_', '-')}", options[name]
        # Written so that it refuses NaN, too.
        if value is not None and not value >= 1:
            raise CommandError(f"{option} must be at least 1, not {value:g}")
        if value is not None and value > most:
            raise CommandError(f"{option} must be at most {most:,}, not {value:g}")
        if value is not None and name.startswith("max_") and options["processes"] is None:
            raise CommandError(f"{option} is about processes that are replaced: it needs --processes")


def _is_on_console(logger: logging.Logger, level: int) -> bool:
    """Return whether a line of the log is written to this process's standard output or error."""
    if not logger.isEnabledFor(level):
        return False
    current: logging.Logger | None = logger
    while current is not None:
        for handler in current.handlers:
            stream = getattr(handler, "stream", None)
            if handler.level <= level and stream in {sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__}:
                return True
        current = current.parent if current.propagate else None
    return False


def _log_to_stderr(verbosity: int) -> None:
    """Show warnings of ours where the project configured no logging for them; finished runs have their own line."""
    log = logging.getLogger("django_jobs")
    if not log.hasHandlers():
        logging.basicConfig(stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    if verbosity >= 2:
        log.setLevel(logging.DEBUG if verbosity >= 3 else logging.INFO)


def _stop_on_signals(stopped: threading.Event, *, ends_at_second: bool = True) -> dict[signal.Signals, Any]:
    """Set the event at a signal, and end the process at the next; return the handlers until now.

    Service managers signal a supervisor's workers as well as itself: there, only it counts.
    """
    pid = os.getpid()

    def handle(number: int, frame: FrameType | None) -> None:
        if os.getpid() != pid:
            # A child that some job forked: it ends by signals as it would anywhere.
            signal.signal(number, before[signal.Signals(number)])
            signal.raise_signal(number)
            return
        if stopped.is_set() and ends_at_second:
            # A second signal: now. What runs is rescued when the lease ends.
            os._exit(128 + number)
        stopped.set()

    before = {number: signal.signal(number, handle) for number in (signal.SIGTERM, signal.SIGINT)}
    return before
