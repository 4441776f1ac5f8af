"""Child side of `processes`, its start: a process that executes the runs that it is sent, one at a time."""

from __future__ import annotations

import json
import os
import signal
import sys

import django
from django.conf import settings


def main() -> None:
    """Serve until the parent closes our standard input; a run that is under way then is another worker's."""
    # The parent decides when this process ends. Ctrl-C and service managers signal the whole group.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    # What functions print goes to stderr: standard output is for outcomes.
    out = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    os.dup2(2, 1)
    messages = sys.stdin
    for alias, name in json.loads(messages.readline())["databases"].items():
        settings.DATABASES[alias]["NAME"] = name
    django.setup()
    # Only now may models be imported.
    from django_jobs.execution.engines.process_child import ChildServer

    ChildServer(messages, out).serve()


if __name__ == "__main__":
    main()
