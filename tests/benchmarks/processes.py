"""Worker processes, and what they use."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from tests.benchmarks.databases import ROOT

if TYPE_CHECKING:
    from types import TracebackType


class WorkerProcess:
    """A process that is set up but works only once told to; ended with its `with` block.

    Args:
        threads: Plain functions at once.
        clock: Whether it fires jobs.
        worker: Whether it executes runs.
        count: Whether it counts its statements.
    """

    def __init__(
        self, *, threads: int = 10, clock: bool = False, worker: bool = True, count: bool = False
    ) -> None:
        command = [sys.executable, "-m", "tests.benchmarks.worker", "--threads", str(threads)]
        command += ["--clock"] if clock else []
        command += [] if worker else ["--no-worker"]
        self._process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )
        self.pid = self._process.pid
        self._counts = count

    def __enter__(self) -> Self:
        self._answer()
        if self._counts:
            self._tell("count")
            self._answer()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(60)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def begin(self) -> None:
        """Tell it to work; `began` waits for its word."""
        self._tell("start")

    def begin_floor(self) -> None:
        """Tell it to work off the queue with the driver's statements alone."""
        self._tell("floor")

    def began(self) -> float:
        """Return when it began to start, by the monotonic clock; it has started by now."""
        return float(self._answer()["at"])

    def start(self) -> float:
        """Begin, and wait until it works."""
        self.begin()
        return self.began()

    def statements(self) -> dict[str, int]:
        """Return how often each statement was sent by it so far."""
        self._tell("statements")
        counts: dict[str, int] = self._answer()
        return counts

    def _tell(self, word: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{word}\n")

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the worker process ended with {self._process.wait()}")
        return json.loads(line)


def cpu_seconds(pid: int) -> float:
    """Return the processor time that a process has used."""
    after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(after_name[11]) + int(after_name[12])) / os.sysconf("SC_CLK_TCK")


def precise_cpu_seconds(pid: int) -> float:
    """Return the same from the scheduler's own count, in nanoseconds rather than ticks, where it is kept."""
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9
    except OSError:
        return cpu_seconds(pid)


def threads_of(pid: int) -> int:
    """Return how many threads a process has."""
    return len(list(Path(f"/proc/{pid}/task").iterdir()))


def memory_mb(pid: int) -> tuple[float, float]:
    """Return a process's resident and proportional memory in MB."""
    sizes = {}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        name, _, rest = line.partition(":")
        if name in {"Rss", "Pss"}:
            sizes[name] = int(rest.split()[0]) / 1024
    return sizes["Rss"], sizes["Pss"]
