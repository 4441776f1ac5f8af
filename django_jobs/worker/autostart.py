"""Decide whether this process starts the manager, and stop it with the process."""

from __future__ import annotations

import atexit
import logging
import os
import signal
import sys
import threading
from typing import TYPE_CHECKING, Any, Protocol

from django_jobs import conf
from django_jobs.conf import jobs_settings
from django_jobs.storage.forks import on_fork_reset

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    from django_jobs.worker.service import Service

logger = logging.getLogger(__name__)

# Packages whose frames are on the stack while a server loads the project.
SERVERS = ("uvicorn", "daphne", "hypercorn", "granian", "waitress", "cheroot", "_mod_wsgi", "mod_wsgi")
# Modules that are there while any server, or a worker of Celery, does.
ENTRIES = ("django.core.wsgi", "django.core.asgi", "celery.fixups.django")
# And while a test runner does, Django's processes of its own among them (`manage.py test --parallel`).
TEST_RUNNERS = ("_pytest", "unittest", "django.test")
# Commands of manage.py that serve requests.
SERVER_COMMANDS = {"runserver", "runserver_plus"}
# Running work may take so long to finish where the process is restarted for each change of the code.
RELOAD_SECONDS = 1.0


class Manager(Protocol):
    """What a process starts and stops."""

    @property
    def service(self) -> Service | None:
        """What works in this process, once it was started."""

    def start_after(self, delay: float) -> None:
        """Start in the background, after some seconds."""

    def shutdown(self) -> None:
        """Stop, losing nothing."""


def start_where_requests_are_served(get_manager: Callable[[], Manager]) -> None:
    """Start a manager here, in the processes that this one forks, or not at all.

    Args:
        get_manager: Returns the manager of the process that it is called in.
    """
    match where_to_start():
        case "here":
            start(get_manager())
        case "children" if "uwsgi" in sys.modules:
            _call_after_fork_of_uwsgi(lambda: start(get_manager(), delay=0.5))
        case "children":
            # After the resets of the modules that are imported by now.
            on_fork_reset(lambda: _start_in_child(get_manager))


def where_to_start() -> str:
    """Return whether to start "here", in "children" that this process forks, or "nowhere"."""
    wanted = conf.autostart()
    if wanted is False:
        return "nowhere"
    modules = _modules_on_stack()
    if _is_command(modules):
        return _under_manage(sys.argv)
    if any(name == runner or name.startswith(f"{runner}.") for name in modules for runner in TEST_RUNNERS):
        return "nowhere"
    if "uwsgi" in sys.modules:
        return _under_uwsgi(sys.modules["uwsgi"])
    if any(name.startswith("gunicorn.workers") for name in modules):
        return "here"
    if any(name.split(".")[0] == "gunicorn" for name in modules):
        # --preload: this is the arbiter, which serves nothing and forks those that do.
        return "children"
    if any(name.split(".")[0] in SERVERS for name in modules):
        return "here"
    return "here" if wanted else "nowhere"


def serves_requests() -> bool:
    """Return whether this process or its forks serve requests, or Celery's tasks, with or without a worker."""
    modules = _modules_on_stack()
    if _is_command(modules):
        return _under_manage(sys.argv) == "here"
    return (
        where_to_start() != "nowhere"
        or not modules.isdisjoint(ENTRIES)
        or any(name.split(".")[0] in SERVERS for name in modules)
    )


def is_command() -> bool:
    """Return whether this process is a command of manage.py, which runs the checks that it wants."""
    return _is_command(_modules_on_stack())


def _is_command(modules: set[str]) -> bool:
    return any(
        name == "django.core.management" or name.startswith("django.core.management.") for name in modules
    )


def _modules_on_stack() -> set[str]:
    """Return the names of the modules that are loading us: argv does not tell a server from its arbiter."""
    names = set()
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        names.add(str(frame.f_globals.get("__name__", "")))
        spec = frame.f_globals.get("__spec__")
        # `python -m gunicorn` and console scripts run a module called __main__.
        names.add(str(getattr(spec, "name", "")))
        frame = frame.f_back
    return names


def _under_manage(argv: list[str]) -> str:
    command = argv[1] if len(argv) > 1 else ""
    if command not in SERVER_COMMANDS:
        return "nowhere"
    # runserver's first process only watches files and restarts the second, which it marks.
    reloads = "--noreload" not in argv
    return "here" if _is_reloaded() or not reloads else "nowhere"


def _is_reloaded() -> bool:
    """Whether this process is one that runserver restarts when a file changes."""
    return os.environ.get("RUN_MAIN") == "true" or os.environ.get("WERKZEUG_RUN_MAIN") == "true"


def _under_uwsgi(uwsgi: Any) -> str:
    has_threads = uwsgi.opt.get("enable-threads") or uwsgi.opt.get("threads")
    if not has_threads:
        logger.warning("uWSGI runs without threads, so no jobs will run here: add --enable-threads")
        return "nowhere"
    is_master = uwsgi.worker_id() == 0
    return "children" if is_master else "here"


def _call_after_fork_of_uwsgi(call: Callable[[], None]) -> None:
    """Have uWSGI call something in each worker: it forks in C, and tells Python only of its own hook."""
    try:
        from uwsgidecorators import postfork
    except ImportError:
        # Not everybody who packs uWSGI packs them.
        uwsgi = sys.modules["uwsgi"]
        before = getattr(uwsgi, "post_fork_hook", None)

        def hook() -> None:
            if before is not None:
                before()
            call()

        uwsgi.post_fork_hook = hook  # type: ignore[attr-defined]
    else:
        # They set the one hook to their own, which calls all.
        postfork(call)


def _start_in_child(get_manager: Callable[[], Manager]) -> None:
    if not any(name.split(".")[0] == "gunicorn" for name in _modules_on_stack()):
        # A fork of the server's that serves no requests: multiprocessing's, or a subprocess's.
        return
    # The server goes on to set this process up: its signals, its user.
    start(get_manager(), delay=0.5)


def start(manager: Manager, delay: float = 0.0) -> None:
    """Start the process's manager, and stop it when the process ends."""
    manager.start_after(delay)
    stop = (lambda: _stop_soon(manager)) if _is_reloaded() else manager.shutdown
    atexit.register(stop)
    from multiprocessing import util as multiprocessing_util

    # Children of multiprocessing (hypercorn's and uvicorn's workers) end without atexit.
    multiprocessing_util.Finalize(None, stop, exitpriority=100)
    if "uwsgi" not in sys.modules:
        # Its handlers are in C, where Python does not see them and must not replace them.
        _stop_on_sigterm(stop)


def _stop_soon(manager: Manager) -> None:
    """Stop while somebody waits to see what they have just written."""
    if manager.service is not None:
        manager.service.stop(min(RELOAD_SECONDS, jobs_settings().SHUTDOWN_SECONDS))
    manager.shutdown()


def _wait_at_exit(stopper: threading.Thread) -> None:
    from multiprocessing import util as multiprocessing_util

    seconds = jobs_settings().SHUTDOWN_SECONDS + 5
    atexit.register(stopper.join, seconds)
    # Before all else that ends with the process.
    multiprocessing_util.Finalize(None, stopper.join, (seconds,), exitpriority=200)


def _stop_on_sigterm(stop: Callable[[], None]) -> None:
    """Stop on SIGTERM too, where it would end the process without its exit hooks.

    By default it ends Python on the spot; and uvicorn, when it has served its last request, sends
    itself the signal again with the handler in place that was there before its own.
    """
    if threading.current_thread() is not threading.main_thread():
        return
    previous = signal.getsignal(signal.SIGTERM)
    is_uvicorns = getattr(previous, "__module__", "").startswith("uvicorn")
    server = getattr(previous, "__self__", None)
    if previous is not signal.SIG_DFL and not is_uvicorns:
        # The server's own, which ends the process in order.
        return

    def handle(number: int, frame: FrameType | None) -> None:
        # Not on this thread: it may hold a lock that stopping needs.
        stopper = threading.Thread(target=stop, name="django_jobs-stopper", daemon=True)
        stopper.start()
        if is_uvicorns and server is not None and hasattr(server, "should_exit"):
            # Its own handler would have the signal end the process with the last request, whatever still runs.
            # Told so, it returns, and the exit of the process waits for the stop.
            server.should_exit = True
            _wait_at_exit(stopper)
            return
        if callable(previous):
            previous(number, frame)
            return
        stopper.join(jobs_settings().SHUTDOWN_SECONDS + 5)
        signal.signal(number, signal.SIG_DFL)
        signal.raise_signal(number)

    signal.signal(signal.SIGTERM, handle)
