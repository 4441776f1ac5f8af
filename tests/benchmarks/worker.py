"""A worker process of the benchmarks: what `manage.py runjobs` serves, told by lines on its input."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import django
from django.db.backends.signals import connection_created

if TYPE_CHECKING:
    from collections.abc import Callable

statements: Counter[str] = Counter()


def count_statements(*, connection: Any, **_: Any) -> None:
    """Count what a new connection sends from now on."""
    connection.execute_wrappers.append(_count)


def _count(execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any) -> Any:
    statements[" ".join(sql.split())[:90]] += 1
    return execute(sql, params, many, context)


def reply(answer: object) -> None:
    """Answer with a line of JSON."""
    sys.stdout.write(f"{json.dumps(answer)}\n")
    sys.stdout.flush()


def main() -> None:
    """Serve the input until it ends."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--threads", type=int, default=10)
    parser.add_argument("--clock", action="store_true")
    parser.add_argument("--no-worker", action="store_false", dest="worker")
    options = parser.parse_args()
    django.setup()
    from django_jobs.api.manager import get_job_manager
    from django_jobs.models import Run
    from django_jobs.worker.service import Service
    from tests.benchmarks import floor

    manager = get_job_manager()
    reply("ready")
    for line in sys.stdin:
        match line.strip():
            case "start":
                at = time.monotonic()
                service = Service(threads=options.threads, clock=options.clock, worker=options.worker)
                manager.serve(service)
                if not service.wait_started(60):
                    raise SystemExit("the service did not start within a minute")
                reply({"at": at})
            case "floor":
                at = time.monotonic()
                floor.drain(Run.objects.count(), options.threads)
                reply({"at": at})
            case "count":
                connection_created.connect(count_statements)
                reply("counting")
            case "statements":
                reply(statements)
    manager.shutdown()


if __name__ == "__main__":
    main()
