"""What a report of health says, as dicts."""

from __future__ import annotations

from typing import TypedDict


class Problem(TypedDict):
    """Something that a person should look at."""

    code: str  # one of `health.CODES`
    text: str
    count: int  # of the workers, runs, jobs, hosts or modules that it is about
    queue_name: str  # of overdue runs; else empty
    reason: str  # of overdue runs: "unserved" (no live worker serves their queue) or "busy"; else empty


class WorkerReport(TypedDict):
    """One process that executes runs."""

    id: str
    state: str  # alive, late, gone
    host: str
    pid: int
    version: str  # of this package
    queues: list[str]  # empty: all
    queue_threads: dict[str, int]  # queues that take at most so many of its threads
    threads: int
    is_quiet: bool  # takes no more runs, and finishes those that it has: it is being stopped
    has_clock: bool
    unknown: list[str]  # functions and the like that runs needed and its process does not know
    running: int  # runs that it holds
    running_by_queue: dict[str, int]  # the same of each queue; without those of which it holds none
    heartbeat_at: str  # ISO 8601 in UTC
    problems: list[str]  # what is wrong in its process, as it says itself
    clock_ahead_seconds: float  # of its host before the database's; 0 while it is nearly right


class WorkerTotals(TypedDict):
    """All workers, also those beyond the ones that a report names."""

    alive: int
    late: int
    gone: int
    threads: int  # of those that are not gone
    clocks: int  # of those that are not gone


class QueueReport(TypedDict):
    """One queue that something waits in, or that is paused."""

    name: str
    is_paused: bool
    paused_until: str | None  # ISO 8601; None where it is not paused, and where somebody must resume it
    paused_by: str  # empty where nobody said
    paused_reason: str  # as above
    is_served: bool  # a live worker would take its runs
    due: int  # runs that could be executed now
    later: int  # runs that wait for their time
    held: int  # runs that wait for a person
    blocked: int  # runs that wait for a limit, their turn, other runs or an event
    oldest_seconds: float | None  # how long the oldest due run has waited


class Report(TypedDict):
    """What is there, and what is wrong with it."""

    at: str  # ISO 8601 in UTC, by the database's clock
    problems: list[Problem]
    workers: list[WorkerReport]  # at most MOST_WORKERS, by host
    worker_totals: WorkerTotals
    queues: list[QueueReport]
    jobs: dict[str, int]  # scheduled, paused, broken
    running: int
