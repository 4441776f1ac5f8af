"""Enqueue a backlog into one other system: `python -m ...peers.feed MODULE COUNT BEGIN_FILE END_FILE`."""

from __future__ import annotations

import importlib
import json
import os
import sys
import time


def main() -> None:
    """Enqueue, and say how many microseconds one call took."""
    module, count, begin, end = sys.argv[1:]
    if os.environ.get("DJANGO_SETTINGS_MODULE"):
        import django

        django.setup()
    peer = importlib.import_module(f"tests.benchmarks.peers.{module}")
    peer.enqueue_begin(begin)
    for _ in range(20):
        peer.enqueue_nothing()
    began = time.perf_counter()
    for _ in range(int(count)):
        peer.enqueue_nothing()
    seconds = time.perf_counter() - began
    peer.enqueue_end(end)
    sys.stdout.write(f"{json.dumps(seconds / int(count) * 1e6)}\n")
    sys.stdout.flush()
    # Some leave threads behind that would keep this process.
    os._exit(0)


if __name__ == "__main__":
    main()
