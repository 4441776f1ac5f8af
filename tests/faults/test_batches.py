import signal

import pytest
from django.db import connection

from django_jobs.models import Batch, Dependent, Run
from tests.probes import ledger as probes

ENDS = "django_jobs.storage.batches.ends"


def add_graph(manager):
    """Four runs, one that waits for them, and one that waits for that; one job at the end."""
    with manager.batch("graph", on_end=(probes.note, ["told"])) as batch:
        parts = batch.add_many([(probes.note, [f"part {number}"]) for number in range(4)])
        joined = batch.add(probes.note, "joined", after=parts)
        batch.add(probes.note, joined)
    return batch


@pytest.mark.parametrize(
    "at",
    [
        f"{ENDS}:note_ended before kill",
        f"{ENDS}:LockedBatch._end after kill",
        "django_jobs.storage.outcomes:finish after kill",
    ],
)
def test_a_worker_killed_around_an_end_releases_once_and_ends_once(worker, manager, ledger, until, at):
    batch = add_graph(manager)
    victim = worker(at=at, wait=False)
    assert victim.wait(60) == -signal.SIGKILL, victim.log.read_text()

    worker()

    until(lambda: Run.objects.filter(batch_id=None, status="SUCCESSFUL").exists(), timeout=60)
    info = manager.get_batch(batch.id)
    assert (info["status"], info["successful"], info["total"]) == ("successful", 6, 6)
    assert Run.objects.filter(batch_id=None).count() == 1
    texts = [line["text"] for line in ledger.lines("began")]
    # Parts may be executed twice, for their outcomes were lost; what waits never comes before all of them.
    assert min(i for i, text in enumerate(texts) if text == "joined") > max(
        texts.index(f"part {number}") for number in range(4)
    )
    assert texts[-1] == "told"
    assert not Dependent.objects.filter(waits__gt=0).exists()


def test_two_processes_that_end_the_last_two_runs_at_the_same_instant_end_the_batch_once(
    worker, manager, ledger, gate, until
):
    with manager.batch("pair", on_end=(probes.note, ["told"])) as batch:
        first, second = (batch.add(probes.hold, gate.path) for _ in range(2))
        batch.add(probes.note, "joined", after=[first, second])
    for _ in range(2):
        worker("--threads", "1")
    until(lambda: ledger.count("began") == 2)
    assert len({line["pid"] for line in ledger.lines("began")}) == 2

    gate.open()

    until(lambda: Run.objects.filter(batch_id=None, status="SUCCESSFUL").exists())
    assert manager.wait(batch.id, 0)["successful"] == 3
    assert [Run.objects.count(), Batch.objects.count()] == [4, 1]
    assert [line.get("text") for line in ledger.lines("began")][2:] == ["joined", "told"]


@pytest.mark.timeout(0)
def test_random_graphs_come_to_what_a_model_says_wherever_their_workers_are_killed(
    report_of, transactional_db, soak_minutes, chance, say
):
    count = 1000 if soak_minutes else 4

    report = report_of("graphs", count, chance.chosen_seed, timeout=7200)

    say(f"{connection.vendor}, --seed {chance.chosen_seed}: {report}")
    assert report["graphs"] == count
