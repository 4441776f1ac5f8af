import signal
import sys
import threading
import time

import pytest
from django.db import connections
from django.db.models import Count

from django_jobs.models import Run
from tests.faults.processes import SHORT_LEASE
from tests.probes.models import Mark


class Doubles:
    """Looks again and again for two runs of a key that wait at the same time."""

    def __init__(self):
        self.found = []
        self.looks = 0
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._look)
        self._thread.start()

    def _look(self):
        try:
            while not self._stopped.wait(0.05):
                waiting = Run.objects.ready().values("payload").annotate(count=Count("pk"))
                self.found += waiting.filter(count__gt=1).values_list("payload", "count")
                self.looks += 1
        finally:
            connections.close_all()

    def stop(self):
        self._stopped.set()
        self._thread.join(30)


@pytest.fixture
def doubles(transactional_db):
    doubles = Doubles()
    yield doubles
    doubles.stop()


@pytest.mark.timeout(0)
def test_of_a_key_never_two_runs_wait_and_none_is_missing_after_its_last_event(
    start, worker, doubles, chance, soak_minutes, tmp_path, until, say
):
    processes, calls, keys, pause = (16, 100_000, 1_000, 5) if soak_minutes else (4, 1_500, 20, 0.7)
    ledger = tmp_path / "calls"
    ledger.touch()

    def enqueuer():
        left = str(calls // processes)
        seed = str(chance.randrange(10**9))
        return start(sys.executable, "-m", "tests.faults.unique_load", seed, left, str(keys), str(ledger))

    def new_worker():
        return worker("--threads", "4", wait=False, jobs={**SHORT_LEASE, "MAX_RESCUES": 10_000})

    groups = [(enqueuer, processes), (new_worker, 2)]
    running = [(begin, begin()) for begin, count in groups for _ in range(count)]
    began, killed = time.monotonic(), 0
    while ledger.stat().st_size < calls:
        time.sleep(pause)
        victim = chance.choice(running)[1]
        victim.send_signal(signal.SIGKILL)
        killed += 1
        # One that has made all its calls is gone, too.
        running = [(begin, process if process.poll() is None else begin()) for begin, process in running]
    seconds = time.monotonic() - began
    for begin, process in running:
        if begin is enqueuer:
            process.send_signal(signal.SIGKILL)
    worker()
    until(lambda: not Run.objects.unfinished().exists(), timeout=300)
    doubles.stop()

    counts = dict(Run.objects.values_list("status").annotate(Count("pk")))
    say(
        f"{ledger.stat().st_size} unique calls in {seconds:.0f} s, {killed} kills, {doubles.looks} looks: "
        f"{counts}, --seed {chance.chosen_seed}"
    )
    assert doubles.looks > 5
    assert doubles.found == []
    assert not Mark.objects.exists()
    assert set(counts) <= {"SUCCESSFUL", "CANCELLED"}
