"""A fan-out and its join while workers are killed, here and with Celery on Redis.

    python -m tests.benchmarks.peers.fan_out [--parts 1000] [--rounds 3] [--kills 2]

Each part writes a line, and the join one with the number of results that it was given. Workers have two slots, and are
killed with all of their processes when a part of the lines is there; another one is started then.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.benchmarks import databases
from tests.benchmarks.peers import compare
from tests.benchmarks.tables import say

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PYTHON = sys.executable
# Seconds after which a join that has not come counts as lost. What a killed worker of Celery had is looked for by one
# worker at a time, and a killed one holds that place for five minutes.
PATIENCE = 400


@dataclass(frozen=True, slots=True)
class System:
    """What is compared.

    Args:
        name: For the table.
        store: "redis", or a kind of database.
        worker: Command of its worker process.
        is_safe: Of Celery: with its options against lost workers.
        patience: Seconds after which a join that has not come counts as lost.
    """

    name: str
    store: str
    worker: tuple[str, ...]
    is_safe: bool = False
    patience: float = PATIENCE


_OURS = (PYTHON, "-m", "django", "runjobs", "--threads", "2")
_CELERY = (
    PYTHON,
    "-m",
    "celery",
    "-A",
    "tests.benchmarks.peers.celery_chord",
    "worker",
    "-c",
    "2",
    "-l",
    "warning",
)
SYSTEMS = (
    System("django_jobs on SQLite", "sqlite", _OURS),
    System("django_jobs on PostgreSQL", "postgresql", _OURS),
    # What a killed worker had is given to others after an hour, unless that was begun.
    System("Celery on Redis, as it comes", "redis", _CELERY, patience=100),
    System("Celery on Redis, acks late", "redis", _CELERY, is_safe=True),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one fan-out.

    Args:
        seconds: From the call to the join; None where it did not come.
        joins: What each join was given: how many results, and their sum.
        missing: Parts that were not executed.
        again: Parts that were executed more than once.
    """

    seconds: float | None
    joins: list[tuple[int, int]]
    missing: int
    again: int


def main() -> None:
    """Compare, and print a line for each round."""
    if len(sys.argv) > 1 and sys.argv[1] == "add":
        _add(sys.argv[2], sys.argv[3], int(sys.argv[4]))
        return
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.peers.fan_out", description=__doc__)
    parser.add_argument("--parts", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--kills", type=int, default=2)
    options = parser.parse_args()
    say(
        f"| system | joined after, s | joins | results given | executed again | never executed |\n|{'---|' * 6}"
    )
    for _ in range(options.rounds):
        for system in SYSTEMS:
            result = measure(system, options.parts, options.kills)
            given = ", ".join(
                f"{count}{'' if total == sum(range(options.parts)) else ' (wrong sum)'}"
                for count, total in result.joins
            )
            seconds = "never" if result.seconds is None else f"{result.seconds:.1f}"
            say(
                f"| {system.name} | {seconds} | {len(result.joins)} | {given} | {result.again} | {result.missing} |"
            )


def measure(system: System, parts: int, kills: int) -> Result:
    """Have parts executed while workers are killed."""
    with _store(system) as env, tempfile.TemporaryDirectory() as directory:
        lines = Path(directory) / "lines"
        lines.touch()
        with (Path(directory) / "log").open("w") as log:

            def start() -> subprocess.Popen[bytes]:
                return subprocess.Popen(
                    system.worker, env=env, cwd=databases.ROOT, stdout=log, stderr=log, start_new_session=True
                )

            worker = start()
            command = [
                PYTHON,
                "-m",
                "tests.benchmarks.peers.fan_out",
                "add",
                system.store,
                str(lines),
                str(parts),
            ]
            began = time.monotonic()
            adding = subprocess.Popen(command, env=env, cwd=databases.ROOT)
            try:
                for number in range(kills):
                    _until(lambda at=(number + 1) / (kills + 1): _count(lines, "part") >= parts * at)
                    os.killpg(worker.pid, signal.SIGKILL)
                    worker.wait()
                    worker = start()
                assert adding.wait(PATIENCE) == 0
                is_joined = _until(lambda: _count(lines, "joined"), system.patience)
                seconds = time.monotonic() - began
                # A second join would come when what is left is redelivered.
                _until(lambda: _count(lines, "joined") > 1, 15)
            finally:
                os.killpg(worker.pid, signal.SIGKILL)
                worker.wait()
        return _result(lines, parts, seconds if is_joined else None)


def _result(lines: Path, parts: int, seconds: float | None) -> Result:
    done: Counter[str] = Counter()
    joins = []
    for line in lines.read_text().splitlines():
        word, _, rest = line.partition(" ")
        if word == "part":
            done[rest] += 1
        else:
            count, total = map(int, rest.split())
            joins.append((count, total))
    again = sum(count > 1 for count in done.values())
    return Result(seconds, joins, missing=parts - len(done), again=again)


def _until(condition: Callable[[], object], seconds: float = PATIENCE) -> bool:
    ends = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > ends:
            return False
        time.sleep(0.02)
    return True


def _count(lines: Path, word: str) -> int:
    return lines.read_text().count(f"{word} ")


@contextmanager
def _store(system: System) -> Iterator[dict[str, str]]:
    if system.store == "redis":
        with compare.empty_redis() as url:
            env = databases.environment("sqlite", "")
            env.pop("DJANGO_SETTINGS_MODULE")
            yield {**env, "BENCH_REDIS": url, **({"BENCH_SAFE": "1"} if system.is_safe else {})}
        return
    with databases.migrated(system.store) as env:
        yield env


def _add(store: str, path: str, parts: int) -> None:
    """Add the fan-out, in a process of its own."""
    if store == "redis":
        from celery import chord

        from tests.benchmarks.peers.celery_chord import join, part

        chord(part.s(path, number) for number in range(parts))(join.s(path))
        return
    import django

    django.setup()
    from django_jobs import get_job_manager
    from tests.benchmarks.peers import functions

    with get_job_manager().batch("fan-out") as batch:
        batch.add(
            functions.join, batch.add_many((functions.part, [path, number]) for number in range(parts)), path
        )


if __name__ == "__main__":
    main()
