"""Child side of `processes`, its start: a process that executes the runs that it is sent, one at a time."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import IO

import django
from django.conf import settings

from django_jobs.storage import forks

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def main() -> None:
    """Serve until the parent closes our standard input; a run that is under way then is another worker's."""
    _ignore_signals()
    messages, out = _conversation()
    for alias, name in json.loads(messages.readline())["databases"].items():
        settings.DATABASES[alias]["NAME"] = name
    django.setup()
    # Only now may models be imported.
    from django_jobs.execution.engines.process_child import ChildServer

    ChildServer(messages, out).serve()


def _ignore_signals() -> None:
    """Leave it to the parent when this process ends: Ctrl-C and service managers signal all of them."""
    # A handler, not SIG_IGN: programs that a job starts would inherit that, and ignore `terminate()`.
    for number in _SIGNALS:
        signal.signal(number, lambda *_: None)
    # Held back meanwhile: one that came before the child heeds it would be lost.
    forks.on_fork(
        before=lambda: signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS),
        in_parent=lambda: signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS),
    )
    forks.on_fork_reset(_heed_signals)


def _heed_signals() -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)


def _conversation() -> tuple[IO[str], IO[str]]:
    """Take the pipes to the parent to descriptors that nothing else knows, and that no other process inherits.

    What functions read from standard input is nothing; what they print goes to stderr.
    """
    messages, out = os.dup(0), os.dup(1)
    sys.stdin = Path(os.devnull).open(encoding="utf-8")  # noqa: SIM115 - as long as the process
    os.dup2(sys.stdin.fileno(), 0)
    os.dup2(2, 1)

    def close() -> None:
        # By number: at a fork another thread may hold the lock of the file.
        os.close(messages)
        os.close(out)

    forks.on_fork_reset(close)
    return (
        os.fdopen(messages, encoding="utf-8", closefd=False),
        os.fdopen(out, "w", encoding="utf-8", buffering=1, closefd=False),
    )


if __name__ == "__main__":
    main()
