"""Random faults under load, and the count of what came of it."""

import collections
import datetime
import itertools
import os
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path

from django.db import DatabaseError, InterfaceError, connection

from django_jobs import codec
from django_jobs.models import Batch, Job, Run
from tests.faults.processes import Client, get
from tests.probes import ledger as probes

# Between the heartbeats and the end of the lease there is room for a busy machine.
JOBS = {
    "HEARTBEAT_SECONDS": 1,
    "LEASE_SECONDS": 6,
    "SHUTDOWN_SECONDS": 5,
    # A long run that is hit again and again is bounded elsewhere; here every run must succeed.
    "MAX_RESCUES": 100,
}
RECURRING = 10


@dataclass
class Counts:
    """What a soak came to."""

    accepted: int = 0
    refused: int = 0  # calls that raised: the database may have committed them or not
    lost: int = 0
    batches: int = 0
    batches_lost: int = 0  # that did not end well, or without the job at their end
    joined_early: int = 0
    joined_twice: int = 0
    fired: int = 0
    missed: int = 0
    fired_twice: int = 0
    recorded: int = 0
    recorded_twice: int = 0
    results_refused: int = 0
    rescued: int = 0
    executions: int = 0
    failed: int = 0
    unfinished: int = 0
    faults: collections.Counter = field(default_factory=collections.Counter)
    errors: list = field(default_factory=list)
    died: list = field(default_factory=list)
    left: list = field(default_factory=list)

    def __str__(self):
        words = [
            f"{name.replace('_', ' ')} {value}" for name, value in vars(self).items() if name != "faults"
        ]
        faults = ", ".join(f"{name} {count}" for name, count in sorted(self.faults.items()))
        return ", ".join(words) + f"; faults: {faults}"


class Soak:
    """Processes, their load, and what is done to them.

    Args:
        worker: Starts a worker process.
        web: Starts a gunicorn with two web processes.
        database: What `kill`, `stop` and `start` do to the database.
        manager: Adds jobs from this process.
        ledger: What the functions wrote.
        chance: Decides everything that is not decided.
    """

    def __init__(self, *, worker, web, database, manager, ledger, chance):
        self._start_worker = lambda: worker("--threads", "4", wait=False, jobs=JOBS)
        self._start_web = lambda: web(workers=2, jobs=JOBS)
        self._database = database
        self._manager = manager
        self._ledger = ledger
        self._chance = chance
        self.counts = Counts()
        self._names = itertools.count()
        # Runs of each that was accepted, the one that waits for them, and the text of the job at the end.
        self._batches = {}
        self._stopped = []

    def run(self, seconds, *, rate, outages, pause):
        """Break things for some seconds, then let all that was accepted end, and count.

        Args:
            seconds: How long faults go on.
            rate: Jobs added each second.
            outages: How often the database goes away.
            pause: Range of seconds between two faults.
        """
        self._workers = [self._start_worker() for _ in range(4)]
        self._web = self._start_web()
        for number in range(RECURRING):
            view = self._manager.using(coalesce=False)
            view.add_recurring_job(probes.note, 1, job_id=f"every-{number}", max_instances=10**6)
        clients = [
            Client(self._add, rate * 0.4),
            Client(self._add_many, rate * 0.3 / 10),
            Client(self._add_batch, rate * 0.1 / 7),
            Client(self._add_by_web, rate * 0.2),
        ]
        try:
            self._break_things(seconds, outages, pause)
        finally:
            for client in clients:
                self.counts.refused += len(client.errors)
            accepted = set(itertools.chain.from_iterable(client.stop() for client in clients))
            self._mend_all()
        self._drain(60 + seconds / 5)
        self._count(accepted)
        return self.counts

    # Load

    def _add(self):
        if self._chance.random() < 0.1:
            name = f"named-{next(self._names)}"
            return self._manager.add_immediate_job(probes.work, self._seconds(), job_id=name)
        return self._manager.add_immediate_job(probes.work, self._seconds())

    def _add_many(self):
        return self._manager.add_many([(probes.work, (self._seconds(),)) for _ in range(10)])

    def _add_batch(self):
        """Five runs, one that is given their results, and one job at the end."""
        end = f"end of {next(self._names)}"
        with self._manager.batch("soak", on_end=(probes.note, [end])) as batch:
            parts = batch.add_many((probes.work, [self._seconds()]) for _ in range(5))
            joined = batch.add(probes.note, parts)
        self._batches[batch.id] = ([str(part) for part in parts], str(joined), end)
        return [*self._batches[batch.id][0], str(joined)]

    def _add_by_web(self):
        return get(self._web.port, f"add/?seconds={self._seconds()}", timeout=10)

    def _seconds(self):
        # Most are short, and a few are still there when their process is killed.
        return round(self._chance.choice([0, 0, 0.005, 0.01]) if self._chance.random() < 0.98 else 1.0, 3)

    # Faults

    def _break_things(self, seconds, outages, pause):
        began = time.monotonic()
        outages_at = [began + seconds * (index + 0.5) / outages for index in range(outages)]
        while (now := time.monotonic()) < began + seconds:
            if outages_at and now >= outages_at[0]:
                outages_at.pop(0)
                self._break_database()
            else:
                self._chance.choice(
                    [self._kill, self._kill, self._terminate, self._stop, self._kill_web, self._reload_web]
                )()
            self._continue(time.monotonic())
            # The next fault comes at an instant that has nothing to do with what goes on.
            time.sleep(self._chance.uniform(*pause))

    def _any(self):
        stopped = {process for process, _ in self._stopped}
        free = [index for index, process in enumerate(self._workers) if process not in stopped]
        return self._chance.choice(free) if free else None

    def _replace(self, index, number):
        process = self._workers[index]
        if process.poll() is not None:
            # Nobody told it to end.
            self.counts.died.append(process.log.read_text()[-2000:])
        process.send_signal(number)
        self._workers[index] = self._start_worker()

    def _kill(self):
        if (index := self._any()) is not None:
            self._replace(index, signal.SIGKILL)
            self.counts.faults["KILL"] += 1

    def _terminate(self):
        if (index := self._any()) is not None:
            self._replace(index, signal.SIGTERM)
            self.counts.faults["TERM"] += 1

    def _stop(self):
        if (index := self._any()) is not None:
            process = self._workers[index]
            process.send_signal(signal.SIGSTOP)
            # Some go on within their lease, some long after it. One that holds SQLite's lock holds up all.
            limit = 1.5 if connection.vendor == "sqlite" else JOBS["LEASE_SECONDS"] * 2
            self._stopped.append((process, time.monotonic() + self._chance.uniform(0.5, limit)))
            self.counts.faults["STOP"] += 1

    def _continue(self, now):
        for process, until in list(self._stopped):
            if now >= until:
                process.send_signal(signal.SIGCONT)
                self._stopped.remove((process, until))

    def _kill_web(self):
        children = Path(f"/proc/{self._web.pid}/task/{self._web.pid}/children").read_text().split()
        if children:
            os.kill(int(self._chance.choice(children)), signal.SIGKILL)
            self.counts.faults["KILL web"] += 1

    def _reload_web(self):
        self._web.send_signal(signal.SIGHUP)
        self.counts.faults["HUP web"] += 1

    def _break_database(self):
        if connection.vendor == "sqlite":
            # A process that was stopped with the lock in its hands would keep it from us for ever.
            self._continue(float("inf"))
        self._chance.choice([self._database.kill, self._database.stop])()
        time.sleep(self._chance.uniform(0.2, 3))
        self._database.start()
        self.counts.faults["database"] += 1

    def _mend_all(self):
        self._continue(float("inf"))
        self._database.start()

    # The end

    def _drain(self, limit):
        end = time.monotonic() + limit
        Job.objects.all().delete()
        while time.monotonic() < end:
            try:
                if not Run.objects.unfinished().exists():
                    break
            except (DatabaseError, InterfaceError):
                connection.close()
            time.sleep(0.2)
        for process in [*self._workers, self._web]:
            if process.poll() is not None:
                self.counts.died.append(process.log.read_text()[-2000:])
            process.send_signal(signal.SIGTERM)
        for process in [*self._workers, self._web]:
            process.wait(60)

    def _count(self, accepted):
        counts = self.counts
        ended = {line["job"] for line in self._ledger.lines("ended")}
        statuses = dict(Run.objects.values_list("job_id", "status"))
        counts.accepted = len(accepted)
        # By the table, and by the functions' own word.
        counts.lost = sum(job not in statuses or job not in ended for job in accepted)
        left = Run.objects.unfinished().values_list(
            "id", "job_id", "status", "attempt", "worker_id", "errors"
        )
        counts.left = list(left)
        counts.unfinished = len(left)
        failed = Run.objects.finished().exclude(status="SUCCESSFUL")
        counts.failed, counts.errors = failed.count(), list(failed.values_list("id", "name", "error")[:5])
        counts.executions = self._ledger.count("began")
        counts.rescued = self._ledger.count("rescued")
        counts.results_refused = self._ledger.count("refused")
        recorded = [line["run"] for line in self._ledger.lines("recorded", status="SUCCESSFUL")]
        counts.recorded = len(recorded)
        counts.recorded_twice = len(recorded) - len(set(recorded))
        self._count_firings()
        self._count_batches()

    def _count_batches(self):
        counts, good = self.counts, []
        lines = self._ledger.lines("began", "ended")
        first = {}
        for number, line in enumerate(lines):
            first.setdefault((line["event"], line["job"]), number)
        ends = collections.Counter(run.payload for run in Run.objects.filter(name="note", kind="immediate"))
        rows = Batch.objects.in_bulk(list(self._batches), field_name="key")
        for key, (parts, joined, end) in self._batches.items():
            # Each part has ended once before; what goes on of a lost attempt may end later.
            last = max(first.get(("ended", part), len(lines)) for part in parts)
            counts.joined_early += first.get(("began", joined), len(lines)) < last
            added = ends[codec.dump_arguments((end,), {})]
            counts.joined_twice += added > 1
            row = rows.get(key)
            good.append(row is not None and row.state == "successful" and row.successful == 6 and added == 1)
        counts.batches = len(good)
        counts.batches_lost = good.count(False)

    def _count_firings(self):
        counts = self.counts
        told = [(line["job"], line["scheduled_at"]) for line in self._ledger.lines("fired")]
        counts.fired_twice = len(told) - len(set(told))
        times = collections.defaultdict(list)
        for job, at in Run.objects.filter(scheduled_at__isnull=False).values_list("job_id", "scheduled_at"):
            times[job].append(at)
        for each in times.values():
            counts.fired += len(each)
            counts.fired_twice += len(each) - len(set(each))
            span = (max(each) - min(each)) / datetime.timedelta(seconds=1)
            counts.missed += round(span) + 1 - len(set(each))
