"""procrastinate through its Django app; its worker imports this module for the tasks."""

from __future__ import annotations

from procrastinate.contrib.django import app

from tests.benchmarks.peers import functions

nothing = app.task(name="bench.nothing")(functions.nothing)
note_time = app.task(name="bench.note_time")(functions.note_time)


def enqueue_nothing() -> None:
    """Enqueue one no-op."""
    nothing.defer()


def enqueue_begin(path: str) -> None:
    """Enqueue the first job."""
    note_time.defer(path=path)


enqueue_end = enqueue_begin
