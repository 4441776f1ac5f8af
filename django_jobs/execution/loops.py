"""Event loops that outlive what jobs do to them.

`sys.exit()` and Ctrl-C in a task end `run_forever`, whoever's task it is; what is awaited stays in the loop,
which can be run again. A job may also call `stop()`, or raise what asyncio's own handler cannot log.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from django_jobs.execution.sync_thread import LoopThreads
from django_jobs.texts import describe
from django_jobs.texts.printable import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

logger = logging.getLogger(__name__)

T = TypeVar("T")

# At most, that tasks left behind may take to end after they were cancelled.
LEFT_SECONDS = 5.0


def new_loop() -> asyncio.AbstractEventLoop:
    """Return an event loop whose handler of errors raises nothing, and whose threads keep no connections."""
    loop = asyncio.new_event_loop()
    loop.set_default_executor(LoopThreads(thread_name_prefix="asyncio"))
    loop.set_exception_handler(_report)
    return loop


@contextmanager
def guarded() -> Iterator[None]:
    """Have the running loop, which is somebody else's, report errors with a handler that raises nothing."""
    loop = asyncio.get_running_loop()
    before = loop.get_exception_handler()
    if before is None:
        loop.set_exception_handler(_report)
    try:
        yield
    finally:
        loop.set_exception_handler(before)


def serve(loop: asyncio.AbstractEventLoop, is_over: Callable[[], bool]) -> None:
    """Run a loop until it was stopped and `is_over`."""
    while not is_over() and not loop.is_closed():
        try:
            loop.run_forever()
        except BaseException as error:  # noqa: BLE001 - SystemExit or KeyboardInterrupt of somebody's task
            _log(error)


def run_to_end(begin: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Await something on a loop of its own, and end the tasks that it leaves."""
    loop = new_loop()
    try:
        asyncio.set_event_loop(loop)
        task = loop.create_task(begin())
        task.add_done_callback(lambda _: loop.stop())
        serve(loop, task.done)
        return task.result()
    finally:
        end(loop)
        asyncio.set_event_loop(None)


def end(loop: asyncio.AbstractEventLoop, seconds: float = LEFT_SECONDS) -> None:
    """Cancel the tasks of a loop that was stopped, and close it; one that does not end is left."""
    if loop.is_closed():
        return
    pending = asyncio.all_tasks(loop)
    for task in pending:
        task.cancel()
    try:
        if pending:
            _run(loop, asyncio.wait(pending, timeout=seconds))
        _run(loop, loop.shutdown_asyncgens())
        still = [task for task in pending if not task.done()]
        if still:
            logger.warning("%s tasks that jobs left did not end when they were cancelled", len(still))
    finally:
        loop.close()


def _run(loop: asyncio.AbstractEventLoop, awaited: Coroutine[Any, Any, Any]) -> None:
    task = loop.create_task(awaited)
    task.add_done_callback(lambda _: loop.stop())
    serve(loop, task.done)


def _log(error: BaseException) -> None:
    describe.log_error(
        logger,
        error,
        "a task of a job raised %s; the event loop goes on",
        printable(describe.name_of(type(error))),
    )


def _report(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    error = context.get("exception")
    try:
        if error is None or describe.loggable(error) is error:
            loop.default_exception_handler(context)
            return
    except BaseException:  # noqa: BLE001, S110 - what it shows cannot be shown, see below
        pass
    if isinstance(error, BaseException):
        describe.log_error(logger, error, "%s", printable(context.get("message")))
