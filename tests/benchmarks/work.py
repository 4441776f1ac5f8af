"""Functions that are called as jobs."""

from __future__ import annotations

import asyncio
import queue
import time
import uuid

from django.contrib.contenttypes.models import ContentType

from django_jobs import Limit, current_run, job

# Times at which `stamp` began, for whoever runs the worker in its own process.
stamps: queue.SimpleQueue[float] = queue.SimpleQueue()


def nothing() -> None:
    """Do nothing."""


def give(value: int) -> int:
    """Return a number."""
    return value


def indexed(index: int) -> None:
    """Do nothing, with an argument as runs by key have it."""


@job(limit=Limit("key-{index}", concurrency=2))
def keyed(index: int) -> None:
    """Do nothing, two of each index at the same time."""


@job(limit=Limit("hot", concurrency=10))
def hot() -> None:
    """Do nothing, ten at the same time."""


def write() -> None:
    """Write a row, in a commit of its own."""
    ContentType.objects.create(app_label="benchmark", model=uuid.uuid4().hex)


@job(atomic=True)
def write_atomic() -> None:
    """Write a row, in one commit with the outcome."""
    write()


def write_in_step() -> None:
    """Write a row in a step."""
    run = current_run()
    assert run is not None
    run.step(write)


def write_in_atomic_step() -> None:
    """Write a row in one commit with the note of its step."""
    run = current_run()
    assert run is not None
    run.step(write, atomic=True)


@job(fair_key="key-{index}")
def fair(index: int) -> None:
    """Do nothing, in its key's turn."""


def stamp() -> float:
    """Return when it began, by a clock that all processes of a machine share."""
    at = time.monotonic()
    stamps.put(at)
    return at


async def rest() -> None:
    """Await one second."""
    await asyncio.sleep(1)


async def rest_long() -> None:
    """Await ten seconds."""
    await asyncio.sleep(10)


def say(lines: int) -> None:
    """Say so many lines a second, ten times a second, until it is told to end."""
    run = current_run()
    assert run is not None
    while not run.wait(0.1):
        for number in range(lines // 10):
            run.log("line %d of %s", number, "a log")


def speak(tenths: int, lines: int) -> None:
    """Say so many lines in each of so many tenths of a second."""
    run = current_run()
    assert run is not None
    for _ in range(tenths):
        run.wait(0.1)
        for number in range(lines):
            run.log("line %d of %s", number, "a log")
