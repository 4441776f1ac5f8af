"""The same of django_jobs, for the same table: `python -m tests.benchmarks.peers.ours COUNT`."""

from __future__ import annotations

import json
import sys
import time

import django


def main() -> None:
    """Enqueue one by one, drain in a process with 10 threads, and say how fast both were."""
    count = int(sys.argv[1])
    django.setup()
    from django_jobs import get_job_manager
    from tests.benchmarks import work
    from tests.benchmarks.measures.drain import drain

    add = get_job_manager().add_immediate_job
    calls = 500
    for _ in range(20):
        add(work.nothing)
    began = time.perf_counter()
    for _ in range(calls):
        add(work.nothing)
    us = (time.perf_counter() - began) / calls * 1e6
    sys.stdout.write(f"{json.dumps([us, drain(count)])}\n")


if __name__ == "__main__":
    main()
