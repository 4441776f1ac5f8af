"""What a child process does with its parent's words, once Django is set up."""

from __future__ import annotations

import asyncio
import json
import os
import queue
import threading
from dataclasses import asdict
from typing import IO, TYPE_CHECKING, Any

from django_jobs.execution import instrumentation
from django_jobs.execution.runner import Execution
from django_jobs.storage import connections
from django_jobs.storage.records import ClaimedRun, Outcome

if TYPE_CHECKING:
    from collections.abc import Callable

# Rest after which database connections are given back.
IDLE_SECONDS = 10.0
# That an outcome is held up at most by traces that nobody takes.
FLUSH_SECONDS = 2.0


class Conversation:
    """Hears runs and words to stop them, and says how they go and what they came to.

    Args:
        words: What the parent says, a JSON object a line.
        out: What it hears, a JSON array of a word and a value a line.
    """

    def __init__(self, words: IO[str], out: IO[str]) -> None:
        self._words = words
        self._out = out
        self._lock = threading.Lock()
        self._runs: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self._execution: Execution | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def serve(self) -> None:
        """Execute runs until the parent closes its side, which ends the process."""
        threading.Thread(target=self._listen, name="django_jobs-parent", daemon=True).start()
        while True:
            try:
                run = self._runs.get(timeout=IDLE_SECONDS)
            except queue.Empty:
                connections.give_back()
                run = self._runs.get()
            connections.tidy()
            self._execute(run)
            connections.end_transactions()

    def _execute(self, run: dict[str, Any]) -> None:
        execution = Execution(ClaimedRun(**run), report_progress=self._progressed)
        self._execution = execution
        execution.start_clock()
        outcome = execution.begin()
        if not isinstance(outcome, Outcome):
            with asyncio.Runner() as runner:
                self._loop = runner.get_loop()
                try:
                    outcome = runner.run(outcome())
                finally:
                    self._loop = None
        self._execution = None
        # Before, not after: the parent may end this process when it has the outcome.
        instrumentation.flush(FLUSH_SECONDS)
        self._say("outcome", {**asdict(outcome), "is_interrupted": execution.is_interrupted})

    def _progressed(self, execution: Execution) -> None:
        self._say("progress", execution.context.progress)

    def _say(self, word: str, value: Any) -> None:
        with self._lock:
            self._out.write(json.dumps([word, value], default=str) + "\n")

    def _listen(self) -> None:
        for line in self._words:
            message = json.loads(line)
            if "run" in message:
                self._runs.put(message["run"])
            elif self._execution is not None:
                self._stop(self._execution, message["stop"])
        # The parent is gone, or wants us to be: its run belongs to somebody else by now.
        os._exit(0)

    def _call_soon(self, callback: Callable[[], object]) -> None:
        loop = self._loop
        if loop is not None:
            loop.call_soon_threadsafe(callback)

    def _stop(self, execution: Execution, reason: str) -> None:
        execution.stop(reason, self._call_soon)
        if reason in {"cancelled", "timeout"} and not execution.context.is_listening:
            execution.interrupt()
