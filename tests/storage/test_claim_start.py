from datetime import timedelta
from types import SimpleNamespace

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from django_jobs.models import Run
from django_jobs.storage import claim_by_queue, claim_start
from django_jobs.storage.claim_start import ClaimStart
from tests.many_rows import copy_row
from tests.storage.attempts import claim

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("workers")]


@pytest.fixture
def clock(monkeypatch):
    """Have every full claim count as slow; return a list of the seconds since."""
    seconds = [1000.0]
    monkeypatch.setattr(claim_start, "SLOW_SECONDS", -1)
    monkeypatch.setattr(claim_start, "monotonic", lambda: seconds[0])
    # Those that go queue by queue do not.
    monkeypatch.setattr(claim_by_queue, "monotonic", lambda: seconds[0])
    return seconds


@pytest.fixture
def make_due(make_run):
    """Make a run that is due for some seconds."""

    def make(seconds, **fields):
        return make_run(run_after=timezone.now() - timedelta(seconds=seconds), **fields)

    return make


def test_pages_read_by_claims_out_of_a_backlog_do_not_grow_with_what_ended_beside_a_held_snapshot(
    clock, pages, end_runs, make_due
):
    start = ClaimStart()
    copy_row(make_due(60), 100)
    claim(limit=2, start=start)
    before = pages(lambda: claim(limit=2, start=start))

    end_runs(5000)
    copy_row(make_due(50), 100)
    clock[0] += 1
    claim(limit=2, start=start)

    # The rest of the first hundred is claimed and ended, too: only what has ended since counts.
    assert pages(lambda: claim(limit=2)) > before + 100
    assert pages(lambda: claim(limit=2, start=start)) < before + 60


def test_a_run_that_is_committed_late_with_an_older_time_is_claimed_within_a_second(clock, make_due):
    start = ClaimStart()
    backlog = [make_due(60 - second) for second in range(9)]
    claim(limit=2, start=start)

    late = make_due(3600)

    found = []
    for _ in range(2):
        found += [run.id for run in claim(limit=2, start=start)]
        clock[0] += 0.4
    assert late.id not in found or connection.vendor != "postgresql"
    clock[0] += 0.2
    found += [run.id for run in claim(limit=2, start=start)]
    assert late.id in found
    assert set(found) < {late.id, *(run.id for run in backlog)}


def test_a_claim_that_finds_fewer_than_it_asks_for_has_looked_everywhere(clock, make_due):
    start = ClaimStart()
    for second in range(3):
        make_due(60 - second)
    claim(limit=2, start=start)
    older, lower = make_due(3600), make_due(3600, priority=-5)

    found = claim(limit=4, start=start)

    assert {older.id, lower.id} < {run.id for run in found}
    assert len(found) == 3


def test_a_claim_from_a_start_takes_higher_priorities_first_however_old_they_are(clock, make_due):
    start = ClaimStart()
    for second in range(6):
        make_due(60 - second)
    claim(limit=2, start=start)
    high, higher, lower = make_due(3600, priority=5), make_due(1, priority=9), make_due(70, priority=-5)

    found = [run.id for run in claim(limit=3, start=start)]

    assert found[:2] == [higher.id, high.id]
    assert lower.id not in found


def test_a_claim_from_a_start_takes_no_run_before_many_old_ones_of_a_higher_priority(clock, make_due):
    start = ClaimStart()
    for second in range(4):
        make_due(60 - second)
    claim(limit=2, start=start)
    high = {make_due(3600, priority=5).id for _ in range(3)}

    assert {run.id for run in claim(limit=3, start=start)} == high


def test_a_claim_from_a_start_leaves_what_any_claim_leaves(clock, make_run, make_due):
    start = ClaimStart()
    for second in range(4):
        make_due(60 - second)
    claim(limit=2, start=start)
    make_due(50, queue_name="stopped")
    make_run(run_after=timezone.now() + timedelta(minutes=1), priority=5)
    make_run(run_after=None)

    found = claim(limit=9, start=start, others=["stopped"])

    assert len(found) == 2


def test_claims_that_are_not_slow_ask_what_they_have_always_asked(clock, monkeypatch, make_due):
    monkeypatch.setattr(claim_start, "SLOW_SECONDS", 0)
    asked = []
    for more in ({}, {"start": ClaimStart()}):
        copy_row(make_due(60), 6)
        with CaptureQueriesContext(connection) as queries:
            for limit in (2, 2, 4):
                assert claim(limit=limit, fence=1, **more)
        asked.append([query["sql"] for query in queries])
        Run.objects.all().delete()

    plain, started = asked
    assert len(started) == len(plain)
    assert connection.vendor != "postgresql" or started == plain


def test_full_claims_that_take_long_have_a_fifth_of_the_time_at_most(clock):
    start, begun = ClaimStart(), []

    def take(most, begin):
        begun.append("full" if begin is None else "started")
        clock[0] += 2 if begin is None else 1
        return [SimpleNamespace(priority=0, run_after=timezone.now())] * most

    for _ in range(18):
        start.claim(take, 3)

    assert begun == ["full", *["started"] * 8] * 2
