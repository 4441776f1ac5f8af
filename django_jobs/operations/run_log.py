"""Follow the log of a run, over all its attempts, wherever they execute."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from django_jobs import codec
from django_jobs.models import FINISHED, LogChunk, Run, Status
from django_jobs.storage import logs

if TYPE_CHECKING:
    from django_jobs.storage.logs import Line


def newest_run(job_id: str, *, using: str) -> int | None:
    """Return the id of a job's newest run; None where it has none."""
    runs = Run.objects.using(using).filter(job_id=job_id).order_by("-id")
    return runs.values_list("pk", flat=True).first()


class LogReader:
    """Reads the lines of one run's log, each once.

    Args:
        run_id: Of the run.
        using: Alias of the database.

    Attributes:
        status: Of the run when it was last read; empty where there is none, or it was deleted.
    """

    def __init__(self, run_id: int, *, using: str) -> None:
        self._run_id = run_id
        self._using = using
        self._seen: Counter[str] = Counter()
        self._version: object = None
        self.status = ""

    @property
    def is_over(self) -> bool:
        """Whether no more lines are to come."""
        return not self.status or self.status in FINISHED

    def read(self) -> list[Line]:
        """Return the lines that were not returned before, with two short queries where there are none."""
        rows = Run.objects.using(self._using).filter(pk=self._run_id)
        version = rows.values_list("status", "attempt", "fence").first()
        if version is None:
            self.status = ""
            return []
        self.status = version[0]
        chunks = LogChunk.objects.using(self._using).filter(run_id=self._run_id)
        newest = chunks.order_by("-pk").values_list("pk", flat=True).first()
        if (version, newest) == self._version:
            return []
        run = rows.only("id", "status", "log").first()
        if run is None:
            return []
        self._version = (version, newest)
        self.status = Status(run.status).value
        return self._unseen(logs.parse(codec.storable(logs.read(run, using=self._using))))

    def _unseen(self, lines: list[Line]) -> list[Line]:
        # Not by their number: lines of an attempt that was given up may come late, and go before others.
        counts: Counter[str] = Counter()
        unseen = []
        for line in lines:
            counts[line.raw] += 1
            if counts[line.raw] > self._seen[line.raw]:
                unseen.append(line)
        self._seen |= counts
        return unseen
