from pathlib import Path

from django.db import connection

from django_jobs.models import Run, Worker
from tests.faults.processes import SHORT_LEASE, freeze, thaw
from tests.probes import ledger as probes


def test_a_worker_stopped_past_its_lease_loses_its_run_and_its_late_result_is_refused(
    worker, manager, ledger, until
):
    sleeper = worker(jobs=SHORT_LEASE)
    manager.add_immediate_job(probes.notice_loss)
    until(lambda: ledger.count("began"))
    freeze(sleeper)
    other = worker(jobs=SHORT_LEASE)
    until(lambda: Run.objects.get().status == "SUCCESSFUL", timeout=60)

    thaw(sleeper)

    # Its function is told, and what it returns then is not taken.
    until(lambda: ledger.count("lost", reason="lost", pid=sleeper.pid) == 1)
    run = Run.objects.get()
    assert (run.attempt, run.rescues, run.result) == (2, 1, '"in time"')
    until(lambda: ledger.count("recorded"))
    assert [(line["pid"], line["attempt"]) for line in ledger.lines("recorded")] == [(other.pid, 2)]
    # It goes on under a new id.
    until(lambda: Worker.objects.filter(pid=sleeper.pid, stopped_at__isnull=True).exists())
    assert Worker.objects.get(pid=sleeper.pid, stopped_at__isnull=False).was_lost


def test_the_result_of_a_function_that_did_not_notice_the_loss_is_refused(
    worker, manager, ledger, gate, until
):
    sleeper = worker(jobs=SHORT_LEASE)
    manager.add_immediate_job(probes.hold, gate.path)
    until(lambda: ledger.count("began"))
    freeze(sleeper)
    other = worker(jobs=SHORT_LEASE)
    until(lambda: ledger.count("began") == 2, timeout=60)

    thaw(sleeper)
    until(lambda: "was taken for dead" in sleeper.log.read_text())
    gate.open()

    until(lambda: ledger.count("recorded") == ledger.count("refused") == 1)
    assert ledger.lines("recorded")[0]["pid"] == other.pid
    assert ledger.lines("refused")[0]["pid"] == sleeper.pid
    assert [(line["attempt"], line["is_lost"]) for line in ledger.lines("ended")].count((1, True)) == 1
    run = Run.objects.get()
    assert (run.status, run.attempt) == ("SUCCESSFUL", 2)


def test_a_worker_stopped_between_claim_and_start_past_its_lease(worker, manager, ledger, gate, until):
    manager.add_immediate_job(probes.note)
    sleeper = worker(at="django_jobs.storage.claims:claim after hold", jobs=SHORT_LEASE)
    until(gate.reached.exists)
    freeze(sleeper)
    other = worker(jobs=SHORT_LEASE)
    until(lambda: Run.objects.get().status == "SUCCESSFUL", timeout=60)

    gate.open()
    thaw(sleeper)

    # Its thread may begin before it learns that the run is another's; what comes of that is refused.
    until(lambda: Worker.objects.filter(pid=sleeper.pid, stopped_at__isnull=True).exists())
    until(lambda: ledger.count("ended", attempt=1) == ledger.count("refused"))
    until(lambda: ledger.count("recorded"))
    assert [line["pid"] for line in ledger.lines("recorded")] == [other.pid]
    assert Run.objects.get().attempt == 2


def test_a_worker_stopped_between_the_functions_end_and_the_recorded_result_past_its_lease(
    worker, manager, ledger, gate, until
):
    manager.add_immediate_job(probes.note)
    sleeper = worker(at="django_jobs.storage.outcomes:finish before hold", jobs=SHORT_LEASE)
    until(gate.reached.exists)
    freeze(sleeper)
    other = worker(jobs=SHORT_LEASE)
    until(lambda: Run.objects.get().status == "SUCCESSFUL", timeout=60)

    gate.open()
    thaw(sleeper)

    until(lambda: ledger.count("refused", pid=sleeper.pid) == 1)
    until(lambda: ledger.count("recorded"))
    assert [line["pid"] for line in ledger.lines("recorded")] == [other.pid]


def test_a_clock_stopped_inside_its_transaction_holds_up_only_what_it_has_locked(
    worker, manager, ledger, until
):
    sleeper = worker("--queue", "nobody", at="django_jobs.scheduler.occurrences:_move after stop")
    manager.add_recurring_job(probes.note, 1, job_id="tick")
    until(lambda: state(sleeper.pid) == "T")

    if connection.vendor == "sqlite":
        # One writer at a time: all wait for it, until it goes on or dies.
        sleeper.kill()
        worker()
    else:
        manager.add_recurring_job(probes.note, 1, job_id="tock")
        worker()
        until(lambda: ledger.count("recorded", job="tock") >= 2)
        assert not ledger.count("fired", job="tick")
        thaw(sleeper)

    until(lambda: ledger.count("recorded", job="tick") >= 2, timeout=30)
    firings = list(Run.objects.values_list("job_id", "scheduled_at"))
    assert len(firings) == len(set(firings))


def state(pid):
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
