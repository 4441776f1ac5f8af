"""Worker's side of `processes`, the engine for work that computes, leaks or crashes.

A process is started when it is needed, executes one run after the other, and can be killed.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import subprocess
import sys
import threading
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Any

from django.db import connections

from django_jobs.execution.engines.pool import CannotStart, ProcessDied
from django_jobs.storage.records import Outcome

if TYPE_CHECKING:
    from django_jobs.execution.attempt import Attempt

logger = logging.getLogger(__name__)

# Between two lines of a dying process and our notice of its end.
EXIT_SECONDS = 5.0


class ProcessPool:
    """Executes runs in child processes, one run in each at a time; call it from several threads.

    Children speak JSON over their standard input and output: nothing is pickled, and they do not
    import the main module again. They set Django up again, with the settings module, the import path and
    the databases of this process.

    Args:
        max_runs: Runs after which a process is replaced; None for no limit.
    """

    kind = "process"

    def __init__(self, max_runs: int | None = None) -> None:
        self._max_runs = max_runs
        self._lock = threading.Lock()
        self._idle: list[_Child] = []
        self._all: set[_Child] = set()
        self._is_shut_down = False

    def execute(self, attempt: Attempt) -> Outcome:
        """Execute a run in a process that has nothing to do, or in a new one.

        Raises:
            ProcessDied: The process ended before the run did.
            CannotStart: The system refuses another process.
        """
        child = self._take()
        try:
            outcome = child.execute(attempt)
        except ProcessDied:
            with self._lock:
                self._all.discard(child)
            child.close()
            raise
        with self._lock:
            if self._is_shut_down:
                return outcome
            is_worn = self._max_runs is not None and child.runs >= self._max_runs
            if is_worn:
                self._all.discard(child)
            else:
                self._idle.append(child)
        if is_worn:
            child.retire()
        return outcome

    def _take(self) -> _Child:
        with self._lock:
            if self._is_shut_down:
                raise ProcessDied("the pool was shut down")
            while self._idle:
                child = self._idle.pop()
                if child.is_alive:
                    return child
                self._all.discard(child)
                child.close()
            try:
                child = _Child()
            except OSError as error:
                raise CannotStart(str(error)) from error
            self._all.add(child)
            return child

    def shutdown(self) -> None:
        """End all processes, whatever they do."""
        with self._lock:
            self._is_shut_down = True
            children, self._all, self._idle = self._all, set(), []
        for child in children:
            child.kill()
        for child in children:
            child.close()


class _Child:
    def __init__(self) -> None:
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path),  # noqa: PTH109 - as sys.path means it
            "DJANGO_JOBS_AUTOSTART": "0",
        }
        self._process = subprocess.Popen(
            [sys.executable, "-m", "django_jobs.execution.engines.process_main"],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            # So that it can be ended with what its runs started.
            process_group=0,
        )
        self._lock = threading.Lock()
        # Sent to it so far.
        self.runs = 0
        # A test's database has another name than the settings say.
        names = {alias: str(connections[alias].settings_dict["NAME"]) for alias in connections}
        self._send({"databases": names})

    @property
    def is_alive(self) -> bool:
        return self._process.poll() is None

    def execute(self, attempt: Attempt) -> Outcome:
        attempt.remote = self
        self.runs += 1
        try:
            self._send({"run": asdict(attempt.run)})
            # It may have been told before it could hear.
            if attempt.context.must_stop:
                self.stop(attempt.context.stop_reason)
            assert self._process.stdout is not None  # noqa: S101 - a pipe, see above
            # A line that was cut off, or a pipe that `shutdown` closed, is the end, too.
            with contextlib.suppress(OSError, ValueError):
                for line in self._process.stdout:
                    word, key, value = json.loads(line)
                    if tuple(key) != attempt.key:
                        logger.error(
                            "run=%s: a child process spoke of run=%s: refused", attempt.key[0], key[0]
                        )
                    elif word == "outcome":
                        return _outcome(attempt, value)
                    elif word == "kept":
                        attempt.has_kept = True
                    elif word == "lines":
                        attempt.take_lines(*value)
                    else:
                        attempt.take_progress(value)
            death = self._how_it_ended()
            self._kill_group()
            raise ProcessDied(death)
        finally:
            attempt.remote = None

    def _how_it_ended(self) -> str:
        try:
            code = self._process.wait(EXIT_SECONDS)
        except subprocess.TimeoutExpired:
            # It closed its output and goes on: nobody will hear what it comes to.
            self.kill()
            return "its process stopped answering"
        return f"its process was ended by signal {-code}" if code < 0 else f"its process exited with {code}"

    def stop(self, reason: str) -> None:
        """Tell the run under way to end."""
        self._send({"stop": reason})

    def kill(self) -> None:
        """End the process now, and what it started."""
        self._kill_group()
        self._process.kill()

    def _kill_group(self) -> None:
        # Windows has no groups; and there may be nobody left.
        if hasattr(os, "killpg"):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def retire(self) -> None:
        """End a process that has nothing to do: it does when its input ends."""
        assert self._process.stdin is not None  # noqa: S101 - a pipe, see above
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(EXIT_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
        self.close()

    def close(self) -> None:
        """Let go of a process that was killed or has ended."""
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                try:
                    pipe.close()
                except BrokenPipeError:
                    # Something that nobody read.
                    continue

    def _send(self, message: dict[str, Any]) -> None:
        assert self._process.stdin is not None  # noqa: S101 - a pipe, see above
        with self._lock:
            try:
                self._process.stdin.write(json.dumps(message, default=str) + "\n")
                self._process.stdin.flush()
            except (BrokenPipeError, ValueError):
                # It has ended: whoever reads what it says notices.
                return


def _outcome(attempt: Attempt, value: dict[str, Any]) -> Outcome:
    attempt.is_interrupted = value.pop("is_interrupted")
    for name in ("started_at", "finished_at"):
        value[name] = datetime.fromisoformat(value[name])
    said = attempt.context.said
    value["has_chunks"] = said is not None and said.written
    return Outcome(**value)
