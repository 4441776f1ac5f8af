"""`python -m tests.benchmarks.load`: fill the project's database with a long history, to look at its pages.

The database is that of DJANGO_SETTINGS_MODULE, migrated before. Nothing is deleted first, and nothing that
is written is ever executed: it names functions that do not exist. Run it from the repository's root.
"""

from __future__ import annotations

import argparse
import json
import time
from datetime import UTC, datetime, timedelta

FUNCTIONS, QUEUES = 50, 5
DAYS = 30
# An object has ten runs, and every hundredth run is about one. Every tenth has a tag.
OBJECTS, HOT, TAG = 10, "documents.document:1", "import"
# The first of the history were added in batches.
BATCH, BATCHES = 1000, 250
WORKERS, GONE = 10, 200
TRACE = "".join(
    f'  File "/srv/shop/orders/part_{depth}.py", line {depth + 10}, in step_{depth}\n    return step(order)\n'
    for depth in range(25)
)
ERRORS = json.dumps(
    [
        {
            "attempt": 1, "worker_id": "w", "started_at": "2030-01-01T00:00:00+00:00",
            "finished_at": "2030-01-01T00:00:01+00:00", "error": "ValueError: no such order",
            "traceback": f"Traceback (most recent call last):\n{TRACE}ValueError: no such order\n",
            "exception": "builtins:ValueError",
        }
    ]
)  # fmt: skip
RUNS = (
    "job_id, name, func, payload, signature, queue_name, priority, kind, attempt, rescues, cancel_requested, "
    "worker_id, log, status, run_after, enqueued_at, started_at, finished_at, error, errors, error_key, about, batch_id"
)


class Numbers:
    """What differs between databases in statements that insert a row for each of some numbers, `n`."""

    def __init__(self, vendor: str) -> None:
        self.vendor = vendor
        self.false = "0" if vendor == "sqlite" else "FALSE"
        self.random = {
            "sqlite": "(ABS(RANDOM()) % 1000000 / 1e6)",
            "postgresql": "RANDOM()",
            "mysql": "RAND()",
        }[vendor]

    def source(self, first: int, last: int) -> str:
        """Return a table of whole numbers, `n`."""
        match self.vendor:
            case "postgresql":
                return f"generate_series({first}, {last}) AS numbers(n)"
            case "mysql":
                return f"(SELECT seq AS n FROM seq_{first}_to_{last}) numbers"
        return (
            f"(WITH RECURSIVE c(n) AS (SELECT {first} UNION ALL SELECT n + 1 FROM c WHERE n < {last}) "
            "SELECT n FROM c) numbers"
        )

    def text(self, *parts: str) -> str:
        """Join texts."""
        return f"CONCAT({', '.join(parts)})" if self.vendor == "mysql" else " || ".join(parts)

    def whole(self, number: str) -> str:
        """Round a number down."""
        return f"FLOOR({number})" if self.vendor != "sqlite" else f"CAST({number} AS INTEGER)"

    def moment(self, seconds: str) -> str:
        """Return the time so many seconds after the epoch."""
        match self.vendor:
            case "postgresql":
                return f"to_timestamp({seconds})"
            case "mysql":
                return f"(TIMESTAMP'1970-01-01 00:00:00' + INTERVAL ({seconds}) SECOND)"
        return f"strftime('%Y-%m-%d %H:%M:%f', {seconds}, 'unixepoch')"

    def number_text(self, number: str) -> str:
        """Return a number as text."""
        return f"CAST({number} AS {'CHAR' if self.vendor == 'mysql' else 'TEXT'})"


def add_runs(cursor, numbers: Numbers, count: int, now: int, step: int = 250_000) -> None:
    """Insert finished runs over a month, of which one in fifty failed; the last two thousand are unfinished."""
    from django_jobs.models import Run
    from django_jobs.texts import failures
    from tests.benchmarks import rows

    error_key = failures.key_of("builtins.ValueError", TRACE, "", "")
    text, moment, n = numbers.text, numbers.moment, numbers.number_text
    at = f"{now} - ({count} - n) * {DAYS * 86400 / count}"
    ended = f"n <= {count - 2000}"
    status = (
        f"CASE WHEN n > {count} - 50 THEN 'RUNNING' WHEN n > {count} - 2000 THEN 'READY' "
        "WHEN MOD(n, 50) = 7 THEN 'FAILED' WHEN MOD(n, 1000) = 3 THEN 'CANCELLED' ELSE 'SUCCESSFUL' END"
    )
    failed = f"{ended} AND MOD(n, 50) = 7"
    kind = "::jsonb" if numbers.vendor == "postgresql" else ""
    values = [
        text("'load-'", n("MOD(n, 20000)")), "'f'", text("'shop.jobs:f'", n(f"MOD(n * 7, {FUNCTIONS})")),
        f"'{rows.PAYLOAD}'", f"'{rows.SIGNATURE}'", text("'queue-'", n(f"MOD(n * 7, {QUEUES})")), "0", "'recurring'", "1", "0",
        numbers.false, f"CASE WHEN n > {count} - 50 OR {ended} THEN 'load' ELSE '' END", "''", status, moment(at), moment(at),
        f"CASE WHEN n > {count} - 50 OR {ended} THEN {moment(at)} END", f"CASE WHEN {ended} THEN {moment(f'{at} + 0.2')} END",
        f"CASE WHEN {failed} THEN {text(chr(39) + 'ValueError: no such order ' + chr(39), n('n'))} ELSE '' END",
        f"CASE WHEN {failed} THEN %s{kind} END",
        # Half of them one error, and the rest 200 others.
        f"CASE WHEN {failed} AND MOD(n, 100) = 7 THEN '{error_key}' "
        f"WHEN {failed} THEN {text(chr(39) + 'key-' + chr(39), n('MOD(n, 20000)'))} END",
        f"CASE WHEN MOD(n, 100) = 0 THEN '{HOT}' "
        f"ELSE {text(chr(39) + 'shop.order:' + chr(39), n(f'MOD(n, {max(1, count // OBJECTS)})'))} END",
        f"CASE WHEN n <= {min(count // 2, BATCHES * BATCH)} THEN 1 + {numbers.whole(f'(n - 1) / {BATCH}')} END",
    ]  # fmt: skip
    if numbers.vendor == "sqlite":
        values = [value.replace("MOD(n * 7,", "((n * 7) %%").replace("MOD(n,", "(n %%") for value in values]
    for start in range(1, count + 1, step):
        source = numbers.source(start, min(count, start + step - 1))
        cursor.execute(
            f"INSERT INTO {Run._meta.db_table} ({RUNS}) SELECT {', '.join(values)} FROM {source}", [ERRORS]
        )


def add_tallies(cursor, numbers: Numbers, now: int, runs: int) -> None:
    """Insert the counts that such a history leaves: two per function in each minute, hour and day kept."""
    from django_jobs.models import RAN_BINS, WAITED_BINS, Rollup

    names = ", ".join((*RAN_BINS, *WAITED_BINS))
    mod = "((n %% {0}))" if numbers.vendor == "sqlite" else "MOD(n, {0})"
    func = mod.format(FUNCTIONS)
    for size, steps in ((60, 2880), (3600, 1440), (86_400, 365)):
        each = max(1, runs * size // (DAYS * 86_400 * FUNCTIONS))
        for outcome, share in (("SUCCESSFUL", 1), ("FAILED", 50)):
            count = max(1, each // share)
            bins = [
                f"CASE WHEN {mod.format(len(RAN_BINS) - 6)} = {index} THEN {count} ELSE 0 END"
                for index in range(len(RAN_BINS))
            ]
            bins += [str(count) if index == 3 else "0" for index in range(len(WAITED_BINS))]
            begins = f"{now // size * size} - {size} * {numbers.whole(f'(n - 1) / {FUNCTIONS}')}"
            cursor.execute(
                f"INSERT INTO {Rollup._meta.db_table} (size_seconds, begins_at, func, queue_name, outcome, runs, "
                f"ran_seconds, waited_seconds, {names}) SELECT {size}, {numbers.moment(begins)}, "
                f"{numbers.text(chr(39) + 'shop.jobs:f' + chr(39), numbers.number_text(func))}, "
                f"{numbers.text(chr(39) + 'queue-' + chr(39), numbers.number_text(mod.format(QUEUES)))}, "
                f"'{outcome}', {count}, {count * 0.2}, {count * 0.01}, {', '.join(bins)} "
                f"FROM {numbers.source(1, steps * FUNCTIONS)}",
                [],
            )  # fmt: skip


def add_tags(cursor) -> None:
    """Give every tenth run a tag."""
    from django_jobs.models import Run, RunTag
    from django_jobs.registry.limits import digest

    cursor.execute(
        f"INSERT INTO {RunTag._meta.db_table} (run_id, tag) SELECT id, %s FROM {Run._meta.db_table} WHERE id %% 10 = 0",
        [digest(TAG)],
    )


def add_others(now: int, runs: int, alias: str) -> None:
    """Insert what there is one of for many runs: batches, workers, most of them gone, and depths of queues."""
    from django_jobs.models import Batch, DepthSample, Worker

    at = datetime.fromtimestamp(now // 3600 * 3600, UTC)
    Batch.objects.using(alias).bulk_create(
        Batch(
            key=f"load-{index}", name="nightly", status="SUCCESSFUL", created_at=at, closed_at=at, ended_at=at,
            changed_at=at, total=BATCH, successful=BATCH * 98 // 100, failed=BATCH * 2 // 100,
        )
        for index in range(min(runs // 2 // BATCH, BATCHES))
    )  # fmt: skip
    Worker.objects.using(alias).bulk_create(
        Worker(
            id=f"load-{index}" if index else "load", host=f"host-{index % 7}", process_key="", pid=index + 1, version="0",
            threads=10, has_clock=False, started_at=at - timedelta(days=1), heartbeat_at=at,
            lease_expires_at=at + timedelta(days=3650), stopped_at=None if index < WORKERS else at,
        )
        for index in range(WORKERS + GONE)
    )  # fmt: skip
    DepthSample.objects.using(alias).bulk_create(
        DepthSample(
            sampled_at=at - timedelta(seconds=every * index), queue_name=f"queue-{queue}", every_seconds=every, due=index % 500
        )
        for queue in range(QUEUES)
        for every, first, last in ((60, 1, 2880), (3600, 49, 720))
        for index in range(first, last)
        if every == 3600 or index % 60
    )  # fmt: skip


def spread_jobs(cursor, numbers: Numbers, now: int) -> None:
    """Have jobs fire within the next day, and have run before."""
    from django_jobs.models import Job

    parent = Job._meta.pk.related_model._meta.db_table
    cursor.execute(
        f"UPDATE {parent} SET next_run_time = {numbers.moment(f'{now} + {numbers.random} * 86400')}"
    )
    cursor.execute("SELECT MAX(id) FROM django_jobs_run")
    (last,) = cursor.fetchone()
    if last:
        cursor.execute(
            f"UPDATE {Job._meta.db_table} SET last_run_id = 1 + {numbers.whole(f'{numbers.random} * {last - 1}')}"
        )


def main() -> None:
    """Fill the database."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.load", description=__doc__)
    parser.add_argument("--runs", type=int, default=5_000_000, help="5,000,000.")
    parser.add_argument("--jobs", type=int, default=20_000, help="20,000.")
    options = parser.parse_args()

    import django

    django.setup()
    from django.conf import settings
    from django.db import connections

    # Or each statement would be kept, formatted with its values.
    settings.DEBUG = False
    from django_jobs.models import jobs_database
    from tests.benchmarks import rows
    from tests.benchmarks.tables import say

    alias = jobs_database()
    numbers = Numbers(connections[alias].vendor)
    began = time.monotonic()
    now = int(time.time())
    with connections[alias].cursor() as cursor:
        add_runs(cursor, numbers, options.runs, now)
        say(f"{options.runs:,} runs: {time.monotonic() - began:.0f} s")
        add_tags(cursor)
        add_tallies(cursor, numbers, now, options.runs)
        add_others(now, options.runs, alias)
        rows.add_jobs(options.jobs, alias)
        spread_jobs(cursor, numbers, now)
    rows.analyze(alias)
    say(f"all: {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
