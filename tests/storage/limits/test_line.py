"""Who waits behind a limit is let in when there is room."""

import pytest
from django.db import connection, transaction
from django.db.models import Q
from django.test.utils import CaptureQueriesContext

from django_jobs.models import Run
from django_jobs.storage import enqueue, leases, outcomes, release, transitions
from django_jobs.storage.limits import line
from tests.storage.attempts import claim, end_lease, new_run, outcome

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("workers")]


@pytest.mark.parametrize("status", ["SUCCESSFUL", "FAILED", "CANCELLED", "READY"])
def test_the_end_of_an_attempt_lets_the_next_one_in(limited, states, status):
    enqueue.insert([limited() for _ in range(3)], using="default")
    (run,) = claim()

    retry_in = 60 if status == "READY" else None
    outcomes.finish([(run, outcome(status, retry_in=retry_in))], using="default")

    ended = "deferred" if status == "READY" else status.lower()
    assert states() == [ended, "ready", "limited"]


def test_it_is_let_in_by_the_transaction_that_ends_the_run(limited, states):
    enqueue.insert([limited() for _ in range(2)], using="default")
    (run,) = claim()

    with transaction.atomic():
        outcomes.finish([(run, outcome())], using="default")
        transaction.set_rollback(True)

    assert states() == ["running", "limited"]


def test_high_priorities_are_let_in_first_then_those_that_came_first(limited):
    enqueue.insert([limited(), limited(job_id="low"), limited(job_id="high", priority=9)], using="default")
    (run,) = claim()
    outcomes.finish([(run, outcome())], using="default")
    (run,) = claim()
    assert run.job_id == "high"
    outcomes.finish([(run, outcome())], using="default")
    assert claim()[0].job_id == "low"


def test_a_cancelled_run_lets_the_next_one_in(limited, states):
    enqueue.insert([limited(job_id="first"), limited()], using="default")

    transitions.cancel(Q(job_id="first"), using="default")

    assert states() == ["cancelled", "ready"]


def test_a_run_that_is_handed_back_unstarted_keeps_its_share(limited, states):
    enqueue.insert([limited(), limited()], using="default")
    (run,) = claim()

    release.release_claims("w", [run.key], using="default")

    assert states() == ["ready", "limited"]


def test_a_slot_that_is_lost_with_its_worker_comes_back_with_the_rescue(limited, states):
    enqueue.insert([limited(), limited()], using="default")
    claim("dead")
    end_lease("dead")
    assert claim("w1") == []

    leases.rescue(max_rescues=3, using="default")

    assert states() == ["ready", "limited"]
    assert len(claim("w1", limit=5)) == 1


def test_a_run_that_is_lost_for_good_with_its_worker_lets_the_next_one_in(limited, states):
    first = limited()
    first.options["at_most_once"] = True
    enqueue.insert([first, limited()], using="default")
    claim("dead")
    end_lease("dead")

    leases.rescue(max_rescues=3, using="default")

    assert states() == ["failed", "ready"]


def test_a_retry_that_is_due_waits_while_others_run(limited, states):
    enqueue.insert([limited(), limited()], using="default")
    (run,) = claim()
    outcomes.finish([(run, outcome("READY", retry_in=0.0))], using="default")
    assert len(claim(limit=1)) == 1

    assert claim(limit=5) == []
    assert sorted(states()) == ["limited", "running"]


def test_the_sweep_lets_in_what_nobody_did(limited, states):
    enqueue.insert([limited() for _ in range(3)], using="default")
    # As where a process was killed between two statements.
    Run.objects.filter(waits_for__isnull=True).delete()

    assert line.sweep(using="default") == 1
    assert states() == ["ready", "limited"]
    assert line.sweep(using="default") == 0


def test_sweeps_come_to_all_lines_however_many_there_are(limited, monkeypatch):
    monkeypatch.setattr(line, "BATCH", 3)
    enqueue.insert([limited(str(number)) for number in range(8) for _ in range(2)], using="default")
    Run.objects.filter(waits_for__isnull=True).delete()

    assert [line.sweep(using="default") for _ in range(4)] == [3, 3, 2, 0]


def test_many_keys_leave_no_rows(limited):
    from django_jobs.models import MaintenanceTask

    enqueue.insert([limited(str(number)) for number in range(300)], using="default")
    while runs := claim(limit=100):
        outcomes.finish([(run, outcome()) for run in runs], using="default")

    assert MaintenanceTask.objects.count() == 0


def test_an_end_asks_for_lines_once_for_all_its_runs(limited, django_assert_num_queries):
    enqueue.insert([limited(str(number)) for number in range(20)], using="default")
    runs = claim(limit=20)

    # A savepoint and its end, the outcomes, and the lines; MariaDB reads what it writes.
    with django_assert_num_queries(5 if connection.vendor == "mysql" else 4):
        outcomes.finish([(run, outcome()) for run in runs], using="default")


def test_plain_runs_end_without_a_look_at_lines(django_assert_num_queries):
    enqueue.insert([new_run() for _ in range(3)], using="default")
    runs = claim()

    with django_assert_num_queries(2 if connection.vendor == "mysql" else 1):
        outcomes.finish([(run, outcome()) for run in runs], using="default")


def test_a_place_says_how_many_run_and_how_many_wait_before(limited):
    enqueue.insert([limited(concurrency=2) for _ in range(5)], using="default")
    claim(limit=1)

    last = Run.objects.order_by("id").last()
    place = line.place_of(last, using="default")

    assert (place.key, place.concurrency, place.running, place.ahead) == ("k", 2, 1, 3)
    assert str(place) == "the limit 'k': 1 of 2 run, and 3 wait before it"
    assert line.place_of(Run.objects.order_by("id").first(), using="default") is None


def test_a_long_line_is_not_walked(limited):
    if connection.vendor != "sqlite":
        pytest.skip("the plans of others depend on their statistics")
    enqueue.insert([limited() for _ in range(2000)], using="default")
    backend = line.backend_of(connection)
    with connection.cursor() as cursor:
        statement, params = backend._first_in_line("x", 1)
        cursor.execute(f"EXPLAIN QUERY PLAN {statement}", params)
        plan = " ".join(str(row) for row in cursor.fetchall())

    assert "django_jobs_run_limit" in plan
    assert "TEMP B-TREE" not in plan


def test_the_end_of_a_run_does_not_read_the_line_of_its_key_whatever_statistics_say(limited):
    if connection.vendor == "sqlite":
        pytest.skip("it counts no reads; see test_a_long_line_is_not_walked")
    enqueue.insert([limited(concurrency=3) for _ in range(3000)], using="default")
    runs = claim()
    with connection.cursor() as cursor:
        before = reads(cursor)
        outcomes.finish([(run, outcome()) for run in runs], using="default")

        assert reads(cursor) - before < 500


def test_a_sweep_does_not_read_the_lines_whatever_statistics_say(limited):
    if connection.vendor == "sqlite":
        pytest.skip("it counts no reads; see test_lines_are_found_by_the_index_of_their_keys")
    enqueue.insert([limited(f"key {number % 20}") for number in range(3000)], using="default")
    backend = line.backend_of(connection)
    with connection.cursor() as cursor:
        before = reads(cursor)
        keys = backend.first_lines("", 10)
        firsts = backend.first_in_lines(keys)

        assert (len(keys), len(firsts)) == (10, 10)
        assert reads(cursor) - before < 200


def test_lines_are_found_by_the_index_of_their_keys(limited):
    if connection.vendor != "sqlite":
        pytest.skip("test_a_sweep_does_not_read_the_lines_whatever_statistics_say")
    enqueue.insert([limited(f"key {number % 3}") for number in range(30)], using="default")
    with CaptureQueriesContext(connection) as queries:
        assert len(line.backend_of(connection).first_lines("", 10)) == 3

    assert "INDEXED BY django_jobs_run_limit" in queries[0]["sql"]


def test_many_keys_are_let_in_with_as_many_statements_as_one(limited):
    def let_in(keys):
        enqueue.insert([limited(key) for key in keys for _ in range(2)], using="default")
        claim()
        Run.objects.running().update(status="SUCCESSFUL")
        limits = {run.limit_key: run.options["limit"] for run in Run.objects.ready()}
        with CaptureQueriesContext(connection) as queries:
            assert line.advance(limits, using="default") == dict.fromkeys(limits, 1)
        claim()
        return len(queries)

    assert let_in(["k"]) == let_in([f"key {number}" for number in range(5)])


def test_of_each_key_as_many_are_let_in_as_it_has_room_for(limited, states):
    enqueue.insert([limited("a", concurrency=3) for _ in range(5)], using="default")
    enqueue.insert([limited("b", concurrency=2) for _ in range(5)], using="default")
    enqueue.insert([limited("c", concurrency=2) for _ in range(3)], using="default")
    one_of_b = claim()[3]
    Run.objects.running().exclude(pk=one_of_b.id).update(status="SUCCESSFUL")
    limits = {run.limit_key: run.options["limit"] for run in Run.objects.ready()}

    assert sorted(line.advance(limits, using="default").values()) == [1, 1, 2]
    assert [state[:2] for state in states()] == [
        *["su"] * 3, "re", "re", "ru", "su", "re", "li", "li", "su", "su", "re",
    ]  # fmt: skip


def reads(cursor):
    """Return how many rows the connection has read so far."""
    if connection.vendor == "mysql":
        cursor.execute("SHOW SESSION STATUS LIKE 'Handler_read%'")
        return sum(int(count) for _, count in cursor.fetchall())
    cursor.execute(
        "SELECT COALESCE(seq_tup_read, 0) + COALESCE(idx_tup_fetch, 0) FROM pg_stat_xact_user_tables "
        "WHERE relname = 'django_jobs_run'"
    )
    return cursor.fetchone()[0]


@pytest.mark.parametrize("key", ["Shop", "shop", "shop ", "shöp"])
def test_keys_are_compared_by_their_characters_on_every_database(limited, states, key):
    enqueue.insert([limited("SHOP"), limited(key)], using="default")
    assert states() == ["ready", "ready"]
