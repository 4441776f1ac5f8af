"""Child side of `processes`, once Django is set up: execute what the parent sends, and answer."""

from __future__ import annotations

import contextvars
import json
import os
import queue
import signal
import threading
import time
from dataclasses import asdict
from typing import IO, Any

from django_jobs.execution import instrumentation
from django_jobs.execution.attempt import Attempt
from django_jobs.storage import connections
from django_jobs.storage.records import ClaimedRun

# Rest after which database connections are given back.
IDLE_SECONDS = 10.0
# That lines wait for others before they are sent.
LINES_SECONDS = 0.2
# At most, that an outcome waits for traces to be sent.
FLUSH_SECONDS = 2.0


class ChildServer:
    """Receives runs and requests to stop them; sends their progress and outcomes.

    Args:
        messages: From the parent: a JSON object a line, with a run or the reason to stop it.
        out: To the parent: a JSON array a line, of a word ("progress", "lines" or "outcome"), the run and
            attempt that it is of, and a value.
    """

    def __init__(self, messages: IO[str], out: IO[str]) -> None:
        self._messages = messages
        self._out = out
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._runs: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self._attempt: Attempt | None = None
        # Started when a run first says something.
        self._speaker: threading.Thread | None = None
        self._has_lines = threading.Event()

    def serve(self) -> None:
        """Execute runs until the parent closes its side, which ends the process."""
        connections.watch_sessions()
        connections.claim_context()
        threading.Thread(target=self._listen, name="django_jobs-parent", daemon=True).start()
        while True:
            try:
                run = self._runs.get(timeout=IDLE_SECONDS)
            except queue.Empty:
                connections.give_back()
                run = self._runs.get()
            connections.tidy()
            contextvars.copy_context().run(self._execute, run)
            connections.end_transactions()

    def _execute(self, run: dict[str, Any]) -> None:
        attempt = self._attempt = Attempt(
            ClaimedRun(**run), report_progress=self._progressed, on_lines=self._said
        )
        attempt.start_clock()
        outcome = attempt.execute_to_end()
        self._attempt = None
        # Before, not after: the parent may end this process when it has the outcome.
        instrumentation.flush(FLUSH_SECONDS)
        self._send("outcome", attempt, {**asdict(outcome), "is_interrupted": attempt.is_interrupted})

    def _progressed(self, attempt: Attempt) -> None:
        self._send("progress", attempt, attempt.context.progress)
        if attempt.has_kept:
            self._send("kept", attempt, None)

    def _said(self) -> None:
        self._has_lines.set()
        if self._speaker is None:
            self._speaker = threading.Thread(target=self._speak, name="django_jobs-lines", daemon=True)
            self._speaker.start()

    def _speak(self) -> None:
        """Send what runs say, some lines at a time; of what has ended the outcome has all."""
        while True:
            self._has_lines.wait()
            time.sleep(LINES_SECONDS)
            self._has_lines.clear()
            attempt = self._attempt
            said = None if attempt is None else attempt.context.said
            if attempt is not None and said is not None and (taken := said.take()) is not None:
                self._send("lines", attempt, taken)

    def _send(self, word: str, attempt: Attempt, value: Any) -> None:
        if os.getpid() != self._pid:
            # A fork that some job left.
            return
        with self._lock:
            self._out.write(json.dumps([word, attempt.key, value], default=str) + "\n")

    def _listen(self) -> None:
        for line in self._messages:
            message = json.loads(line)
            attempt = self._attempt
            if "run" in message:
                self._runs.put(message["run"])
            elif attempt is not None:
                _stop(attempt, message["stop"])
        # The parent has ended, or wants this process to end: its run belongs to another worker by now.
        if self._attempt is not None and hasattr(os, "killpg") and os.getpgrp() == self._pid:
            # With what it started.
            os.killpg(self._pid, signal.SIGKILL)
        os._exit(0)


def _stop(attempt: Attempt, reason: str) -> None:
    attempt.stop(reason)
    # One that listens has its time: the parent ends this process after that.
    if reason in {"cancelled", "timeout"} and not (attempt.context.is_listening or attempt.is_awaited):
        attempt.interrupt()
