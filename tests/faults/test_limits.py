"""Limits over processes that are killed: never exceeded, never leaked, no key stuck."""

import signal
import time
from datetime import datetime

import pytest
from django.db import DatabaseError, InterfaceError, connection

from django_jobs import Limit
from django_jobs.models import Run
from tests.faults.limits import most_at_once, most_begun, out_of_order
from tests.faults.processes import SHORT_LEASE, end
from tests.probes import ledger as probes


def add(manager, key, concurrency, count, seconds=0.01):
    view = manager.using(limit=Limit(key, concurrency=concurrency))
    return view.add_many([(probes.keyed, (key, seconds))] * count)


def are_over(ids):
    return Run.objects.filter(job_id__in=ids, status="SUCCESSFUL").count() == len(ids)


def test_the_same_limit_1_job_many_times_at_once(worker, manager, ledger, until):
    for _ in range(3):
        worker("--threads", "8", wait=False)

    ids = [job_id for _ in range(40) for job_id in add(manager, "one", 1, 1)]

    until(lambda: are_over(ids), timeout=180)
    assert most_at_once(ledger) == {"one": 1}


def test_a_key_has_as_many_as_it_may_have_over_processes(worker, manager, ledger, until):
    ids = add(manager, "three", 3, 30, seconds=0.05) + add(manager, "one", 1, 5)
    for _ in range(2):
        worker("--threads", "4", wait=False)

    until(lambda: are_over(ids), timeout=60)
    assert most_at_once(ledger) == {"three": 3, "one": 1}


def test_a_slot_lost_with_its_worker_is_free_again(worker, manager, ledger, gate, until):
    victim = worker(jobs=SHORT_LEASE)
    held = manager.using(limit=Limit("k", concurrency=1)).add_immediate_job(probes.hold, gate.path)
    until(lambda: ledger.count("began"))
    ids = [held, *add(manager, "k", 1, 3)]

    end(victim, signal.SIGKILL)
    gate.open()
    worker(jobs=SHORT_LEASE)

    until(lambda: are_over(ids), timeout=40)
    assert Run.objects.get(job_id=held).rescues == 1


@pytest.mark.parametrize(
    "at",
    [
        "django_jobs.storage.limits.gate:admitted before kill",
        "django_jobs.storage.limits.gate:admitted after kill",
        "django_jobs.storage.outcomes:finish before kill",
        "django_jobs.storage.outcomes:finish after kill",
        "django_jobs.storage.limits.line:advance before kill",
        "django_jobs.storage.limits.line:advance after kill",
    ],
)
def test_a_worker_killed_at_any_step_of_a_limit_leaves_no_key_stuck(worker, manager, ledger, until, at):
    ids = add(manager, "k", 1, 4)
    victim = worker(at=at, wait=False)
    assert victim.wait(40) == -signal.SIGKILL, victim.log.read_text()

    worker(jobs=SHORT_LEASE)

    until(lambda: are_over(ids), timeout=40)
    assert most_at_once(ledger, {victim.pid: 0.0}) == {"k": 1}


def test_a_rate_holds_over_processes_that_are_killed(worker, manager, ledger, until):
    view = manager.using(limit=Limit("api", rate="20/s"))
    workers = [worker("--threads", "4", wait=False, jobs=SHORT_LEASE) for _ in range(3)]
    ids = view.add_many([(probes.keyed, ("api", 0.0))] * 40)
    until(lambda: ledger.count("began") >= 10, timeout=60)
    end(workers[0], signal.SIGKILL)

    until(lambda: are_over(ids), timeout=60)
    began = sorted(line["at"] for line in ledger.lines("began"))
    # A start is counted when it is granted, and the function begins a moment later.
    assert all(later - first > 0.7 for first, later in zip(began, began[20:], strict=False)), began


def test_a_key_in_order_stays_so_while_workers_are_killed(worker, manager, ledger, until):
    view = manager.using(limit=Limit("line", concurrency=1, in_order=True), priority=0)
    ids = view.add_many([(probes.keyed, ("line", 0.05))] * 20)
    manager.using(limit=Limit("line", concurrency=1, in_order=True), priority=50).add_immediate_job(
        probes.keyed, "line", 0.0
    )
    jobs = {**SHORT_LEASE, "MAX_RESCUES": 1000}
    workers = [worker("--threads", "4", wait=False, jobs=jobs) for _ in range(2)]
    for count in (2, 6, 12):
        until(lambda count=count: ledger.count("ended") >= count, timeout=60)
        end(workers.pop(0), signal.SIGKILL)
        workers.append(worker("--threads", "4", wait=False, jobs=jobs))

    until(lambda: are_over(ids) and not Run.objects.unfinished().exists(), timeout=60)
    began = [line["run"] for line in ledger.lines("began")]
    # One that was begun twice was so before the next.
    assert began == sorted(began)


@pytest.mark.parametrize(
    "at",
    [
        "django_jobs.storage.fairness:claimed before kill",
        "django_jobs.storage.fairness:claimed after kill",
        "django_jobs.storage.fairness:take_turns after kill",
    ],
)
def test_a_worker_killed_at_any_step_of_a_turn_leaves_no_key_stuck(worker, manager, ledger, until, at):
    ids = [
        job_id
        for key in ("a", "b")
        for job_id in manager.using(fair_key=key).add_many([(probes.keyed, (key, 0.01))] * 4)
    ]
    victim = worker(at=at, wait=False, jobs=SHORT_LEASE)
    assert victim.wait(40) == -signal.SIGKILL, victim.log.read_text()

    worker(jobs=SHORT_LEASE)

    until(lambda: are_over(ids), timeout=40)


def test_one_run_begins_within_two_claims_of_another_keys_backlog_over_processes(
    worker, manager, ledger, until
):
    many = manager.using(fair_key="many").add_many([(probes.keyed, ("many", 0.05))] * 60)
    for _ in range(2):
        worker("--threads", "2", wait=False)
    until(lambda: ledger.count("began") >= 8, timeout=60)

    one = manager.using(fair_key="one").add_immediate_job(probes.keyed, "one", 0.0)

    until(lambda: are_over([*many, one]), timeout=60)
    order = [line["key"] for line in sorted(ledger.lines("began"), key=lambda line: line["at"])]
    assert order.index("one") < 50, order


class Load:
    """Workers under limits that are killed and stopped at random."""

    def __init__(self, worker, chance, ledger):
        self._start = lambda: worker(
            "--threads",
            "4",
            wait=False,
            jobs={"HEARTBEAT_SECONDS": 1, "LEASE_SECONDS": 6, "MAX_RESCUES": 1000},
        )
        self._chance = chance
        self.ledger = ledger
        self.gone = {}
        self.faults = 0
        self._stopped = []
        self._workers = [self._start() for _ in range(3)]

    def break_one(self):
        index = self._chance.randrange(len(self._workers))
        process = self._workers[index]
        number = self._chance.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGSTOP, signal.SIGTERM])
        if number == signal.SIGSTOP:
            # Past its lease what it executes is somebody else's: it is excepted from then on.
            self._stopped.append((process, time.monotonic() + self._chance.uniform(0.1, 12)))
        if number != signal.SIGTERM:
            self.gone[process.pid] = time.time()
        process.send_signal(number)
        self._workers[index] = self._start()
        self.faults += 1
        self.go_on(time.monotonic())

    def go_on(self, now):
        for process, until in list(self._stopped):
            if now >= until:
                process.send_signal(signal.SIGCONT)
                process.send_signal(signal.SIGTERM)
                self._stopped.remove((process, until))


def lost_attempts():
    return {
        (run_id, entry["attempt"]): datetime.fromisoformat(entry["finished_at"]).timestamp()
        for run_id, errors in Run.objects.filter(errors__isnull=False).values_list("pk", "errors")
        for entry in errors
        if entry["error"].startswith("WorkerDied")
    }


@pytest.mark.timeout(0)
def test_random_faults_under_limits_exceed_none_and_leave_no_key_stuck(
    worker, database, manager, ledger, chance, until, soak_minutes, say
):
    keys = {"a": 1, "b": 2, "c": 3, "d": 1, "e": 5}
    seconds = soak_minutes * 60 if soak_minutes else 10
    load = Load(worker, chance, ledger)
    ids = []
    ends = time.monotonic() + seconds
    outage = time.monotonic() + seconds / 2
    while time.monotonic() < ends:
        try:
            for key, concurrency in keys.items():
                seconds_each = chance.choice([0, 0.01, 0.2])
                # Half of the keys take turns, too.
                view = manager.using(fair_key=chance.choice("xy")) if concurrency > 1 else manager
                ids += add(view, key, concurrency, 4, seconds=seconds_each)
            in_order = manager.using(limit=Limit("o", concurrency=1, in_order=True))
            ids += in_order.add_many([(probes.keyed, ("o", 0.02))] * 2)
            ids += manager.using(limit=Limit("r", rate="5/s")).add_many([(probes.keyed, ("r", 0.0))] * 4)
        except (DatabaseError, InterfaceError):
            connection.close()
        load.break_one()
        if time.monotonic() > outage:
            outage = time.monotonic() + 60
            # One that is stopped while it writes would keep SQLite's file until it goes on.
            load.go_on(float("inf"))
            database.kill()
            time.sleep(1)
            database.start()
        time.sleep(chance.uniform(0.2, 1.0))
    load.go_on(float("inf"))

    def is_drained():
        try:
            return not Run.objects.unfinished().exists()
        except (DatabaseError, InterfaceError):
            connection.close()
            return False

    until(is_drained, timeout=60 + seconds)
    lost = lost_attempts()
    most = most_at_once(ledger, load.gone, lost)
    begun = most_begun(ledger, "r", 6)
    say(
        f"{len(ids)} runs, {load.faults} faults, --seed {chance.chosen_seed}: at most {most} at the same time of {keys}, "
        f"{begun} of 5 a second within 6 s"
    )
    assert all(most[key] <= concurrency for key, concurrency in keys.items()), most
    assert most["e"] > 1
    assert most["o"] == 1
    assert out_of_order(ledger, "o", load.gone, lost) == []
    # A start is counted when it is granted; on a busy machine the function begins up to seconds later.
    assert begun <= 5 * (6 + 3)
    assert are_over(ids)
