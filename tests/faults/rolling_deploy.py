"""Deploy this code while that of an earlier commit works on the same database, and count what came of it.

    TESTPROJECT_DATABASE=postgresql python -m tests.faults.rolling_deploy COMMIT

It needs the history (`git archive`), and a database server that lets it create a database. The old version's
processes add jobs and work; then the new version migrates, and joins them process by process until the old
ones are gone, one of them killed. The last line says whether something was lost or done twice.
"""

from __future__ import annotations

import argparse
import collections
import os
import re
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from contextlib import contextmanager
from datetime import timedelta
from itertools import pairwise
from pathlib import Path

from tests.faults.deployed import FILES

ROOT = Path(__file__).parents[2]
PERIOD = 1.0
# Where a version has the action on all runs that match, old places first.
BULK = ("django_jobs.bulk", "django_jobs.operations.bulk")


class Version:
    """One version's code, and the processes of it.

    Args:
        name: "old" or "new".
        code: Its checkout.
        folder: Where the project is, and what processes write.
        env: What tells them the database.
    """

    def __init__(self, name: str, code: Path, folder: Path, env: dict[str, str]) -> None:
        self.name, self._code, self._folder = name, code, folder
        self._env = {
            **env,
            "PYTHONPATH": os.pathsep.join(map(str, (code, code / "testproject", folder))),
            "DEPLOYED": name,
        }
        self._started: list[subprocess.Popen[bytes]] = []

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Start `python ...` with what it prints in a file."""
        out = self._folder / f"{self.name}-{len(self._started)}-{arguments[1]}.log"
        with out.open("wb") as file:
            process = subprocess.Popen(
                [sys.executable, *arguments], cwd=self._folder, env=self._env, stdout=file, stderr=file
            )
        process.log = out
        self._started.append(process)
        return process

    def run(self, *arguments: str) -> None:
        """Run it to its end, which must be in order."""
        process = self.start(*arguments)
        if process.wait(300):
            raise SystemExit(process.log.read_text())

    def worker(self) -> subprocess.Popen[bytes]:
        """Start a worker, and wait until it works."""
        process = self.start("-m", "django", "runjobs", "--threads", "4")
        wait(lambda: "started: queues=" in text_of(process))
        return process

    def ask_for_bulk(self) -> None:
        """Have this version add a bulk action, which waits."""
        place = next(
            name for name in BULK if (self._code / f"{name.replace('.', '/')}.py").exists()
            or (self._code / name.replace(".", "/")).is_dir()
        )  # fmt: skip
        self.run("-m", "deployed.ask", self.name, place)

    def end(self) -> None:
        """Kill what is left."""
        for process in self._started:
            process.kill()
            process.wait()


def text_of(process):
    """What a process wrote, unless it is dead, which is an error."""
    text = process.log.read_text()
    if process.poll() is not None:
        raise SystemExit(f"{process.log.name} ended:\n{text}")
    return text


def wait(condition, timeout=400):
    """Wait until something is true."""
    limit = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > limit:
            raise SystemExit(f"waited in vain for {condition.__qualname__}")
        time.sleep(0.1)


def end(process, number=signal.SIGTERM):
    """Send a signal, and wait."""
    process.send_signal(number)
    process.wait(300)


@contextmanager
def a_database(folder: Path):
    """A database of its own, and the variables that name it."""
    kind = os.environ.get("TESTPROJECT_DATABASE") or "sqlite"
    name = str(folder / "db.sqlite3") if kind == "sqlite" else f"rolling_deploy_{os.getpid()}"
    env = {**os.environ, "TESTPROJECT_DATABASE": kind, "TESTPROJECT_DATABASE_NAME": name}
    os.environ["TESTPROJECT_DATABASE_NAME"] = name

    import django
    from django.conf import settings
    from django.db.utils import ConnectionHandler

    django.setup()

    def execute(statement):
        server = {"postgresql": "postgres", "mariadb": ""}[kind]
        handler = ConnectionHandler({"default": {**settings.DATABASES["default"], "NAME": server}})
        with handler["default"].cursor() as cursor:
            cursor.execute(statement)
        handler["default"].close()

    if kind != "sqlite":
        execute(f"CREATE DATABASE {name}")
    try:
        yield env
    finally:
        if kind != "sqlite":
            from django.db import connections

            connections.close_all()
            execute(f"DROP DATABASE {name}")


def deploy(old: Version, new: Version, seconds: float) -> list[str]:
    """Deploy; return the names of all jobs that were accepted."""
    from django_jobs import get_job_manager
    from django_jobs.models import Run

    old.run("-m", "django", "migrate", "--verbosity", "0")
    workers, adds = [old.worker(), old.worker()], [old.start("-m", "deployed.add", "old")]
    old.ask_for_bulk()
    time.sleep(seconds)

    new.run("-m", "django", "migrate", "--verbosity", "0")
    time.sleep(seconds)
    # What the new version adds first only old workers can take.
    adds.append(new.start("-m", "deployed.add", "new"))
    new.ask_for_bulk()
    get_job_manager().resume_queue("bulk-new")
    time.sleep(seconds)
    wait(lambda: Run.objects.filter(job_id="bulk-new", status="SUCCESSFUL").exists())
    for number in (signal.SIGTERM, signal.SIGKILL):
        workers.append(new.worker())
        time.sleep(seconds)
        end(workers.pop(0), number)
    get_job_manager().resume_queue("bulk-old")
    time.sleep(seconds)

    for process in adds:
        end(process)
    wait(lambda: not unfinished())
    for process in workers:
        end(process)
    for process in workers:
        if process.returncode:
            raise SystemExit(f"a worker ended with {process.returncode}:\n{process.log.read_text()}")
    lines = [line for process in adds for line in process.log.read_text().splitlines()]
    return [line for line in lines if re.fullmatch(r"(old|new)-\d+", line)]


def unfinished() -> int:
    """How many runs and jobs have not ended, but for the recurring one."""
    from django_jobs.models import Batch, Job, Run

    # What waits for others' ends, and was not told of them by old workers, maintenance finds later.
    from django_jobs.storage.batches import sweep

    sweep.sweep(using="default", still=timedelta(0))
    runs = Run.objects.filter(status__in=["READY", "RUNNING"]).exclude(job_id="steady")
    return (
        runs.count() + Job.objects.exclude(pk="steady").count() + Batch.objects.filter(ended_at=None).count()
    )


def mistakes(names: list[str], ledger: Path) -> list[str]:
    """Return what was lost or doubled."""
    from django_jobs.models import Batch, Run

    found = []
    rows = collections.Counter(Run.objects.values_list("job_id", flat=True))
    ended = set(Run.objects.filter(status="SUCCESSFUL").values_list("job_id", flat=True))
    found += [f"{name}: {rows[name]} rows" for name in names if rows[name] != 1]
    found += [f"{name}: did not succeed" for name in names if name not in ended]
    lines = [line.split() for line in ledger.read_text().splitlines()]
    times = collections.Counter((run, attempt) for _, _, run, attempt, _ in lines)
    found += [f"run {run}: attempt {attempt} began {n} times" for (run, attempt), n in times.items() if n > 1]
    executed = {int(line[2]) for line in lines}
    found += [
        f"run {pk}: recorded and never executed"
        for pk in Run.objects.filter(status="SUCCESSFUL").exclude(job_id__startswith="bulk").values_list("pk", flat=True)
        if pk not in executed
    ]  # fmt: skip
    fired = sorted(Run.objects.filter(job_id="steady").values_list("scheduled_at", flat=True))
    gaps = [(later - earlier).total_seconds() / PERIOD for earlier, later in pairwise(fired)]
    found += [
        f"the recurring job fired twice for {at}" for at, n in collections.Counter(fired).items() if n > 1
    ]
    found += [f"the recurring job was out of step by {gap} periods" for gap in gaps if gap != round(gap)]
    for version in ("old", "new"):
        held = collections.Counter(
            Run.objects.filter(queue_name=f"held-{version}").values_list("status", flat=True)
        )
        if held != {"CANCELLED": 30}:
            found.append(f"the {version} bulk action left {dict(held)}")
        if (status := Run.objects.get(job_id=f"bulk-{version}").status) != "SUCCESSFUL":
            found.append(f"the {version} bulk action is {status}")
    joins = collections.Counter(line[1] for line in lines if line[0] == "join")
    found += [f"batch {number} was joined {n} times" for number, n in joins.items() if n != 1]
    if Batch.objects.count() != len(joins):
        found.append(f"{Batch.objects.count()} batches, and {len(joins)} joins")
    # A slow machine skips firings of a job whose last run has not ended.
    failed = Run.objects.filter(status="FAILED").values_list("job_id", "error")
    return found + [f"{name}: {error[-300:]}" for name, error in failed]


def main() -> int:
    """Deploy over one database; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("commit", help="the version that is there before")
    parser.add_argument("--seconds", type=float, default=2.0, help="how long each step lasts")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        archive = folder / "old.tar"
        if subprocess.run(
            ["git", "archive", "-o", archive, options.commit], cwd=ROOT, check=False
        ).returncode:
            parser.error(f"git has no commit {options.commit!r} here")
        with tarfile.open(archive) as tar:
            tar.extractall(folder / "before", filter="data")
        package = folder / "deployed"
        package.mkdir()
        for name, text in FILES.items():
            package.joinpath(name).write_text(text)
        # As the processes, this one reads the database; it works nothing.
        sys.path[:0] = [str(ROOT / "testproject"), str(folder)]
        os.environ.update(
            DJANGO_SETTINGS_MODULE="deployed.settings",
            DJANGO_JOBS_AUTOSTART="0",
            DEPLOYED_LEDGER=str(folder / "ledger"),
            TESTPROJECT_VAR=str(folder),
            SECRET_KEY="of a deploy",
        )
        with a_database(folder) as env:
            old = Version("old", folder / "before", folder, env)
            new = Version("new", ROOT, folder, env)
            try:
                names = deploy(old, new, options.seconds)
                found = mistakes(names, folder / "ledger")
            finally:
                old.end()
                new.end()
            lines = (folder / "ledger").read_text().splitlines()
            by = collections.Counter(line.split()[-1] for line in lines)
            found.append(f"{len(names)} jobs accepted, executed {dict(by)}; {len(found)} mistakes")
            sys.stdout.write("\n".join(found) + "\n")
            return 1 if len(found) > 1 else 0


if __name__ == "__main__":
    sys.exit(main())
