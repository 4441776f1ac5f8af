import itertools
import signal
from datetime import timedelta

import pytest
from apscheduler.triggers.interval import IntervalTrigger
from django.db import transaction
from django.utils import timezone

from django_jobs.models import Job, Run
from tests.probes import ledger as probes

CLOCKS = 6


@pytest.mark.timeout(600)
def test_six_clocks_killed_and_started_at_random_fire_each_time_of_each_job_once(
    worker, manager, chance, until, soak_minutes
):
    jobs, seconds = (200, 60) if soak_minutes else (50, 6)
    # No queue of theirs holds runs: they do nothing but fire.
    clocks = [worker("--queue", "nobody", wait=False) for _ in range(CLOCKS)]
    first = timezone.now().replace(microsecond=0) + timedelta(seconds=8)
    trigger = IntervalTrigger(
        seconds=1, start_date=first, end_date=first + timedelta(seconds=seconds - 1), timezone="UTC"
    )
    every_time = manager.using(coalesce=False)
    with transaction.atomic():
        for number in range(jobs):
            every_time.add_job(probes.note, trigger, job_id=f"tick-{number}", max_instances=10**6)
    assert timezone.now() < first, "this machine is too slow to add the jobs before they are due"

    round_ends = first + timedelta(seconds=1)
    while Job.objects.exists():
        # About once a second of the schedule, at whatever instant that is.
        until(lambda end=round_ends: timezone.now() > end or not Job.objects.exists(), timeout=60)
        round_ends += timedelta(seconds=chance.uniform(0.3, 1.2))
        if timezone.now() < first + timedelta(seconds=seconds):
            index = chance.randrange(CLOCKS)
            clocks[index].send_signal(chance.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGTERM]))
            clocks[index] = worker("--queue", "nobody", wait=False)

    fired = list(Run.objects.values_list("job_id", "scheduled_at"))
    expected = {
        (f"tick-{number}", first + timedelta(seconds=second))
        for number in range(jobs)
        for second in range(seconds)
    }
    assert len(fired) == jobs * seconds
    assert set(fired) == expected
    assert set(Run.objects.values_list("status", flat=True)) == {"READY"}


def test_max_instances_holds_over_all_processes_and_a_firing_let_pass_says_so(
    worker, manager, ledger, gate, until
):
    for _ in range(2):
        worker(wait=False)
    manager.add_recurring_job(probes.hold, 1, gate.path, job_id="slow", max_instances=1)

    until(lambda: ledger.count("began") == 1)
    skipped = until(lambda: Run.objects.filter(job_id="slow", status="SKIPPED").first())

    assert skipped.error == "MaxInstances: 1 unfinished, and max_instances is 1"
    assert Run.objects.unfinished().count() == ledger.count("began") == 1
    gate.open()
    until(lambda: ledger.count("began") > 1)


def test_a_clock_stopped_for_some_firings_makes_one_late_run_of_them(worker, manager, ledger, until):
    clock = worker()
    manager.add_recurring_job(probes.note, 1, job_id="coalesced")
    until(lambda: ledger.count("recorded", job="coalesced"))
    clock.send_signal(signal.SIGSTOP)
    stopped_at = timezone.now()
    until(lambda: timezone.now() > stopped_at + timedelta(seconds=3.2))
    clock.send_signal(signal.SIGCONT)

    # The gap is one firing wide or more, and nothing is made up for.
    count = ledger.count("recorded")
    until(lambda: ledger.count("recorded") >= count + 2)
    times = sorted(Run.objects.values_list("scheduled_at", flat=True))
    assert len(times) == len(set(times))
    gaps = [round((later - earlier).total_seconds()) for earlier, later in itertools.pairwise(times)]
    assert max(gaps) >= 3
