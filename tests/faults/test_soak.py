import pytest

from tests.faults.soak import Soak


@pytest.fixture
def soak(worker, web, database, manager, ledger, chance):
    return Soak(worker=worker, web=web, database=database, manager=manager, ledger=ledger, chance=chance)


@pytest.mark.timeout(0)
def test_random_faults_under_load_lose_nothing_and_do_nothing_twice(soak, soak_minutes, chance, say):
    if soak_minutes:
        seconds = soak_minutes * 60
        counts = soak.run(seconds, rate=60, outages=max(1, round(soak_minutes)), pause=(1, 4))
    else:
        seconds = 10
        counts = soak.run(seconds, rate=60, outages=1, pause=(0.3, 1.0))
    say(f"soak of {seconds:g} s, --seed {chance.chosen_seed}: {counts}")

    assert counts.accepted > 100, counts
    assert not counts.died, counts
    assert not counts.lost, counts
    assert counts.batches > 1, counts
    assert not counts.batches_lost, counts
    assert not counts.joined_early, counts
    assert not counts.joined_twice, counts
    assert not counts.fired_twice, counts
    assert not counts.missed, counts
    assert not counts.recorded_twice, counts
    assert not counts.failed, counts
    assert not counts.unfinished, counts
