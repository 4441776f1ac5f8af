"""Celery on Redis, results ignored, as its first steps show it."""

from __future__ import annotations

import os

from celery import Celery

from tests.benchmarks.peers import functions

app = Celery("bench", broker=os.environ["BENCH_REDIS"])
app.conf.task_ignore_result = True
nothing = app.task(name="bench.nothing")(functions.nothing)
note_time = app.task(name="bench.note_time")(functions.note_time)


def enqueue_nothing() -> None:
    """Enqueue one no-op."""
    nothing.delay()


def enqueue_begin(path: str) -> None:
    """Enqueue the first job."""
    note_time.delay(path)


enqueue_end = enqueue_begin
