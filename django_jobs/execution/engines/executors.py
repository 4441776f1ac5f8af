"""Worker's side of executors, a project's own engines: any `concurrent.futures.Executor`, made by a callable that a path names.

What is submitted is a function of this package and JSON, so an executor may pickle both and call it in
a process of its own.
"""

from __future__ import annotations

import json
import os
import threading
from concurrent.futures import BrokenExecutor, CancelledError
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING

from django.db import connections

from django_jobs.execution.engines import executor_entry
from django_jobs.execution.engines.executor_factories import factory
from django_jobs.execution.engines.pool import ProcessDied
from django_jobs.storage.records import Outcome
from django_jobs.texts import describe

if TYPE_CHECKING:
    from concurrent.futures import Executor, Future

    from django_jobs.execution.attempt import Attempt, Begun


class ExecutorPool:
    """Has runs executed by an executor, made with the first of them and again when it broke.

    Args:
        path: Of what makes it.
        max_workers: What that is called with, by this name.
    """

    kind = "executor"

    def __init__(self, path: str, *, max_workers: int) -> None:
        self._path = path
        self._max_workers = max_workers
        self._lock = threading.Lock()
        self._executor: Executor | None = None
        self._futures: set[Future[Begun | str]] = set()
        self._is_shut_down = False

    def execute(self, attempt: Attempt) -> Begun:
        """Have a run executed, in this process if the executor's calls are made in it.

        Raises:
            ProcessDied: The executor broke, or there is none.
        """
        run = attempt.run
        key = f"{os.getpid()}/{id(attempt)}"
        executor_entry.here[key] = attempt
        try:
            executor, future = self._submit(key, json.dumps(asdict(run), default=str))
            try:
                answer = future.result()
            except BrokenExecutor as error:
                # With all that it was executing: which of them is to blame, nobody knows.
                self._forget(executor)
                raise ProcessDied(f"its executor broke: {describe.in_a_line(error, 300)}") from error
            except CancelledError as error:
                raise ProcessDied("its executor was shut down") from error
            except Exception as error:  # whatever kept the call from being made where it should be
                raise ProcessDied(f"its executor failed: {describe.in_a_line(error, 300)}") from error
            finally:
                with self._lock:
                    self._futures.discard(future)
        finally:
            del executor_entry.here[key]
        if not isinstance(answer, str):
            return answer
        value = json.loads(answer)
        attempt.is_interrupted = value.pop("is_interrupted")
        for name in ("started_at", "finished_at"):
            value[name] = datetime.fromisoformat(value[name])
        return Outcome(**value)

    def _submit(self, key: str, run: str) -> tuple[Executor, Future[Begun | str]]:
        # A test's database has another name than the settings say.
        names = {alias: str(connections[alias].settings_dict["NAME"]) for alias in connections}
        while True:
            executor, is_new = self._get()
            try:
                future = executor.submit(executor_entry.execute, key, run, names)
            except RuntimeError as error:
                # Broken by somebody else's call, or shut down: a new one takes it.
                self._forget(executor)
                if is_new:
                    raise ProcessDied(
                        f"its executor takes nothing: {describe.in_a_line(error, 300)}"
                    ) from error
                continue
            with self._lock:
                self._futures.add(future)
            return executor, future

    def _get(self) -> tuple[Executor, bool]:
        with self._lock:
            if self._is_shut_down:
                raise ProcessDied("its executor was shut down")
            if self._executor is not None:
                return self._executor, False
            try:
                self._executor = factory(self._path)(max_workers=self._max_workers)
            except Exception as error:  # the project's own, or one of the library that it uses
                raise ProcessDied(
                    f"{self._path} made no executor: {describe.in_a_line(error, 300)}"
                ) from error
            return self._executor, True

    def _forget(self, executor: Executor) -> None:
        with self._lock:
            if self._executor is executor:
                self._executor = None
        executor.shutdown(wait=False)

    def shutdown(self) -> None:
        """Have nothing more executed; what is under way goes on where it cannot be ended."""
        with self._lock:
            self._is_shut_down = True
            executor, self._executor = self._executor, None
            futures = list(self._futures)
        # Not by the executor: not all can.
        for future in futures:
            future.cancel()
        if executor is not None:
            executor.shutdown(wait=False)
