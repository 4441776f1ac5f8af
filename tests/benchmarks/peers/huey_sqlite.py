"""huey on SQLite."""

from __future__ import annotations

import os

from huey import SqliteHuey

from tests.benchmarks.peers import functions

huey = SqliteHuey("bench", filename=os.environ["BENCH_NAME"])
nothing = huey.task()(functions.nothing)
note_time = huey.task()(functions.note_time)


def enqueue_nothing() -> None:
    """Enqueue one no-op."""
    nothing()


def enqueue_begin(path: str) -> None:
    """Enqueue the first job."""
    note_time(path)


enqueue_end = enqueue_begin
