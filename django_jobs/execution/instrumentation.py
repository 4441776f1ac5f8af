"""What is put around adding runs and around executing one: tracing and the like; nothing by default."""

from __future__ import annotations

import logging
import threading
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from django_jobs.texts import describe
from django_jobs.texts.printable import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager

    from django_jobs.storage.records import ClaimedRun, NewRun, Outcome

    #: Ends what `Observer.begin` began. Without an outcome the function goes on elsewhere: what was begun
    #: is dropped, and `begin` called again there.
    End = Callable[["Outcome | None", "BaseException | None"], None]

logger = logging.getLogger(__name__)


class Observer:
    """Is told where a run is added and where it is executed, in the process and thread that does so."""

    def adding(self, runs: Sequence[NewRun]) -> AbstractContextManager[object]:
        """Surround the statement that adds some runs; what it puts into their options is stored with them.

        A recurring job's firings are added by a clock, which asks nobody.
        """
        raise NotImplementedError

    def begin(self, run: ClaimedRun) -> End:
        """Begin to observe one attempt, on the thread or in the task that calls the function.

        Returns:
            What ends it there: called with the outcome and with what was raised, if anything was.
        """
        raise NotImplementedError

    def flush(self, seconds: float) -> None:
        """Send what was observed; a child process may end at any time after that."""
        raise NotImplementedError


#: Looked at before anything is called: where it is empty, observing costs nothing.
installed: tuple[Observer, ...] = ()


def add_observer(observer: Observer) -> None:
    """Have an observer told from now on, once however often it is added."""
    global installed
    if observer not in installed:
        installed = (*installed, observer)


def remove_observer(observer: Observer) -> None:
    """Tell an observer no more."""
    global installed
    installed = tuple(one for one in installed if one is not observer)


@contextmanager
def nothing_observed() -> Iterator[None]:
    """Tell no observer meanwhile, in the whole process."""
    global installed
    before, installed = installed, ()
    try:
        yield
    finally:
        installed = before


@contextmanager
def adding(runs: Sequence[NewRun]) -> Iterator[None]:
    """Surround the statement that adds some runs."""
    with ExitStack() as stack:
        for observer in installed:
            try:
                stack.enter_context(observer.adding(runs))
            except Exception as error:  # noqa: BLE001 - what watches a job must not keep it from being added
                describe.log_error(logger, error, "%s failed", type(observer).__name__)
        yield


def begin(run: ClaimedRun) -> list[End]:
    """Begin to observe one attempt; to be given to `end` on the same thread or in the same task."""
    ends = []
    for observer in installed:
        try:
            ends.append(observer.begin(run))
        except Exception as error:  # noqa: BLE001 - what watches a run must not fail it
            name = type(observer).__name__
            describe.log_error(logger, error, "job=%s run=%s: %s failed", printable(run.job_id), run.id, name)
    return ends


def end(ends: list[End], outcome: Outcome | None, error: BaseException | None) -> None:
    """End what `begin` began, the last first."""
    for one in reversed(ends):
        try:
            one(outcome, error)
        except Exception as error:  # noqa: BLE001 - what watches a run must not fail it
            describe.log_error(logger, error, "an observer of a run failed")


_flushing = threading.Lock()


def flush(seconds: float) -> None:
    """Have what was observed sent, and wait for that no longer than some seconds."""
    if not installed or not _flushing.acquire(blocking=False):
        # Still at the last ones: where they are sent to does not answer.
        return

    def send() -> None:
        try:
            for observer in installed:
                observer.flush(seconds)
        except Exception as error:  # noqa: BLE001 - an observer of the project's, and the process is ending
            describe.log_error(logger, error, "what was observed could not be sent")
        finally:
            _flushing.release()

    thread = threading.Thread(target=send, name="django_jobs-flush", daemon=True)
    thread.start()
    thread.join(seconds)
