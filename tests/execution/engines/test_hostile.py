from pathlib import Path

import pytest
from django.db import connection

from django_jobs import Retry
from django_jobs.exceptions import JobCancelled, JobFailed
from django_jobs.execution import stopping
from django_jobs.models import Run
from django_jobs.testing import drain_jobs
from tests.probes import hostile
from tests.probes.models import Mark

KINDS = sorted(hostile.KINDS)


@pytest.fixture(params=["", "async_"])
def raising(request):
    return getattr(hostile, f"{request.param}raise_indescribable")


@pytest.mark.parametrize("kind", KINDS)
def test_an_exception_that_cannot_be_described_fails_its_run_and_leaves_the_thread(
    kind, raising, serve, manager, probes
):
    serve(threads=1)

    with pytest.raises(JobFailed, match=kind):
        manager.wait(manager.add_immediate_job(raising, kind), 20)

    run = Run.objects.get()
    assert (run.status, run.errors[-1]["exception"]) == ("FAILED", f"tests.probes.hostile.{kind}")
    assert manager.wait(manager.add_immediate_job(probes.give, 1), 20) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_an_exception_that_cannot_be_described_is_retried_by_policy(kind, serve, manager):
    serve(threads=1)
    retrying = manager.using(retry=Retry(max_attempts=2, delay=0))

    with pytest.raises(JobFailed, match=kind):
        manager.wait(retrying.add_immediate_job(hostile.raise_indescribable, kind), 20)

    assert Run.objects.get().attempt == 2


@pytest.mark.parametrize("kind", KINDS)
def test_a_cause_that_cannot_be_described_is_no_obstacle(kind, serve, manager):
    serve(threads=1)

    with pytest.raises(JobFailed, match="ValueError: no letter"):
        manager.wait(manager.add_immediate_job(hostile.raise_because_of, kind), 20)


def test_a_result_that_cannot_be_looked_at_fails_its_run(serve, manager, probes):
    serve(threads=1)

    with pytest.raises(JobFailed):
        manager.wait(manager.add_immediate_job(hostile.return_hidden), 20)

    assert manager.wait(manager.add_immediate_job(probes.give, 1), 20) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_an_exception_that_cannot_be_described_is_drained(kind, raising, db, manager):
    manager.add_immediate_job(raising, kind)

    (executed,) = drain_jobs()

    assert (executed.status, type(executed.raised).__name__) == ("FAILED", kind)


@pytest.mark.parametrize("kind", KINDS)
def test_an_exception_that_cannot_be_described_ends_no_child_process(
    kind, serve, manager, settings, forked_children
):
    settings.DJANGO_JOBS = {"ENGINES": {"apart": "processes"}, "PROCESSES": 1}
    serve()

    job_id = manager.using(queue_name="apart").add_immediate_job(hostile.raise_indescribable, kind)
    with pytest.raises(JobFailed, match=kind):
        manager.wait(job_id, 30)

    assert Run.objects.get().attempt == 1


# Transactions that Django does not know of


@pytest.mark.parametrize("function", ["begin_by_hand", "async_begin_by_hand", "begin_by_driver"])
def test_a_transaction_begun_by_hand_and_left_open_fails_its_run_and_harms_no_later_one(
    function, serve, manager, probes
):
    serve(threads=1)

    with pytest.raises(JobFailed, match="left a transaction open on default"):
        manager.wait(manager.add_immediate_job(f"tests.probes.hostile:{function}"), 20)
    manager.wait(manager.add_immediate_job(probes.mark, "kept"), 20)

    assert [mark.text for mark in Mark.objects.all()] == ["kept"]


@pytest.mark.parametrize("function", [hostile.begin_and_commit_by_hand, hostile.begin_and_commit_by_driver])
def test_a_transaction_begun_and_committed_by_hand_is_kept(function, serve, manager):
    serve(threads=1)

    manager.wait(manager.add_immediate_job(function), 20)

    assert Mark.objects.get().text == "committed"


def test_a_driver_that_was_told_not_to_commit_fails_its_run_and_harms_no_later_one(serve, manager, probes):
    if connection.vendor != "mysql":
        pytest.skip("other drivers say so when they have begun")
    serve(threads=1)

    with pytest.raises(JobFailed, match="left a transaction open on default"):
        manager.wait(manager.add_immediate_job(hostile.stop_commits_of_the_driver), 20)
    manager.wait(manager.add_immediate_job(probes.mark, "kept"), 20)

    assert [mark.text for mark in Mark.objects.all()] == ["kept"]


# State of one run and the next


def test_context_language_and_time_zone_of_a_run_are_not_the_next_ones(serve, manager):
    serve(threads=1)
    before = manager.wait(manager.add_immediate_job(hostile.see_state), 20)

    manager.wait(manager.add_immediate_job(hostile.change_state), 20)

    assert manager.wait(manager.add_immediate_job(hostile.see_state), 20) == before


def test_context_language_and_time_zone_of_a_drained_run_are_not_the_callers(db, manager):
    before = hostile.see_state()
    manager.add_immediate_job(hostile.change_state)

    drain_jobs()

    assert hostile.see_state() == before


def test_what_a_run_sets_in_its_session_is_not_the_next_ones(serve, manager):
    serve(threads=1)
    before = manager.wait(manager.add_immediate_job(hostile.see_session), 20)

    manager.wait(manager.add_immediate_job(hostile.change_session), 20)

    assert manager.wait(manager.add_immediate_job(hostile.see_session), 20) == before


def test_the_log_of_queries_does_not_grow_from_run_to_run(serve, manager, settings):
    settings.DEBUG = True
    serve(threads=1)

    counts = [manager.wait(manager.add_immediate_job(hostile.count_logged_queries), 20) for _ in range(3)]

    assert counts[1] == counts[2]


# The event loop


@pytest.fixture(params=["event loop", "process", "inline"])
def call(request, transactional_db, manager):
    """Return a function that calls an `async def` job where the parameter says, and waits for it."""
    if request.param == "inline":

        def call(function):
            manager.add_immediate_job(function)
            (executed,) = drain_jobs()
            if executed.status == "FAILED":
                raise JobFailed("inline", executed.error)
            return executed.result

        return call
    request.getfixturevalue("forked_children")
    request.getfixturevalue("settings").DJANGO_JOBS = {"ENGINES": {"apart": "processes"}, "PROCESSES": 1}
    request.getfixturevalue("serve")(threads=1)
    queue = manager.using(queue_name="apart" if request.param == "process" else "default")
    return lambda function: manager.wait(queue.add_immediate_job(function), 20)


def test_an_exit_in_a_task_of_an_async_job_fails_that_job_only(call):
    with pytest.raises(JobFailed, match="SystemExit: 3"):
        call(hostile.exit_in_a_task)

    assert Run.objects.get().attempt == 1
    assert call(hostile.raise_in_a_callback) == "ended"


@pytest.mark.parametrize("function", ["exit_in_a_task_left_behind", "stop_the_loop", "raise_in_a_callback"])
def test_what_a_job_does_to_the_event_loop_ends_no_other(function, serve, manager):
    serve()
    other = manager.add_immediate_job("tests.probes.jobs:rest", 0.5)

    assert manager.wait(manager.add_immediate_job(f"tests.probes.hostile:{function}"), 20) == "ended"

    assert manager.wait(other, 20) == 0.5


# A limit of time or a cancel that is caught

SWALLOWING = ["swallow_once", "swallow_and_go_on", "async_swallow_once", "async_swallow_and_go_on"]


@pytest.fixture
def short_grace(monkeypatch):
    monkeypatch.setattr(stopping, "GRACE_SECONDS", 0.1)


@pytest.mark.parametrize("function", SWALLOWING)
def test_a_limit_of_time_that_a_function_catches_ends_it_all_the_same(function, serve, manager, short_grace):
    serve(threads=1)

    with pytest.raises(JobFailed, match="RunTimeout"):
        manager.wait(manager.using(timeout=0.2).add_immediate_job(f"tests.probes.hostile:{function}"), 20)


@pytest.mark.parametrize("function", SWALLOWING)
def test_a_cancel_that_a_function_catches_ends_it_all_the_same(function, serve, manager, short_grace, until):
    serve(threads=1)
    job_id = manager.add_immediate_job(f"tests.probes.hostile:{function}")
    until(lambda: Run.objects.get().status == "RUNNING")

    manager.cancel_job(job_id)

    with pytest.raises(JobCancelled):
        manager.wait(job_id, 20)


@pytest.mark.parametrize("function", SWALLOWING)
def test_a_limit_of_time_that_a_function_catches_ends_its_process(
    function, serve, manager, settings, short_grace, forked_children
):
    settings.DJANGO_JOBS = {"ENGINES": {"apart": "processes"}, "PROCESSES": 1}
    serve()
    limited = manager.using(queue_name="apart", timeout=0.5)

    with pytest.raises(JobFailed, match="RunTimeout"):
        manager.wait(limited.add_immediate_job(f"tests.probes.hostile:{function}"), 20)


# Forks and processes that a job starts


@pytest.fixture
def apart(serve, manager, settings, forked_children):
    """Return a function that calls a job in a child process, and waits for it."""
    settings.DJANGO_JOBS = {"ENGINES": {"apart": "processes"}, "PROCESSES": 1}
    serve(threads=1)
    return lambda function, **options: manager.wait(
        manager.using(queue_name="apart", **options).add_immediate_job(f"tests.probes.hostile:{function}"), 30
    )


@pytest.mark.parametrize("function", ["fork_and_return", "async_fork_and_return"])
def test_a_fork_that_returns_is_no_outcome_of_its_run_nor_of_the_next(function, apart):
    assert [apart(function) for _ in range(2)] == ["parent"] * 2
    assert apart("read_stdin") == ["", ""]


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("function", ["fork_and_return", "async_fork_and_return"])
def test_a_fork_that_returns_on_a_thread_ends(function, serve, manager):
    serve(threads=1)

    # It waits for its copy's end.
    assert manager.wait(manager.add_immediate_job(f"tests.probes.hostile:{function}"), 20) == "parent"


def test_a_fork_ends_with_the_code_that_it_asked_for(apart):
    assert apart("fork_and_raise") == 3


@pytest.mark.parametrize(
    ("function", "result"),
    [
        ("compute_in_processes", [1, 2]),
        ("terminate_what_it_started", -15),
        ("terminate_a_process_of_multiprocessing", -15),
    ],
)
def test_a_job_in_a_process_starts_processes_as_any_program_does(function, result, apart):
    assert apart(function) == result


def test_a_limit_of_time_ends_a_process_with_what_it_started(apart, short_grace, until):
    with pytest.raises(JobFailed, match="RunTimeout"):
        apart("leave_a_grandchild", timeout=3)

    pid = int(Mark.objects.get().text)
    until(lambda: not is_alive(pid))


def is_alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


# What is called, and with what


def test_an_inherited_class_method_is_called_with_its_own_class(db, manager):
    manager.add_immediate_job(hostile.Sub.run)
    manager.add_immediate_job(hostile.Base.run)

    assert [(executed.func, executed.result) for executed in drain_jobs()] == [
        ("tests.probes.hostile:Sub.run", "Sub"),
        ("tests.probes.hostile:Base.run", "Base"),
    ]


def test_a_deleted_object_is_not_tried_again(db, manager):
    mark = Mark.objects.create(text="soon gone")
    manager.using(retry=Retry(max_attempts=3, delay=0)).add_immediate_job(hostile.take, mark)
    mark.delete()

    (executed,) = drain_jobs()

    assert (executed.status, executed.attempt) == ("FAILED", 1)
    assert "no longer exists" in executed.error
