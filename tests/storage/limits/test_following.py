"""Runs of a key follow those that end, in the same transaction."""

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from django_jobs.models import Run, Worker
from django_jobs.storage import enqueue, outcomes, queues
from django_jobs.storage.backends.claiming import Scope
from django_jobs.storage.limits.following import Follower, followed_by
from tests.storage.attempts import claim, new_run, outcome
from tests.storage.limits.test_line import reads

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("workers")]


def finish(runs, *, room=10, scope=None, worker_id="w"):
    follower = Follower(worker_id, scope or Scope(), room)
    with followed_by(follower):
        outcomes.finish([(run, outcome()) for run in runs], using="default")
    return follower


def test_as_many_follow_as_have_ended(limited, states):
    enqueue.insert([limited(concurrency=3) for _ in range(9)], using="default")
    first, second, _ = claim()

    follower = finish([first, second])

    assert states() == ["successful", "successful", *["running"] * 3, *["limited"] * 4]
    assert [(run.worker_id, run.attempt, run.fence) for run in follower.runs] == [
        ("w", 1, follower.fence)
    ] * 2
    assert follower.uncounted == []
    row = Run.objects.get(pk=follower.runs[0].id)
    assert (row.waits_for, row.fence, row.attempt) == (None, follower.fence, 1)
    assert row.run_after <= timezone.now()


def test_what_follows_is_ended_as_any_run_and_followed_itself(limited, states):
    enqueue.insert([limited() for _ in range(3)], using="default")

    follower = finish(claim())
    follower = finish(follower.runs)
    follower = finish(follower.runs)

    assert states() == ["successful"] * 3
    assert follower.runs == []


def test_what_follows_is_undone_with_the_ends(limited, states):
    enqueue.insert([limited(), limited()], using="default")

    with transaction.atomic():
        finish(claim())
        transaction.set_rollback(True)

    assert states() in (["running", "limited"], ["ready", "limited"])


def test_high_priorities_follow_first(limited):
    enqueue.insert([limited(), limited(job_id="low"), limited(job_id="high", priority=9)], using="default")

    assert [run.job_id for run in finish(claim()).runs] == ["high"]


def test_none_follow_while_more_run_than_may(limited, states):
    enqueue.insert([limited(concurrency=3) for _ in range(4)], using="default")
    (run, *_) = claim()
    Run.objects.update(options={"limit": {"key": "k", "name": "k", "concurrency": 2}})
    run.options["limit"]["concurrency"] = 2

    assert finish([run]).runs == []
    assert states() == ["successful", "running", "running", "limited"]


def test_no_more_follow_than_there_is_room_in_the_process_for(limited, states):
    enqueue.insert([limited(concurrency=3) for _ in range(6)], using="default")

    assert len(finish(claim(), room=1).runs) == 1
    # The others wait for anybody.
    assert states() == [*["successful"] * 3, "running", "ready", "ready"]


@pytest.mark.parametrize(
    "scope",
    [Scope(queues=("default",)), Scope(others=("other",)), Scope(unknown=("tests.probes.jobs:give",))],
)
def test_what_the_worker_does_not_claim_is_let_in_for_others(limited, states, scope):
    other = limited(queue_name="other", func="tests.probes.jobs:give")
    enqueue.insert([limited(), other, limited()], using="default")

    assert finish(claim(limit=1), scope=scope).runs == []
    assert states() == ["successful", "ready", "limited"]


def test_what_is_in_a_paused_queue_does_not_follow(limited):
    enqueue.insert([limited(), limited()], using="default")
    runs = claim()
    queues.pause("default", using="default")

    assert finish(runs).runs == []


def test_nothing_follows_on_a_worker_that_was_declared_dead(limited):
    enqueue.insert([limited(), limited()], using="default")
    runs = claim()
    Worker.objects.filter(pk="w").update(stopped_at=timezone.now())

    assert finish(runs).runs == []


@pytest.mark.parametrize("more", [{"in_order": True}, {"every": 0.001}, {"by_turns": True}])
def test_limits_that_go_by_more_than_a_count_are_left_to_claims(limited, more):
    runs = [limited() for _ in range(2)]
    for run in runs:
        run.options["limit"] |= more
    enqueue.insert(runs, using="default")

    assert finish(claim()).runs == []


def test_what_carries_another_limit_is_to_be_counted(limited):
    enqueue.insert([limited(concurrency=2), limited(concurrency=2), limited(concurrency=1)], using="default")
    runs = claim()

    follower = finish(runs)

    assert follower.runs == []
    assert [run.options["limit"]["concurrency"] for run in follower.uncounted] == [1]


def test_plain_runs_are_followed_by_nothing(states):
    enqueue.insert([new_run(), new_run()], using="default")

    assert finish(claim(limit=1)).runs == []
    assert states() == ["successful", "ready"]


def test_the_next_of_a_long_line_is_found_without_reading_it_whatever_statistics_say(limited):
    if connection.vendor == "sqlite":
        pytest.skip("test_a_long_line_is_not_walked")
    enqueue.insert([limited(concurrency=3) for _ in range(3000)], using="default")
    runs = claim()
    with connection.cursor() as cursor:
        before = reads(cursor)
        finish(runs)
        assert reads(cursor) - before < 500


def test_the_first_of_many_keys_follow_in_as_many_statements_as_of_one(limited, states):
    def counted(keys):
        enqueue.insert([limited(key) for key in keys for _ in range(2)], using="default")
        runs = claim()
        with CaptureQueriesContext(connection) as queries:
            assert len(finish(runs).runs) == len(keys)
        return len(queries)

    assert counted(["k"]) == counted([f"key {number}" for number in range(5)])
    assert sorted(states()) == [*["running"] * 6, *["successful"] * 6]


def test_some_of_one_key_follow_beside_the_first_of_others(limited, states):
    enqueue.insert([limited("a", concurrency=2) for _ in range(4)], using="default")
    enqueue.insert([limited("b") for _ in range(3)], using="default")
    enqueue.insert([limited("c")], using="default")

    assert len(finish(claim()).runs) == 3
    assert [state[0] for state in states()] == ["s", "s", "r", "r", "s", "r", "l", "s"]
