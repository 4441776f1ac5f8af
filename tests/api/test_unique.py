import copy
import json
import pickle
from datetime import timedelta

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from django_jobs import (
    ConflictingIdError,
    Debounce,
    JobFailed,
    JobHandle,
    JobLookupError,
    Unique,
    cron,
    job,
    recurring,
)
from django_jobs.models import Job, Run
from django_jobs.registry.options import JobOptions

pytestmark = pytest.mark.django_db

STARTED = Unique("n:{value}", until="started")


def unique(manager, option=STARTED):
    return manager.using(unique=option)


def test_a_second_call_of_a_key_returns_the_job_that_is_there(manager, probes):
    first = unique(manager).add_immediate_job(probes.give, 1)
    second = unique(manager).add_immediate_job(probes.give, 1)
    other = unique(manager).add_immediate_job(probes.give, 2)

    assert (first.is_new, second.is_new, other.is_new) == (True, False, True)
    assert (first == second, first == other) == (True, False)
    assert Run.objects.count() == 2


def test_the_key_is_stored_with_the_run_and_shown(manager, probes):
    job_id = unique(manager).add_immediate_job(probes.give, 1)

    assert Run.objects.get().options == {"unique": {"key": "n:1", "until": "started"}}
    assert manager.get_job(job_id)["last_run"]["unique"] == "n:1"
    plain = manager.add_immediate_job(probes.give, 1)
    assert manager.get_job(plain)["last_run"]["unique"] == ""


def test_a_call_can_raise_where_its_key_is_taken(manager, probes):
    unique(manager).add_immediate_job(probes.give, 1)

    with pytest.raises(ConflictingIdError, match=r"the key 'n:1' of tests.probes.jobs:give is taken"):
        unique(manager, Unique("n:{value}", on_conflict="raise", until="started")).add_immediate_job(
            probes.give, 1
        )


def test_the_arguments_that_replaced_others_are_those_of_the_call(manager, probes, serve):
    last = unique(manager, Unique("one", until="started", on_conflict="replace"))
    with transaction.atomic():
        job_id = last.add_immediate_job(probes.give, "old")
        assert last.add_immediate_job(probes.give, "new") == job_id
    serve()

    assert job_id.wait(20) == "new"


def test_a_scheduled_job_holds_its_key_from_the_call_on(manager, probes):
    later = timezone.now() + timedelta(hours=1)
    postpone = unique(manager, Unique("one", until="started", on_conflict="postpone"))
    first = postpone.add_scheduled_job(probes.nothing, timedelta(minutes=5))
    second = postpone.add_scheduled_job(probes.nothing, later)

    assert (second, second.is_new) == (first, False)
    assert (Run.objects.get().run_after, Job.objects.count()) == (later, 0)
    assert manager.get_job(first)["next_run_time"] == later.isoformat()


def test_a_debounced_job_waits_in_the_queue_and_later_calls_are_the_same_job(manager, probes):
    debounced = manager.using(debounce=Debounce("n:{value}", wait=5, max_wait=60))
    first = debounced.add_immediate_job(probes.give, 1)
    second = debounced.add_immediate_job(probes.give, 1)

    run = Run.objects.get()
    assert (second, second.is_new) == (first, False)
    assert timedelta(seconds=4) < run.run_after - timezone.now() < timedelta(seconds=6)
    assert run.options["debounce"] == {"key": "n:1", "wait": 5, "max_wait": 60}


def test_add_many_leaves_keys_alone_that_are_taken_and_returns_ids_in_order(manager, probes):
    there = unique(manager).add_immediate_job(probes.give, 1)

    ids = unique(manager).add_many([(probes.give, [value]) for value in (3, 1, 2, 3)])

    assert [one.is_new for one in ids] == [True, False, True, False]
    assert (ids[1], ids[3]) == (there, ids[0])
    assert Run.objects.count() == 3


def test_add_many_takes_plain_and_unique_functions_together(manager, probes):
    ids = manager.add_many([(probes.give, [1]), (once, [1]), (once, [1])])

    assert [one.is_new for one in ids] == [True, True, False]


@job(unique=Unique("once:{value}", until="started"))
def once(value=0):
    return value


@job(debounce=Debounce("later:{value}", wait=5, max_wait=60))
def put_off(value=0):
    return value


def test_the_decorators_key_holds_and_the_nearer_word_goes_first(manager):
    assert once.enqueue(1) == once.enqueue(1)
    assert once.using(debounce=Debounce("d:{value}", wait=5, max_wait=60)).enqueue(1).is_new
    assert put_off.enqueue() == put_off.enqueue(0)
    assert put_off.using(unique=STARTED).enqueue(0).is_new

    assert sorted(next(iter(options)) for options in Run.objects.values_list("options", flat=True)) == [
        "debounce", "debounce", "unique", "unique",
    ]  # fmt: skip


# Refused


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Unique(3), TypeError, "a key must be a string"),
        (lambda: Unique("{"), ValueError, "is not a format"),
        (lambda: Unique("k", until="later"), ValueError, 'until must be "started" or "finished"'),
        (lambda: Unique("k", within="1h"), TypeError, "within must be seconds or a timedelta"),
        (lambda: Unique("k", within=0), ValueError, "within must be more than 0"),
        (lambda: Unique("k", within=5, until="started"), ValueError, "either until"),
        (lambda: Unique("k", on_conflict="queue"), ValueError, "on_conflict must be one of 'skip'"),
        (lambda: Unique("k", on_conflict="replace"), ValueError, 'use it with until="started"'),
        (lambda: Unique("k", within=5, on_conflict="postpone"), ValueError, "changes a run that waits"),
        (lambda: Debounce("k", wait=5, max_wait=4), ValueError, "max_wait must be at least wait"),
        (lambda: Debounce("k", wait=True, max_wait=4), TypeError, "wait must be seconds"),
        (lambda: Debounce("k", wait=1, max_wait=float("inf")), ValueError, "max_wait must be"),
        (lambda: Debounce("k", wait=1, max_wait=2, arguments="all"), ValueError, 'arguments must be "last"'),
        (
            lambda: JobOptions(unique="k").validate(),
            TypeError,
            "unique must be a django_jobs.Unique, not str",
        ),
        (lambda: JobOptions(debounce="k").validate(), TypeError, "debounce must be a django_jobs.Debounce"),
        (
            lambda: JobOptions(unique=STARTED, debounce=Debounce("k", wait=1, max_wait=2)).validate(),
            ValueError,
            "give one of unique and debounce",
        ),
    ],
)
def test_what_has_no_meaning_is_refused_where_it_is_written(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_a_key_that_names_no_parameter_is_refused_at_import_and_at_the_call(manager, probes):
    def function(page):
        pass

    missing = Unique("page:{missing}")
    with pytest.raises(ValueError, match="has no parameter 'missing'"):
        job(unique=missing)(function)
    with pytest.raises(ValueError, match="has no parameter 'missing'"):
        once.using(debounce=Debounce("page:{missing}", wait=1, max_wait=2))
    with pytest.raises(ValueError, match="has no parameter 'missing'"):
        manager.using(unique=missing).add_immediate_job(probes.give, 1)
    assert not Run.objects.exists()


def test_an_argument_whose_text_differs_from_process_to_process_is_refused_at_the_call(manager, probes):
    with pytest.raises(TypeError, match="may differ from process to process"):
        unique(manager).add_immediate_job(probes.give, {1, 2})
    assert not Run.objects.exists()


def test_a_key_and_an_id_are_not_both_chosen(manager, probes):
    with pytest.raises(TypeError, match="leave out job_id, or the key"):
        unique(manager).add_immediate_job(probes.give, 1, job_id="x")


def test_recurring_jobs_are_refused_keys_and_told_of_max_instances(manager, probes):
    with pytest.raises(TypeError, match="max_instances unfinished runs at most"):
        unique(manager, Unique("k")).add_recurring_job(probes.nothing, 60)
    with pytest.raises(TypeError, match="max_instances unfinished runs at most"):
        unique(manager, Unique("k")).add_cron_job(probes.nothing, "* * * * *")
    with pytest.raises(TypeError, match="unique is for jobs that are called for"):
        recurring(minutes=5, unique=Unique("k"))(once)
    with pytest.raises(TypeError, match="debounce is for jobs that are called for"):
        cron("* * * * *", debounce=Debounce("k", wait=1, max_wait=2))(once)


def test_the_key_of_a_function_is_for_its_calls_and_not_for_its_schedules(manager):
    once.enqueue(1)

    manager.add_recurring_job(once, 60, 1, job_id="r")
    manager.run_job("r")

    assert not Job.objects.get().options
    assert Run.objects.count() == 2


def test_a_debounced_job_takes_no_time_of_its_own(manager):
    with pytest.raises(TypeError, match='on_conflict="postpone"'):
        put_off.schedule(timedelta(minutes=1))


# Handles


def test_a_handle_is_a_plain_string_to_everybody_else(manager, probes):
    handle = manager.add_immediate_job(probes.give, 1)
    plain = str(handle)

    assert isinstance(handle, str)
    assert (handle, hash(handle), f"{handle}", repr(handle)) == (plain, hash(plain), plain, repr(plain))
    assert json.dumps({"id": handle}) == json.dumps({"id": plain})
    for copied in (pickle.loads(pickle.dumps(handle)), copy.copy(handle), copy.deepcopy([handle])[0]):
        assert (copied, type(copied)) == (plain, str)
    assert Run.objects.filter(job_id=handle).exists()
    assert manager.get_job(manager.add_immediate_job(probes.give, handle))["args"] == [plain]


def test_a_handle_asks_the_database_only_where_it_is_told_to(manager, probes, django_assert_num_queries):
    with django_assert_num_queries(1):
        handle = manager.add_immediate_job(probes.give, 1)
        assert handle.is_new
        assert handle

    assert handle.status == "queued"
    with pytest.raises(TimeoutError, match="has not ended"):
        _ = handle.result


@pytest.mark.django_db(transaction=True)
def test_a_handle_waits_for_its_job_and_has_its_result(manager, probes, serve, run_async):
    serve()
    good, bad = manager.add_immediate_job(probes.give, (1, 2)), manager.add_immediate_job(probes.fail)

    assert good.wait(20) == (1, 2)
    assert (good.status, good.result) == ("successful", (1, 2))
    assert run_async(good.await_end(20)) == (1, 2)
    assert run_async(good.astatus()) == "successful"
    assert run_async(good.aresult()) == (1, 2)
    with pytest.raises(JobFailed):
        bad.wait(20)
    with pytest.raises(JobFailed):
        _ = bad.result


def test_the_status_of_a_job_that_is_gone_is_an_error():
    with pytest.raises(JobLookupError):
        _ = JobHandle("gone").status


def test_every_method_that_adds_returns_a_handle_which_says_whether_it_is_new(manager, probes):
    skip = manager.using(on_conflict="skip")

    handles = [
        manager.add_scheduled_job(probes.nothing, timedelta(hours=1), job_id="s"),
        manager.add_recurring_job(probes.nothing, 60, job_id="r"),
        manager.add_cron_job(probes.nothing, "* * * * *"),
        *manager.add_many([(probes.nothing,)]),
        manager.add_immediate_job(probes.nothing, job_id="i"),
    ]
    again = [
        skip.add_scheduled_job(probes.nothing, timedelta(hours=1), job_id="s"),
        skip.add_recurring_job(probes.nothing, 60, job_id="r"),
        skip.add_immediate_job(probes.nothing, job_id="i"),
    ]

    assert all(type(handle) is JobHandle and handle.is_new for handle in handles)
    assert [(handle, handle.is_new) for handle in again] == [("s", False), ("r", False), ("i", False)]


# Cost


@pytest.mark.django_db(transaction=True)
def test_a_unique_enqueue_asks_as_often_as_a_plain_one(manager, probes):
    # Whether anybody listens is asked once in a while.
    manager.add_immediate_job(probes.give, 0)
    with CaptureQueriesContext(connection) as plain:
        manager.add_immediate_job(probes.give, 1)
    with CaptureQueriesContext(connection) as new:
        unique(manager).add_immediate_job(probes.give, 1)
    with CaptureQueriesContext(connection) as skipped:
        unique(manager).add_immediate_job(probes.give, 1)

    assert (len(new), len(skipped)) == (len(plain), 2)
