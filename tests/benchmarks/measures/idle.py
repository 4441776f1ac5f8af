"""A process that has nothing to do: processor time and statements."""

from __future__ import annotations

import time
from collections import Counter

from django.db import connection

from django_jobs.worker import pruner
from tests.benchmarks import rows
from tests.benchmarks.figures import Figure
from tests.benchmarks.processes import WorkerProcess, precise_cpu_seconds


def measure(*, quick: bool) -> list[Figure]:
    """Measure a process with clock and worker, and jobs that are not due."""
    # As long as what comes once a minute needs to show.
    seconds, rounds = (10.0, 1) if quick else (180.0, 1)
    rows.add_jobs(100)
    cpu, sent, committed = [], [], []
    statements: dict[str, int] = {}
    with WorkerProcess(clock=True, count=True) as process:
        process.start()
        # Its first heartbeat, and what starting left to do: its first look at the history comes late.
        time.sleep(7 if quick else pruner.FIRST_LOOK[1] + 5)
        for _ in range(rounds):
            before, used = process.statements(), precise_cpu_seconds(process.pid)
            transactions = _transactions()
            time.sleep(seconds)
            cpu.append((precise_cpu_seconds(process.pid) - used) / seconds * 100)
            after = process.statements()
            statements = {text: count - before.get(text, 0) for text, count in after.items()}
            sent.append(sum(statements.values()) / seconds * 5)
            committed.append((_transactions() - transactions) / seconds * 5)
    # What they have in common: on SQLite times are written into them.
    kinds: Counter[str] = Counter()
    for text, count in statements.items():
        kinds[text[:45]] += count
    note = "; ".join(f"{count} x {text}" for text, count in kinds.most_common() if count)
    figures = [
        Figure(name="idle process, of one core", unit="%", values=cpu, at_most=0.3),
        Figure(name="idle process, statements in 5 s", unit="", values=sent, at_most=1.0, note=note),
    ]
    if connection.vendor == "postgresql":
        figures.append(
            Figure(
                name="idle process, transactions in 5 s as PostgreSQL counts them",
                unit="",
                values=committed,
                note="with two of the measurement's own in each round",
            )
        )
    return figures


def _transactions() -> int:
    if connection.vendor != "postgresql":
        return 0
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = current_database()"
        )
        return int(cursor.fetchone()[0])
