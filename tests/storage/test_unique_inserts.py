import threading
from datetime import timedelta

import pytest
from django.db import connection, connections, transaction
from django.db.models import Q
from django.utils import timezone

from django_jobs import ConflictingIdError, Debounce, Unique, codec
from django_jobs.models import Run, Status
from django_jobs.storage import enqueue, leases, outcomes, release, transitions
from django_jobs.storage.retention import prune
from django_jobs.storage.unique_inserts import insert_unique
from django_jobs.storage.unique_keys import SUPERSEDED, key_of
from tests.storage.attempts import claim, end_lease, new_run, outcome

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("workers")]

STARTED = Unique("k", until="started")
FINISHED = Unique("k")


def keyed(option=STARTED, job_id="j", **fields):
    name = "debounce" if isinstance(option, Debounce) else "unique"
    run = new_run(job_id, **{"options": {name: option.kept("k")}, **fields})
    run.unique_key = key_of(run.func, run.options)
    return run


def insert(option=STARTED, job_id="j", **fields):
    return insert_unique(keyed(option, job_id, **fields), option.conflict, using="default")


def waiting():
    return list(Run.objects.ready().order_by("pk").values_list("job_id", flat=True))


@pytest.mark.parametrize("option", [STARTED, FINISHED, Unique("k", within=60)])
def test_a_key_is_taken_once_and_the_next_call_learns_by_whom(option):
    first, second = insert(option, "a"), insert(option, "b")

    assert (first.job_id, first.is_new) == ("a", True)
    assert (second.job_id, second.run_id, second.is_new) == ("a", first.run_id, False)
    assert waiting() == ["a"]


def test_until_started_a_call_after_the_claim_adds_another_run():
    insert(job_id="a")
    claim()

    later = insert(job_id="b")

    assert (later.job_id, later.is_new) == ("b", True)
    assert claim()[0].job_id == "b"


def test_until_finished_the_key_is_taken_while_the_run_executes_and_free_after_it():
    insert(FINISHED, "a")
    (run,) = claim()
    assert not insert(FINISHED, "b").is_new

    outcomes.finish([(run, outcome())], using="default")

    assert insert(FINISHED, "c").is_new


def test_until_finished_the_key_is_taken_while_the_run_waits_for_its_retry():
    insert(FINISHED, "a")
    (run,) = claim()
    outcomes.finish([(run, outcome("READY", retry_in=60, error="E"))], using="default")

    assert insert(FINISHED, "b").job_id == "a"


def test_within_a_time_the_key_is_taken_also_after_the_run_and_then_free(set_clock):
    throttle = Unique("k", within=timedelta(minutes=1))
    insert(throttle, "a")
    (run,) = claim()
    outcomes.finish([(run, outcome())], using="default")
    assert insert(throttle, "b").job_id == "a"

    set_clock(seconds=61)

    assert insert(throttle, "c").is_new
    assert insert(throttle, "d").job_id == "c"


def test_a_cancelled_run_frees_its_key():
    for number, option in enumerate((STARTED, FINISHED, Unique("k", within=60))):
        insert(option, f"a{number}")
        run = Run.objects.get(job_id=f"a{number}")
        transitions.cancel(Q(pk=run.pk), using="default")

        assert insert(option, f"b{number}").is_new


def test_keys_differ_by_case_and_accents_and_by_function():
    for number, key in enumerate(["page:a", "page:A", "page:ä", "page:a "]):
        mark = {"unique": {"key": key, "until": "started"}}
        assert insert(job_id=f"j{number}", options=mark).is_new
    other = insert(
        job_id="other",
        func="tests.probes.jobs:mark",
        options={"unique": {"key": "page:a", "until": "started"}},
    )

    assert other.is_new
    assert len(waiting()) == 5


def test_a_call_that_raises_says_which_key_and_job():
    insert(job_id="a")

    with pytest.raises(
        ConflictingIdError, match=r"the key 'k' of tests.probes.jobs:nothing is taken by the job 'a'"
    ):
        insert(Unique("k", until="started", on_conflict="raise"), "b")


def test_a_call_that_replaces_leaves_its_own_arguments_with_its_own_signature():
    replace = Unique("k", until="started", on_conflict="replace")
    insert(replace, "a", options={"unique": replace.kept("k"), "sensitive": [0], "tags": ["x"]})
    payload = codec.dump_arguments((2,), {})
    signature = codec.sign("tests.probes.jobs:nothing", payload)
    newer = keyed(replace, "b")
    newer.payload, newer.signature = payload, signature

    inserted = insert_unique(newer, replace.conflict, using="default")

    run = Run.objects.get()
    assert (inserted.job_id, inserted.is_new, run.job_id) == ("a", False, "a")
    assert (run.payload, run.signature) == (payload, signature)
    assert run.options == {"unique": replace.kept("k"), "tags": ["x"]}


def test_new_arguments_let_a_broken_run_of_the_key_be_called_again():
    replace = Unique("k", until="started", on_conflict="replace")
    insert(replace, "a")
    Run.objects.update(run_after=None, error="BadPayload: damaged")

    insert(replace, "b")

    assert [run.job_id for run in claim()] == ["a"]


def test_a_call_that_postpones_moves_the_run_to_its_own_time_and_never_to_an_earlier_one():
    postpone = Unique("k", until="started", on_conflict="postpone")
    soon, late = timezone.now() + timedelta(minutes=1), timezone.now() + timedelta(minutes=5)
    insert(postpone, "a", run_after=soon)
    insert(postpone, "b", run_after=late)
    insert(postpone, "c", run_after=soon)

    assert Run.objects.get().run_after == late


def test_a_paused_run_is_postponed_to_when_it_is_resumed():
    postpone = Unique("k", until="started", on_conflict="postpone")
    late = timezone.now() + timedelta(minutes=5)
    insert(postpone, "a")
    transitions.hold(Q(pk=Run.objects.get().pk), using="default")

    insert(postpone, "b", run_after=late)

    run = Run.objects.get()
    assert (run.run_after, run.held_run_after, run.state) == (None, late, "paused")


def debounced(job_id, option, **fields):
    return insert(option, job_id, run_after=option.delay, **fields)


def test_a_debounced_run_begins_a_while_after_the_last_call(set_clock):
    option = Debounce("k", wait=10, max_wait=60)
    debounced("a", option)
    before = Run.objects.get().run_after

    set_clock(seconds=4)
    assert debounced("b", option).job_id == "a"

    assert timedelta(seconds=3.5) < Run.objects.get().run_after - before < timedelta(seconds=10)


def test_a_debounced_run_is_put_off_no_longer_than_its_bound_from_the_first_call(set_clock):
    option = Debounce("k", wait=10, max_wait=15)
    debounced("a", option)

    set_clock(seconds=8)
    debounced("b", option)

    run = Run.objects.get()
    assert run.run_after - run.enqueued_at == timedelta(seconds=15)


def test_the_databases_clock_measures_a_debounce(set_clock):
    set_clock(hours=3)

    debounced("a", Debounce("k", wait=10, max_wait=60))

    run = Run.objects.get()
    assert timedelta(seconds=9) < run.run_after - run.enqueued_at < timedelta(seconds=11)


@pytest.mark.parametrize(("arguments", "expected"), [("last", [2]), ("first", [])])
def test_a_debounced_run_has_the_last_arguments_or_the_first(arguments, expected):
    option = Debounce("k", wait=10, max_wait=60, arguments=arguments)
    debounced("a", option)
    payload = codec.dump_arguments((2,), {})

    newer = keyed(option, "b", run_after=option.delay)
    newer.payload = payload
    insert_unique(newer, option.conflict, using="default")

    assert list(codec.load_arguments(Run.objects.get().payload)[0]) == expected


def test_a_run_that_expires_has_its_whole_time_after_it_was_postponed(set_clock):
    option = Debounce("k", wait=10, max_wait=60)
    debounced("a", option, options={"debounce": option.kept("k"), "expires": 5, "expires_at": 1000.0})

    set_clock(seconds=2)
    debounced("b", option, options={"debounce": option.kept("k"), "expires": 5, "expires_at": 2000.0})

    assert Run.objects.get().options["expires_at"] == 2000.0


# Runs that wait again


def test_a_run_that_is_tried_again_takes_its_key_again():
    insert(job_id="a")
    (run,) = claim()
    outcomes.finish([(run, outcome("READY", retry_in=0, error="E"))], using="default")

    assert insert(job_id="b").job_id == "a"
    assert [run.job_id for run in claim()] == ["a"]
    assert insert(job_id="c").is_new


def test_a_run_that_is_tried_again_beside_a_newer_one_of_its_key_is_superseded(make_run):
    insert(job_id="a")
    beside = make_run(job_id="beside")
    old, other = claim()
    insert(job_id="b")
    again, done = outcome("READY", retry_in=0, error="E: failed"), outcome()

    written = outcomes.finish([(old, again), (other, done)], using="default")

    ended = Run.objects.get(job_id="a")
    assert written == {old.key, other.key}
    assert (again.status, ended.status, ended.unique_key) == ("CANCELLED", "CANCELLED", None)
    assert ended.error == f"{SUPERSEDED}; E: failed"
    assert ended.errors[0]["error"] == ended.error
    assert Run.objects.get(pk=beside.pk).status == "SUCCESSFUL"
    assert waiting() == ["b"]


def test_a_run_that_was_asked_to_stop_is_cancelled_and_leaves_its_key_free():
    insert(job_id="a")
    (run,) = claim()
    Run.objects.update(cancel_requested=True)

    outcomes.finish([(run, outcome("READY", retry_in=0, error="E"))], using="default")

    assert Run.objects.get().status == "CANCELLED"
    assert insert(job_id="b").is_new


def test_an_outcome_that_comes_too_late_takes_no_key():
    insert(job_id="a")
    (run,) = claim()
    Run.objects.update(worker_id="other")

    assert outcomes.finish([(run, outcome("READY", retry_in=0, error="E"))], using="default") == set()

    assert insert(job_id="b").is_new


def test_a_run_that_is_handed_back_takes_its_key_again_or_is_superseded(make_run):
    insert(job_id="a")
    make_run(job_id="plain")
    claimed = claim()
    assert release.release_claims("w", [run.key for run in claimed], using="default") == 2
    assert insert(job_id="b").job_id == "a"

    claimed = claim()
    insert(job_id="c")
    assert release.release_claims("w", [run.key for run in claimed], using="default") == 2

    assert waiting() == ["plain", "c"]
    assert Run.objects.get(job_id="a").error == SUPERSEDED


def test_a_run_whose_worker_died_takes_its_key_again_or_is_superseded():
    insert(job_id="a")
    claim("dead")
    end_lease("dead")
    leases.rescue(max_rescues=5, using="default")
    assert insert(job_id="b").job_id == "a"

    claim("gone")
    insert(job_id="c")
    end_lease("gone")
    (rescued,) = leases.rescue(max_rescues=5, using="default")

    assert (rescued.job_id, rescued.status) == ("a", "CANCELLED")
    assert waiting() == ["c"]


@pytest.mark.parametrize("option", [STARTED, FINISHED])
def test_a_run_that_a_person_retries_takes_its_key_again_if_it_is_free(manager, option):
    insert(option, "a")
    (run,) = claim()
    outcomes.finish([(run, outcome("FAILED", error="E"))], using="default")
    second = insert(option, "b")
    assert not manager.retry_run(run.id)

    manager.cancel_run(second.run_id)

    assert manager.retry_run(run.id)
    assert insert(option, "c").job_id == "a"


def test_what_a_person_runs_again_is_outside_the_key(manager):
    insert(FINISHED, "a")

    manager.run_job("a")

    assert waiting() == ["a", "a"]
    assert not Run.objects.get(unique_key=None).options


def test_a_run_that_a_process_of_an_earlier_version_claimed_does_not_keep_its_key():
    first = insert(job_id="a")
    Run.objects.filter(pk=first.run_id).update(status=Status.RUNNING, attempt=1, worker_id="w")

    assert insert(job_id="b").is_new


def test_history_whose_key_is_still_taken_is_not_deleted(set_clock):
    insert(Unique("k", within=timedelta(days=3)), "a")
    (run,) = claim()
    outcomes.finish([(run, outcome())], using="default")
    Run.objects.update(finished_at=timezone.now() - timedelta(days=1))
    assert prune(keep_days=0.5, keep_runs_per_job=None).runs == 0

    set_clock(days=4)

    assert prune(keep_days=0.5, keep_runs_per_job=None).runs == 1


# Cost


@pytest.mark.parametrize("option", [STARTED, FINISHED, Unique("k", within=60)])
@pytest.mark.django_db(transaction=True)
def test_a_unique_insert_is_one_statement_and_a_skipped_one_two(django_assert_num_queries, option):
    with django_assert_num_queries(1):
        insert(option, "a")
    with django_assert_num_queries(2):
        insert(option, "b")


# Between transactions


def in_thread(function):
    result = []

    def call():
        try:
            result.append(function())
        finally:
            connections.close_all()

    thread = threading.Thread(target=call)
    thread.start()
    return thread, result


@pytest.mark.django_db(transaction=True)
def test_a_key_whose_transaction_rolls_back_is_free_for_the_one_that_waited_for_it():
    began, go_on = threading.Event(), threading.Event()

    def roll_back():
        with transaction.atomic():
            insert(job_id="a")
            began.set()
            assert go_on.wait(20)
            transaction.set_rollback(True)

    first, _ = in_thread(roll_back)
    assert began.wait(20)
    second, result = in_thread(lambda: insert(job_id="b"))
    go_on.set()
    first.join(20)
    second.join(20)

    assert (result[0].job_id, result[0].is_new) == ("b", True)
    assert waiting() == ["b"]


@pytest.mark.django_db(transaction=True)
def test_a_run_that_a_transaction_counts_on_does_not_begin_before_its_end():
    insert(job_id="a")
    began, go_on = threading.Event(), threading.Event()

    def count_on_it():
        with transaction.atomic():
            skipped = insert(job_id="b")
            began.set()
            assert go_on.wait(20)
            return skipped

    thread, result = in_thread(count_on_it)
    assert began.wait(20)
    if connection.vendor == "sqlite":
        # Its one write lock is the transaction's.
        go_on.set()
        thread.join(20)
    else:
        assert claim() == []
        go_on.set()
        thread.join(20)

    assert not result[0].is_new
    assert [run.job_id for run in claim()] == ["a"]


@pytest.mark.django_db(transaction=True)
def test_two_transactions_that_count_on_one_run_do_not_wait_for_each_other():
    if connection.vendor == "sqlite":
        pytest.skip("SQLite has one writer at a time")
    insert(job_id="a")

    with transaction.atomic():
        insert(job_id="b")
        thread, result = in_thread(transaction.atomic(lambda: insert(job_id="c")))
        thread.join(20)

    assert result[0].job_id == "a"


@pytest.mark.django_db(transaction=True)
def test_the_end_of_a_run_is_written_beside_a_transaction_that_found_its_key_taken():
    if connection.vendor == "sqlite":
        pytest.skip("SQLite has one writer at a time")
    insert(FINISHED, "a")
    (run,) = claim()

    with transaction.atomic():
        assert insert(FINISHED, "b").job_id == "a"
        thread, result = in_thread(lambda: outcomes.finish([(run, outcome())], using="default"))
        thread.join(20)
        assert result == [{run.key}]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("is_atomic", [False, True])
def test_of_many_calls_at_the_same_time_one_adds_the_run(is_atomic):
    barrier = threading.Barrier(8)

    def call(number):
        barrier.wait(20)
        if is_atomic:
            with transaction.atomic():
                return insert(job_id=f"j{number}")
        return insert(job_id=f"j{number}")

    calls = [in_thread(lambda number=number: call(number)) for number in range(8)]
    for thread, _ in calls:
        thread.join(30)

    results = [result[0] for _, result in calls]
    assert [result.is_new for result in results].count(True) == 1
    assert {result.job_id for result in results} == set(waiting())


@pytest.mark.django_db(transaction=True)
def test_a_caught_conflict_leaves_the_callers_transaction_usable(make_run):
    insert(job_id="a")

    with transaction.atomic():
        with pytest.raises(ConflictingIdError):
            insert(Unique("k", until="started", on_conflict="raise"), "b")
        enqueue.insert([new_run("c")])

    assert waiting() == ["a", "c"]
