"""What one run keeps, as its function asks for it: by kind, name and occurrence, never by position."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from django.db import DEFAULT_DB_ALIAS, connections

from django_jobs import codec
from django_jobs.conf import jobs_settings
from django_jobs.exceptions import GiveUp, RunInterrupted, RunSuspended, UnknownHere
from django_jobs.models import MAX_STEP_NAME_LENGTH, Step, StepKind, jobs_database
from django_jobs.storage import steps
from django_jobs.storage.transactions import database_now
from django_jobs.texts.printable import printable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from django_jobs.execution.attempt import Attempt
    from django_jobs.execution.steps.loop import Loop

logger = logging.getLogger(__name__)

# The name of the step that this code is executed in; of a task or thread of its own, where the step is.
_inside: ContextVar[str] = ContextVar("django_jobs_step", default="")


class Memory:
    """What a run keeps; read with the first question of an attempt.

    Args:
        attempt: Of the run.
    """

    def __init__(self, attempt: Attempt) -> None:
        self.attempt = attempt
        self.run = attempt.run
        self.using = jobs_database()
        self._kept: dict[str, Step] | None = None
        self._asked: Counter[tuple[str, str, str]] = Counter()
        # Of the row whose loop this is in: each row's steps are its own.
        self.scope = ""
        # Those that are under way, the outer ones first.
        self.loops: list[Loop] = []
        # Those that record the errors of rows.
        self._recording: list[Loop] = []
        self._seen: set[str] = set()

    # Asking

    def ask(self, kind: str, name: str) -> Step:
        """Return what the run is to keep under a name: a row's object, not read yet where it may be stored.

        The same name asked for again is the next occurrence. Touches no database, so that calls are counted in
        their order also where they are awaited together.

        Raises:
            ValueError: The name is empty or longer than 200 characters.
            RuntimeError: It is asked inside a step.
        """
        if inside := _inside.get():
            raise RuntimeError(
                f"step {inside!r} is under way, and what is asked for in a step is not asked for again when its "
                "result is remembered: call it after the step, or as a plain function in it"
            )
        if not isinstance(name, str) or not 1 <= len(name) <= MAX_STEP_NAME_LENGTH or "\x00" in name:
            raise ValueError(
                f"a name must be a string of 1 to {MAX_STEP_NAME_LENGTH} characters, not {name!r}"
            )
        occurrence = self._asked[kind, name, self.scope]
        self._asked[kind, name, self.scope] += 1
        return Step(
            run_id=self.run.id,
            key=steps.key_of(kind, name, occurrence, self.scope),
            kind=kind,
            name=name,
            occurrence=occurrence,
        )

    def find(self, asked: Step) -> Step:
        """Return the stored row of what was asked for; the object itself, without an id, where there is none.

        Raises:
            RunSuspended: The run is leaving its thread.
            BadPayload: The row was changed outside django_jobs.
            UnknownHere: A newer version keeps what this one does not know.
        """
        if self.attempt.leaves_for is not None:
            # The function caught what was to end it.
            raise RunSuspended
        if self._kept is None:
            self._kept = {step.key: step for step in self._read()}
        self._seen.add(asked.key)
        found = self._kept.get(asked.key)
        if found is None:
            return asked
        steps.verify(found)
        return found

    def _read(self) -> list[Step]:
        kept = steps.of_run(self.run.id, using=self.using)
        for step in kept:
            if step.kind not in StepKind:
                raise UnknownHere(
                    f"the kind of step {step.kind!r}",
                    f"the run keeps {step.name!r}, of the kind {step.kind!r}, which this version does not know",
                )
        return kept

    # Keeping

    def keep(self, step: Step, **changes: Any) -> None:
        """Write a row, new or changed.

        Raises:
            GiveUp: The run keeps MAX_STEPS already.
            RunLost: The run is another worker's by now.
        """
        kept: dict[str, Step] = self._kept or {}
        limit = jobs_settings().MAX_STEPS
        if step.pk is None and len(kept) >= limit:
            raise GiveUp(
                f"the run keeps {limit} steps (MAX_STEPS), and {step.name!r} would be one more: keep less, as with "
                "one step for many rows, or iterate()"
            )
        for name, value in changes.items():
            setattr(step, name, value)
        steps.write(self.run, step, using=self.using)
        kept[step.key] = step
        self._kept = kept
        self.attempt.note_kept()

    def forget(self, step: Step) -> None:
        """Forget a row whose transaction was rolled back."""
        if step.pk is None and self._kept is not None:
            self._kept.pop(step.key, None)

    def replace(self, step: Step) -> None:
        """Take a row as it was read again."""
        if self._kept is not None:
            self._kept[step.key] = step

    def now(self) -> datetime:
        """Return the time by the database's clock."""
        return database_now(self.using)

    # Rules

    def check_thread(self, twin: str) -> None:
        """Refuse plain calls where an event loop runs.

        Raises:
            RuntimeError: One does; the message names the twin to await.
        """
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return
        raise RuntimeError(f"this would block the event loop: await current_run().{twin}(...)")

    def check_blocks(self, what: str) -> None:
        """Refuse what cannot be inside a transaction of the function: that could still roll it back.

        Raises:
            RuntimeError: A transaction is open.
        """
        if self.attempt.run.options.get("atomic"):
            raise RuntimeError(
                f"{what} in an atomic function would be rolled back with it: leave atomic=True out, and make single "
                "steps atomic"
            )
        open_on = [alias for alias in {self.using, DEFAULT_DB_ALIAS} if self._is_open(alias)]
        if open_on:
            raise RuntimeError(
                f"{what} inside transaction.atomic() could be rolled back with it, and done again: use it outside, "
                "or step(..., atomic=True)"
            )

    def _is_open(self, alias: str) -> bool:
        return alias in connections and self.attempt.is_in_transaction(alias)

    def check_end(self) -> None:
        """End the function if it was told to end.

        Raises:
            RunInterrupted: It was.
        """
        if self.attempt.context.must_stop:
            raise RunInterrupted

    def leave(self, step: Step) -> None:
        """Leave the thread until what a step waits for has come.

        Loops go on at the row that they are at, and not at the first of its page.

        Raises:
            RunSuspended: Always.
            RunLost: The run is another worker's by now.
        """
        for loop in self.loops:
            loop.keep_done()
        self.attempt.leaves_for = step.pk
        raise RunSuspended

    # Loops whose errors are recorded

    def add_loop(self, loop: Loop) -> None:
        """Ask a loop about errors from now on."""
        self._recording.append(loop)

    def absorb(self, error: Exception) -> bool:
        """Have a loop record an error that its body raised; return whether one did, and the function begins again."""
        loops, self._recording = self._recording, []
        if self.attempt.context.must_stop or not any(loop.record(error) for loop in reversed(loops)):
            return False
        self._asked.clear()
        self.scope = ""
        return True

    # At the end

    def report_unasked(self) -> None:
        """Log what the run keeps and its function did not ask for: the code was changed meanwhile."""
        run = self.run
        for step in (self._kept or {}).values():
            if step.key in self._seen:
                continue
            line = (
                f"{step.kind} {step.name!r} (occurrence {step.occurrence + 1}) is kept and was not asked for"
            )
            self.attempt.context.log("%s", line)
            logger.warning(
                "job=%s run=%s: %s: was it removed from the code, or renamed?",
                printable(run.job_id), run.id, printable(line),
            )  # fmt: skip


@contextmanager
def inside(name: str) -> Iterator[None]:
    """Note that a step is under way."""
    token = _inside.set(name)
    try:
        yield
    finally:
        _inside.reset(token)


def stored(value: object, what: str) -> str:
    """Return a value as it is kept.

    Raises:
        InvalidArgument: It cannot be stored.
        ValueError: It is larger than MAX_RESULT_BYTES.
    """
    text = codec.dumps(value, path=what)
    limit = jobs_settings().MAX_RESULT_BYTES
    if len(text) * 4 > limit and len(text.encode()) > limit:
        raise ValueError(
            f"{what} has {len(text.encode())} bytes as JSON, more than MAX_RESULT_BYTES ({limit}): store it "
            "elsewhere, and keep where"
        )
    return text


def value_of(step: Step) -> Any:
    """Return what a row keeps, whose signature was verified."""
    return None if step.value is None else codec.loads(step.value, trusted=True)
