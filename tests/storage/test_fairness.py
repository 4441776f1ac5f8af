"""Keys take turns: the one that was served longest ago comes first."""

from datetime import timedelta

import pytest
from django.db import connection, transaction
from django.db.models import Q
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from django_jobs.models import Run
from django_jobs.storage import claims, enqueue, fairness, outcomes, transitions
from django_jobs.storage.backends.choose import backend_of
from django_jobs.storage.limits import line
from tests.storage.attempts import claim, new_run, outcome

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("workers")]


def fair(key, **fields):
    options = {"fair_key": key, **fields.pop("options", {})}
    return new_run(fields.pop("job_id", key), options=options, **fields)


def add(*keys, **fields):
    enqueue.insert([fair(key, **fields) for key in keys], using="default")


def served(count, limit=1):
    """Claim and end runs one after the other; return their keys."""
    order = []
    while len(order) < count and (runs := claim(limit=limit)):
        order += [run.job_id for run in runs]
        outcomes.finish([(run, outcome()) for run in runs], using="default")
    return "".join(order)


def states():
    return [run.state for run in Run.objects.order_by("id")]


def test_only_the_first_run_of_a_key_is_due():
    add("a", "a", "b")

    assert states() == ["ready", "ordered", "ready"]


def test_keys_take_turns():
    add(*"aaaabbc")

    assert served(7) == "abcabaa"


def test_a_key_that_was_never_served_comes_before_those_that_were():
    add(*"aaabbb")
    served(3)
    add("c")

    assert served(3)[0] == "c"


def test_the_key_that_was_served_longest_ago_comes_first():
    add(*"abc")
    served(3)
    add("c")
    add("b")
    add("a")

    assert served(3) == "abc"


def test_a_key_that_adds_one_after_the_other_does_not_keep_others_from_their_turn():
    add(*"aaa")
    order = ""
    for _ in range(3):
        add("b")
        order += served(2)

    assert order == "bababa"


def test_plain_runs_wait_for_no_more_than_one_of_each_key():
    add(*"aaabbb")
    enqueue.insert([new_run("-")], using="default")

    assert served(3) == "ab-"


def test_queues_and_priorities_are_apart():
    add("a", "a", priority=0)
    add("a", "a", priority=5)
    add("a", "a", queue_name="other")

    assert states() == ["ready", "ordered"] * 3
    assert [run.priority for run in claim(limit=10)] == [5, 0, 0]


def test_a_worker_with_many_slots_gets_as_many_of_one_key():
    add(*["a"] * 40)

    counts = [len(claim(limit=8)) for _ in range(3)]

    assert counts == [1, 8, 8]


def test_several_of_each_key_that_are_due_take_turns_too():
    add(*["a"] * 20, *["b"] * 20)
    claim(limit=8)

    assert served(8) == "abababab"


def test_the_only_run_of_a_key_begins_within_two_claims_of_another_keys_backlog():
    add(*["a"] * 1000)
    for _ in range(4):
        claim(limit=16)
    add("b")

    assert "b" in [run.job_id for run in claim(limit=16)]


def test_a_cancelled_run_gives_its_turn_to_the_next(django_capture_on_commit_callbacks):
    add("a", "a")
    first = Run.objects.order_by("id").first()

    with django_capture_on_commit_callbacks(execute=True):
        transitions.cancel(Q(pk=first.pk), using="default")

    assert states() == ["cancelled", "ready"]


def test_what_is_due_in_another_way_waits_for_its_turn_once_that_is_many():
    past = timezone.now() - timedelta(minutes=1)
    add(*["a"] * 100, run_after=past)
    add("b", run_after=past + timedelta(seconds=1))

    claim(limit=1)

    assert states().count("ordered") == 98
    assert "b" in served(2)


def test_a_run_that_waits_for_its_time_holds_up_none():
    add("a", run_after=timezone.now() + timedelta(hours=1))
    add("a", "a")

    assert states() == ["deferred", "ready", "ordered"]


def test_a_sweep_finds_keys_that_nobody_looked_after(monkeypatch):
    add("a", "a")
    Run.objects.filter(waits_for=None).delete()

    assert fairness.sweep(using="default") == 1
    assert states() == ["ready"]
    assert fairness.sweep(using="default") == 0


@pytest.mark.parametrize("take", ["one", "dispatched"])
def test_a_run_that_is_claimed_by_itself_gives_the_turn_to_the_next(take):
    add("a", "a")
    first = Run.objects.order_by("id").first()

    if take == "one":
        claims.claim_one(first.pk, "w", using="default")
    else:
        claims.claim_dispatched(first.pk, 1, "w", using="default")

    assert states() == ["running", "ready"]


def test_in_the_line_of_a_limit_keys_take_turns():
    limit = {"limit": {"key": "api", "name": "api", "concurrency": 1, "by_turns": True}}
    add(*"aaaaa", options=limit)
    # The second takes its turn, and finds the limit full.
    (running,) = claim(limit=1)
    assert claim(limit=5) == []
    add("b", options=limit)

    order = ""
    outcomes.finish([(running, outcome())], using="default")
    (running,) = claim(limit=5)
    while running is not None:
        outcomes.finish([(running, outcome())], using="default")
        (running,) = claim(limit=5) or (None,)
        order += running.job_id if running else ""

    assert order == "baaa"


def test_a_run_says_how_many_have_their_turn_before_it():
    add("a", "a", "a")

    last = Run.objects.order_by("id").last()

    assert str(line.place_of(last, using="default")) == "its turn: 2 of 'a' are before it"


def test_a_run_of_a_fair_key_is_not_begun_past_its_turn(manager):
    manager.using(fair_key="k").add_immediate_job("tests.probes.jobs:nothing")

    assert Run.objects.get().status == "READY"


@pytest.mark.django_db(transaction=True)
def test_a_run_that_waits_behind_one_that_is_claimed_meanwhile_has_its_turn_after_the_commit():
    add("a")
    with transaction.atomic():
        add("a")
        run = Run.objects.order_by("id").first()
        Run.objects.filter(pk=run.pk).update(status="RUNNING", started_at=timezone.now())

    assert states() == ["running", "ready"]


def test_many_keys_take_their_turns_with_as_many_statements_as_one():
    def take_turns(keys):
        enqueue.insert([fair(key) for key in keys for _ in range(3)], using="default")
        claim(limit=len(keys))
        limits = dict.fromkeys(Run.objects.ready().values_list("fair_key", flat=True))
        Run.objects.ready().filter(run_after__isnull=False).update(status="SUCCESSFUL")
        with CaptureQueriesContext(connection) as queries:
            assert fairness.take_turns(limits, using="default") == len(keys)
        Run.objects.update(status="SUCCESSFUL")
        return len(queries)

    assert take_turns(["k"]) == take_turns([f"key {number}" for number in range(5)])


@pytest.fixture
def many_fair_keys(statistics):
    """Keys of which six runs each wait, or are due."""
    keys = [f"key {number}" for number in range(100)]
    enqueue.insert([fair(key) for key in keys * 6], using="default")
    statistics()
    return sorted(set(Run.objects.values_list("fair_key", flat=True)))


def test_postgresql_looks_at_each_run_that_has_its_turn_but_a_few_times(many_fair_keys):
    Run.objects.filter(waits_for__isnull=True).update(status="SUCCESSFUL")

    # Where each run or key looks for its own among all, there are tens of thousands.
    assert rows_read(lambda backend: backend.take_turns(many_fair_keys, 1)) < 50 * len(many_fair_keys)


@pytest.mark.parametrize("left", ["all", "those that are due"])
def test_postgresql_looks_for_the_place_of_a_new_run_among_those_of_its_key(many_fair_keys, left):
    if left == "those that are due":
        Run.objects.filter(waits_for="fair").update(status="SUCCESSFUL", waits_for=None)

    # All that wait are 500.
    assert rows_read(lambda backend: backend.places(many_fair_keys[:10])) < 300


def rows_read(do):
    """How many rows PostgreSQL reads for one statement, which is undone."""
    with CaptureQueriesContext(connection) as queries, transaction.atomic():
        do(backend_of(connection))
        transaction.set_rollback(True)
    hints, statement, *_ = next(query["sql"] for query in queries if "set_config" in query["sql"]).split("; ")
    with connection.cursor() as cursor:
        cursor.execute(hints)
        cursor.execute(f"EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) {statement}")
        ((plan,),) = cursor.fetchall()
    return rows_of(plan[0]["Plan"])


def rows_of(node):
    own = node["Actual Rows"] + node.get("Rows Removed by Filter", 0)
    return own * node["Actual Loops"] + sum(map(rows_of, node.get("Plans", ())))


def test_plain_runs_cost_no_query_more(django_assert_num_queries):
    with django_assert_num_queries(1):
        enqueue.insert([new_run() for _ in range(3)], using="default")
    with django_assert_num_queries(
        2 if connection.vendor == "sqlite" else 1 if connection.vendor == "postgresql" else 5
    ):
        claim(limit=3)
