"""Which runs with a limit begin."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connection, connections
from django.db.models import Q
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from django_jobs.models import Run
from django_jobs.storage import claim_by_queue, claims, enqueue, outcomes, transitions
from django_jobs.storage.claim_start import ClaimStart
from django_jobs.storage.limits import gate
from tests.storage.attempts import claim, new_run, outcome

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("workers")]


def _let_all_in():
    # As racing processes may do it: what is in a line is let in whether or not there is room.
    Run.objects.filter(waits_for="limit").update(waits_for=None, run_after=timezone.now())


def test_a_run_beyond_the_limit_enters_the_line_where_it_is_added(limited, states):
    enqueue.insert([limited(concurrency=2) for _ in range(3)], using="default")
    enqueue.insert([limited("other")], using="default")

    assert states() == ["ready", "ready", "limited", "ready"]


def test_no_more_are_claimed_than_may_run_even_if_more_are_due(limited):
    enqueue.insert([limited(concurrency=2) for _ in range(9)], using="default")
    _let_all_in()

    assert len(claim()) == 2
    assert claim("w1") == []
    assert Run.objects.running().count() == 2
    assert Run.objects.blocked().count() == 7


def test_no_more_are_claimed_queue_by_queue_than_may_run(limited, monkeypatch):
    monkeypatch.setattr(claim_by_queue, "SLOW_SECONDS", -1)
    start = ClaimStart()
    claim(start=start, others=["none"])
    enqueue.insert([limited(concurrency=2) for _ in range(9)], using="default")
    _let_all_in()

    assert len(claim(start=start)) == 2
    assert claim("w1", start=start) == []
    assert Run.objects.blocked().count() == 7


def test_what_a_claim_puts_into_the_line_is_as_it_was_before(limited):
    enqueue.insert([limited() for _ in range(2)], using="default")
    _let_all_in()

    claim()

    parked = Run.objects.order_by("id").last()
    assert (parked.attempt, parked.worker_id, parked.started_at) == (0, "", None)
    assert (parked.run_after, parked.held_run_after, parked.waits_for) == (None, None, "limit")


def test_a_claim_goes_on_behind_runs_that_are_too_many(limited):
    enqueue.insert([limited() for _ in range(9)], using="default")
    _let_all_in()
    enqueue.insert([new_run()], using="default")

    first, second = claim(limit=1), claim(limit=1)

    assert [run.options.get("limit") is None for run in (*first, *second)] == [False, True]


def test_a_full_key_is_not_in_the_way_of_others(limited):
    enqueue.insert([limited() for _ in range(50)], using="default")
    claim(limit=1)
    enqueue.insert([limited("other"), new_run()], using="default")

    with CaptureQueriesContext(
        connection,
    ) as queries:
        assert len(claim(limit=2)) == 2
    # Counted once: nothing is put into a line.
    assert len([query for query in queries if "GROUP BY limit_key" in query["sql"]]) == 1


def test_plain_runs_are_added_claimed_and_ended_without_a_word_of_limits():
    with CaptureQueriesContext(connection) as queries:
        enqueue.insert([new_run() for _ in range(3)], using="default")
        runs = claim()
        outcomes.finish([(run, outcome()) for run in runs], using="default")

    assert len(runs) == 3
    assert not [query["sql"] for query in queries if "limit_key" in query["sql"]]


def test_high_priorities_begin_first(limited):
    enqueue.insert([limited(), limited(priority=5), limited(priority=9)], using="default")
    _let_all_in()

    (run,) = claim()

    assert run.priority == 9


def test_one_run_is_not_claimed_by_its_id_past_the_limit(limited):
    ids = [enqueue.insert([limited()], using="default")[0] for _ in range(2)]
    _let_all_in()

    assert claims.claim_one(ids[0], "w", using="default") is not None
    assert claims.claim_one(ids[1], "w", using="default") is None
    assert Run.objects.get(pk=ids[1]).state == "limited"


def test_a_message_does_not_begin_a_run_past_the_limit(limited):
    ids = [enqueue.insert([limited()], using="default")[0] for _ in range(2)]
    _let_all_in()

    assert claims.claim_dispatched(ids[0], 1, "w", using="default") is not None
    assert claims.claim_dispatched(ids[1], 1, "w", using="default") is None
    assert Run.objects.get(pk=ids[1]).state == "limited"


def test_a_run_that_is_deferred_is_not_in_the_line(limited, states):
    later = timezone.now() + timezone.timedelta(hours=1)
    enqueue.insert([limited(run_after=later), limited()], using="default")

    assert states() == ["deferred", "ready"]


def test_two_limits_of_one_key_each_hold_for_their_own_runs(limited):
    enqueue.insert([limited(concurrency=1), limited(concurrency=3), limited(concurrency=3)], using="default")
    _let_all_in()

    runs = claim()

    # The first may begin while none else runs, the others while fewer than three do.
    assert len(runs) == 3


def test_a_run_that_was_asked_to_stop_while_it_was_claimed_does_not_wait_again(limited, monkeypatch):
    enqueue.insert([limited(), limited()], using="default")
    _let_all_in()
    claim(limit=1)
    surplus = gate._surplus

    def ask(*arguments):
        Run.objects.running().update(cancel_requested=True)
        return surplus(*arguments)

    monkeypatch.setattr(gate, "_surplus", ask)

    assert claim(limit=1) == []
    assert Run.objects.order_by("id").last().state == "cancelled"


def test_a_job_that_is_paused_keeps_its_place_in_the_line(limited, states):
    enqueue.insert([limited(), limited(job_id="held"), limited()], using="default")
    transitions.hold(Q(job_id="held"), using="default")

    assert states() == ["ready", "paused", "limited"]

    transitions.unhold(Q(job_id="held"), using="default")
    assert states() == ["ready", "limited", "limited"]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("concurrency", [1, 3])
def test_a_lock_and_a_count_in_one_snapshot_would_admit_too_many(
    limited, make_worker, monkeypatch, concurrency
):
    # Two claims are committed before either is counted, and are counted at the same time.
    for name in ("a", "b"):
        make_worker(id=name)
    enqueue.insert([limited(concurrency=concurrency) for _ in range(8)], using="default")
    _let_all_in()
    both = threading.Barrier(2, timeout=20)
    admitted = gate.admitted

    def together(runs, *, using):
        both.wait()
        return admitted(runs, using=using)

    monkeypatch.setattr(gate, "admitted", together)

    def claim_as(name):
        try:
            return claims.claim(name, limit=4, using="default")
        finally:
            connections.close_all()

    with ThreadPoolExecutor(2) as pool:
        begun = [
            run
            for future in [pool.submit(claim_as, "a"), pool.submit(claim_as, "b")]
            for run in future.result(30)
        ]

    assert len(begun) == Run.objects.running().count() == concurrency
    assert Run.objects.blocked().count() == 8 - concurrency
