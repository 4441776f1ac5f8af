"""A mix of jobs whose outcomes are known beforehand, whatever executes them."""

import asyncio
import os
import time

from django_jobs import Retry, current_run

AGAIN = Retry(max_attempts=3, delay=0.01, backoff="fixed")


def plain(number):
    return number


async def awaited(number):
    await asyncio.sleep(0.01)
    return number


def failing(number):
    raise ValueError(f"number {number}")


def retrying(number):
    # By what it was told, not by its attempt: one that was rescued counts another attempt.
    tried = len([entry for entry in _errors() if entry.startswith("ValueError")])
    if tried < 2:
        raise ValueError(f"number {number}, try {tried + 1}")
    return number


def failing_each_time(number):
    raise ValueError(f"number {number}")


def slow(number):
    time.sleep(0.3)
    return number


def crashing_once(number):
    if not any(entry.startswith("WorkerDied") for entry in _errors()):
        os._exit(7)
    return number


def crashing_and_at_most_once(number):
    os._exit(7)


def _errors():
    from django_jobs.models import Run

    return [entry["error"] for entry in Run.objects.get(pk=current_run().run_id).errors or []]


# How many of a hundred, options, and what becomes of each: status and the beginning of its error.
MIX = {
    "plain": (40, {}, ("SUCCESSFUL", "")),
    "awaited": (20, {}, ("SUCCESSFUL", "")),
    "failing": (12, {}, ("FAILED", "ValueError")),
    "retrying": (10, {"retry": AGAIN}, ("SUCCESSFUL", "")),
    "failing_each_time": (6, {"retry": AGAIN}, ("FAILED", "ValueError")),
    "slow": (8, {}, ("SUCCESSFUL", "")),
    "crashing_once": (3, {}, ("SUCCESSFUL", "")),
    "crashing_and_at_most_once": (1, {"at_most_once": True}, ("FAILED", "WorkerDied")),
}
# Those that end their process: not where it executes other runs too.
CRASHING = ("crashing_once", "crashing_and_at_most_once")
