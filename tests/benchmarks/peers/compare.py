"""django_jobs and the other systems in turns: one enqueue, and the drain of a backlog by one worker."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from tests.benchmarks import databases
from tests.benchmarks.figures import Figure
from tests.benchmarks.tables import say

if TYPE_CHECKING:
    from collections.abc import Iterator

PYTHON = sys.executable
REDIS = os.environ.get("BENCH_REDIS_SERVER", "redis://127.0.0.1:6379")


@dataclass(frozen=True, slots=True)
class Peer:
    """One other system on one store.

    Args:
        name: For the table.
        store: "redis", or a kind of database.
        module: Of this package.
        needs: What must be importable.
        install: What pip would install.
        worker: Command of its worker process.
        jobs: Size of the backlog: a few seconds of its work.
        apps: Django apps to install.
    """

    name: str
    store: str
    module: str
    needs: tuple[str, ...]
    install: str
    worker: tuple[str, ...]
    jobs: int
    apps: str = ""

    @property
    def missing(self) -> str:
        """What would have to be installed; empty when nothing is missing."""
        return "" if all(importlib.util.find_spec(name) for name in self.needs) else self.install


def _django(*arguments: str) -> tuple[str, ...]:
    return (PYTHON, "-m", "django", *arguments)


_CELERY = (PYTHON, "-m", "celery", "-A", "tests.benchmarks.peers.celery_peer", "worker", "-l", "warning")
_HUEY = (PYTHON, "-m", "huey.bin.huey_consumer")
_APS = (PYTHON, "-m", "tests.benchmarks.peers.apscheduler_peer")

PEERS = (
    Peer(
        "huey on SQLite, 10 threads", "sqlite", "huey_sqlite", ("huey",), "huey",
        (*_HUEY, "tests.benchmarks.peers.huey_sqlite.huey", "-w", "10", "-k", "thread"), 8_000,
    ),
    Peer(
        "huey on Redis, 10 threads", "redis", "huey_redis", ("huey", "redis"), "huey redis",
        (*_HUEY, "tests.benchmarks.peers.huey_redis.huey", "-w", "10", "-k", "thread"), 5_000,
    ),
    Peer(
        "Celery on Redis, 10 threads", "redis", "celery_peer", ("celery", "redis"), "'celery[redis]'",
        (*_CELERY, "-P", "threads", "-c", "10"), 3_000,
    ),
    Peer(
        "Celery on Redis, prefork of 2", "redis", "celery_peer", ("celery", "redis"), "'celery[redis]'",
        (*_CELERY, "-P", "prefork", "-c", "2"), 3_000,
    ),
    Peer(
        "procrastinate on PostgreSQL, 10 at once", "postgresql", "procrastinate_peer", ("procrastinate",),
        "procrastinate", _django("procrastinate", "worker", "--concurrency", "10"), 1_500,
        "procrastinate.contrib.django",
    ),
    *[
        Peer(
            f"django-tasks-db on {words}", kind, "tasks_db", ("django_tasks_db",), "django-tasks-db",
            _django("db_worker", "--no-startup-delay"), jobs, "django_tasks_db",
        )
        for kind, words, jobs in (("sqlite", "SQLite", 1_000), ("postgresql", "PostgreSQL", 500))
    ],
    *[
        Peer(
            f"django-apscheduler's store on {words}, 10 threads", kind, "apscheduler_peer",
            ("django_apscheduler",), "django-apscheduler", _APS, 1_000, "django_apscheduler",
        )
        for kind, words in (("sqlite", "SQLite"), ("postgresql", "PostgreSQL"))
    ],
)  # fmt: skip


def measure(kinds: list[str], *, quick: bool) -> list[Figure]:
    """Return enqueue and drain of each, ours with the targets."""
    peers = []
    for peer in PEERS:
        problem = _why_not(peer, kinds)
        if problem:
            say(f"{peer.name}: {problem}")
        else:
            peers.append(peer)
    ours = [kind for kind in ("sqlite", "postgresql") if kind in kinds]
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in [*ours, *[p.name for p in peers]]}
    for number in range(1 if quick else 3):
        for kind in ours:
            taken[kind].append(_run_ours(kind, 5_000 if quick else 20_000))
        for peer in peers:
            rates = _run_peer(peer, peer.jobs // 4 if quick else peer.jobs)
            if rates is not None:
                taken[peer.name].append(rates)
        say(f"round {number + 1} done")
    names = {kind: f"django_jobs on {databases.WORDS[kind]}" for kind in ours}
    figures = []
    for name, rates in taken.items():
        if rates:
            label = names.get(name, name)
            figures.append(Figure(name=f"{label}: enqueue", unit="us", values=[us for us, _ in rates]))
            figures.append(Figure(name=f"{label}: drain", unit="jobs/s", values=[rate for _, rate in rates]))
    return figures + _beside_fastest(ours, peers, taken)


def _beside_fastest(
    ours: list[str], peers: list[Peer], taken: dict[str, list[tuple[float, float]]]
) -> list[Figure]:
    """Return our drains beside the fastest of some peers', round by round."""
    figures = []
    for kind, words, stores, least in (
        ("sqlite", "any store", ("sqlite", "postgresql", "redis"), 3.5),
        ("postgresql", "Redis", ("redis",), 3.0),
        ("postgresql", "PostgreSQL", ("postgresql",), 8.0),
    ):
        rates = {p.name: [rate for _, rate in taken[p.name]] for p in peers if p.store in stores}
        rates = {name: values for name, values in rates.items() if values}
        if kind in ours and rates:
            fastest = max(rates, key=lambda name: median(rates[name]))
            figures.append(
                Figure(
                    name=f"django_jobs on {databases.WORDS[kind]} beside the fastest on {words}",
                    unit="jobs/s",
                    values=[rate for _, rate in taken[kind]],
                    reference=fastest,
                    reference_values=rates[fastest],
                    ratio_at_least=least,
                )
            )
    return figures


def _why_not(peer: Peer, kinds: list[str]) -> str:
    if peer.missing:
        return f"not installed: pip install {peer.missing}"
    if peer.store == "redis":
        import redis

        try:
            redis.Redis.from_url(REDIS, socket_timeout=3).ping()
        except redis.RedisError as error:
            return f"Redis does not answer: {error}"
        return ""
    return "" if peer.store in kinds else f"its database ({peer.store}) is left out"


def _run_ours(kind: str, count: int) -> tuple[float, float]:
    with databases.migrated(kind) as env:
        command = [PYTHON, "-m", "tests.benchmarks.peers.ours", str(count)]
        done = subprocess.run(
            command, env=env, cwd=databases.ROOT, check=True, stdout=subprocess.PIPE, text=True
        )
    us, rate = json.loads(done.stdout)
    return us, rate


def _run_peer(peer: Peer, count: int, timeout: float = 120) -> tuple[float, float] | None:
    """Return the microseconds of an enqueue and the jobs a second of a drain; None when it did not end."""
    with _store(peer) as env, tempfile.TemporaryDirectory() as directory:
        begin, end = Path(directory) / "begin", Path(directory) / "end"
        feed = [PYTHON, "-m", "tests.benchmarks.peers.feed", peer.module, str(count), str(begin), str(end)]
        fed = subprocess.run(feed, env=env, cwd=databases.ROOT, check=True, stdout=subprocess.PIPE, text=True)
        with (Path(directory) / "log").open("w+") as log:
            worker = subprocess.Popen(
                peer.worker, env=env, cwd=databases.ROOT, stdout=log, stderr=log, start_new_session=True
            )
            try:
                limit = time.monotonic() + timeout
                while not end.exists() and worker.poll() is None and time.monotonic() < limit:
                    time.sleep(0.05)
            finally:
                _end(worker)
            if not end.exists():
                log.seek(0)
                say(f"{peer.name}: {count} jobs were not done in {timeout:g} s: {log.read()[-500:]}")
                return None
        seconds = float(end.read_text()) - float(begin.read_text())
    return json.loads(fed.stdout), count / seconds


def _end(worker: subprocess.Popen[bytes]) -> None:
    """End a worker and its children: it leads a group of its own."""
    for number in (15, 9):
        try:
            os.killpg(worker.pid, number)
        except ProcessLookupError:
            break
        try:
            worker.wait(5)
        except subprocess.TimeoutExpired:
            continue
    worker.wait()


@contextmanager
def _store(peer: Peer) -> Iterator[dict[str, str]]:
    """Make an empty store for the time being; yield the environment of the peer's processes."""
    if peer.store == "redis":
        with empty_redis() as url:
            env = databases.environment("sqlite", "")
            env.pop("DJANGO_SETTINGS_MODULE")
            yield {**env, "BENCH_REDIS": url}
        return
    with databases.empty(peer.store) as name:
        env = databases.environment(peer.store, name)
        if not peer.apps:
            env.pop("DJANGO_SETTINGS_MODULE")
            yield env
            return
        env |= {"BENCH_APPS": peer.apps, "DJANGO_SETTINGS_MODULE": "tests.benchmarks.peers.settings"}
        migrate = [*_django("migrate", "--verbosity", "0")]
        subprocess.run(migrate, env=env, cwd=databases.ROOT, check=True)
        yield env


@contextmanager
def empty_redis() -> Iterator[str]:
    """Find a numbered database that nobody uses; it is emptied afterwards."""
    import redis

    for number in range(15, 0, -1):
        client = redis.Redis.from_url(f"{REDIS}/{number}")
        if client.dbsize() == 0:
            try:
                yield f"{REDIS}/{number}"
            finally:
                client.flushdb()
            return
    raise RuntimeError("every numbered database of this Redis is in use")
