import pytest
from django.db import connection, transaction

from django_jobs import Retry, job, signals
from django_jobs.checks import check_atomic
from django_jobs.exceptions import JobFailed
from django_jobs.models import Rollup, Run
from django_jobs.testing import drain_jobs
from tests.probes import effects
from tests.probes.models import Mark


@pytest.fixture(autouse=True)
def events():
    effects.began.clear()
    effects.go_on.clear()
    yield effects
    effects.go_on.set()


@pytest.fixture
def reported():
    """Signals about runs that end, as they are sent."""
    seen = []

    def note_finished(run, outcome, **_):
        seen.append(("finished", str(outcome.status)))

    def note_refused(run, **_):
        seen.append(("refused", ""))

    signals.run_finished.connect(note_finished)
    signals.run_refused.connect(note_refused)
    yield seen
    signals.run_finished.disconnect(note_finished)
    signals.run_refused.disconnect(note_refused)


# atomic=True


def test_an_atomic_function_and_its_outcome_are_one_commit(serve, manager, until, reported):
    serve()

    job_id = manager.add_immediate_job(effects.mark_once)

    assert manager.wait(job_id, 10) == "marked"
    run = Run.objects.get()
    assert (run.status, run.attempt, Mark.objects.count()) == ("SUCCESSFUL", 1, 1)
    until(lambda: reported == [("finished", "SUCCESSFUL")])
    until(lambda: Rollup.objects.filter(outcome="SUCCESSFUL", runs=1).exists())


def test_what_an_atomic_function_raises_rolls_back_and_is_retried_as_the_policy_says(serve, manager):
    serve()
    retrying = manager.using(retry=Retry(max_attempts=2, delay=0, jitter=0))

    job_id = retrying.add_immediate_job(effects.mark_once, "fail_once")

    manager.wait(job_id, 10)
    run = Run.objects.get()
    assert (run.attempt, run.errors[0]["error"]) == (2, "ValueError: once")
    assert Mark.objects.count() == 1


def test_an_atomic_function_that_fails_for_good_leaves_nothing(serve, manager):
    serve()

    job_id = manager.add_immediate_job(effects.mark_once, "fail")

    with pytest.raises(JobFailed, match="ValueError: it went wrong"):
        manager.wait(job_id, 10)
    assert not Mark.objects.exists()


def test_what_an_atomic_function_returns_must_be_storable_or_nothing_is_kept(serve, manager):
    serve()

    job_id = manager.add_immediate_job(effects.return_what_cannot_be_stored)

    with pytest.raises(JobFailed, match="InvalidArgument"):
        manager.wait(job_id, 10)
    assert not Mark.objects.exists()


def test_a_lost_run_rolls_back_what_its_atomic_function_wrote(serve, manager, until, reported, request):
    def lose(run, **_):
        Run.objects.filter(pk=run.id).update(fence=1)

    request.addfinalizer(lambda: signals.run_started.disconnect(lose))
    signals.run_started.connect(lose)
    serve()

    manager.add_immediate_job(effects.mark_once)

    until(lambda: reported == [("refused", "")])
    assert not Mark.objects.exists()
    assert Run.objects.get().status == "RUNNING"


def test_jobs_added_by_an_atomic_function_exist_only_with_its_outcome(serve, manager, until):
    serve(queues=["of atomic ones"])
    adding = manager.using(queue_name="of atomic ones")

    manager.wait(adding.add_immediate_job(effects.mark_once, "add_one_more"), 10)

    assert Run.objects.filter(job_id="added").exists()


def test_jobs_added_by_an_atomic_function_that_fails_never_exist(serve, manager):
    serve()

    job_id = manager.add_immediate_job(effects.add_one_more_and_fail)

    with pytest.raises(JobFailed):
        manager.wait(job_id, 10)
    assert not Run.objects.filter(job_id="added").exists()


def test_an_error_of_a_callback_on_commit_does_not_undo_what_was_committed(serve, manager, caplog, until):
    serve()

    manager.wait(manager.add_immediate_job(effects.mark_once, "fail_on_commit"), 10)

    until(lambda: "it had ended SUCCESSFUL, and what came after raised" in caplog.text)
    assert (Run.objects.get().status, Mark.objects.count()) == ("SUCCESSFUL", 1)


@pytest.mark.skipif("connection.vendor != 'postgresql'", reason="other databases go on after an error")
def test_a_transaction_that_an_error_has_broken_fails_the_run(serve, manager):
    serve()

    job_id = manager.add_immediate_job(effects.mark_once, "break_the_transaction")

    with pytest.raises(JobFailed):
        manager.wait(job_id, 10)
    assert not Mark.objects.exists()


@pytest.mark.skipif("connection.vendor == 'sqlite'", reason="SQLite has one writer at a time")
def test_an_atomic_run_under_way_holds_up_neither_cancels_nor_heartbeats(serve, manager, until):
    service = serve()
    job_id = manager.add_immediate_job(effects.mark_once, "wait_for_go")
    assert effects.began.wait(10)

    worker = service.worker
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(
            "SET LOCAL lock_timeout = 1000"
            if connection.vendor == "postgresql"
            else "SET SESSION innodb_lock_wait_timeout = 1"
        )
        assert Run.objects.filter(job_id=job_id).update(progress={"done": 1, "total": None, "message": ""})
        assert manager.cancel_job(job_id)
    assert worker.last_heartbeat
    effects.go_on.set()

    until(lambda: Run.objects.exclude(status="RUNNING").exists())


def test_an_atomic_function_in_a_test_is_part_of_the_tests_transaction(db, manager):
    manager.add_immediate_job(effects.mark_once)

    (executed,) = drain_jobs()

    assert (executed.status, executed.result, Mark.objects.count()) == ("SUCCESSFUL", "marked", 1)
    assert Run.objects.get().status == "SUCCESSFUL"


def test_an_atomic_function_that_fails_in_a_test_leaves_the_tests_transaction_usable(db, manager):
    manager.add_immediate_job(effects.mark_once, "fail")

    (executed,) = drain_jobs()

    assert (executed.status, Mark.objects.count()) == ("FAILED", 0)


# Refused


def test_an_async_function_cannot_be_atomic():
    with pytest.raises(TypeError, match=r"async.*sync_to_async"):

        @job(atomic=True)
        async def wait():
            """Do nothing."""


def test_one_call_of_an_async_function_cannot_be_atomic(db, manager):
    with pytest.raises(TypeError, match=r"async.*sync_to_async"):
        manager.using(atomic=True).add_immediate_job(effects.complete_from_async)
    assert not Run.objects.exists()


def test_a_call_that_writes_to_another_database_than_the_runs_is_refused(db, manager):
    with pytest.raises(ValueError, match="'elsewhere'"):
        manager.using(atomic="elsewhere").add_immediate_job(effects.leave_mark)
    assert not Run.objects.exists()


def test_a_check_names_functions_that_write_to_another_database_than_the_runs(monkeypatch):
    monkeypatch.setattr("django_jobs.models.jobs_database", lambda: "jobs")

    found = check_atomic()

    assert any("tests.probes.effects:mark_once" in one.msg and "'jobs'" in one.msg for one in found)


def test_an_atomic_option_is_a_flag_or_an_alias(manager):
    with pytest.raises(TypeError, match="atomic must be True, False or the alias"):
        manager.using(atomic=1.5)


# complete()


def test_a_block_and_the_runs_end_are_one_commit(serve, manager, until, reported):
    serve()

    job_id = manager.add_immediate_job(effects.complete)

    assert manager.wait(job_id, 10) == {"marks": 1}
    assert (Run.objects.get().status, Mark.objects.count()) == ("SUCCESSFUL", 1)
    until(lambda: reported == [("finished", "SUCCESSFUL")])


def test_what_a_block_raises_rolls_it_back_and_the_run_has_not_ended(serve, manager):
    serve()

    job_id = manager.add_immediate_job(effects.complete, "fail")

    with pytest.raises(JobFailed, match="ValueError"):
        manager.wait(job_id, 10)
    assert not Mark.objects.exists()


def test_what_is_raised_after_the_block_changes_nothing(serve, manager, caplog, until):
    serve()

    job_id = manager.add_immediate_job(effects.complete, after="fail")

    assert manager.wait(job_id, 10) == {"marks": 1}
    until(lambda: "what came after raised ValueError" in caplog.text)
    assert Mark.objects.count() == 1


def test_a_lost_run_rolls_its_block_back_and_the_function_sees_it(serve, manager, until, reported):
    serve()

    manager.add_immediate_job(effects.see_the_loss)

    until(lambda: reported == [("refused", "")])
    assert [mark.text for mark in Mark.objects.all()] == ["saw RunLost, which is no Exception"]


@pytest.mark.parametrize(
    ("function", "error"),
    [
        (effects.complete_twice, "a run ends once"),
        (effects.complete_in_a_transaction, "inside transaction.atomic"),
        (effects.complete_what_is_atomic, "the function is atomic"),
        (effects.complete_on_the_loop, "event loop"),
        (effects.complete_with_a_result_that_cannot_be_stored, "InvalidArgument"),
    ],
)
def test_a_block_that_cannot_end_the_run_is_refused(serve, manager, function, error, caplog, until):
    serve()

    manager.add_immediate_job(function)

    until(lambda: Run.objects.exclude(status__in=["READY", "RUNNING"]).exists())
    until(lambda: error in Run.objects.get().error + caplog.text)


def test_an_async_function_ends_its_run_from_plain_code(serve, manager):
    serve()

    job_id = manager.add_immediate_job(effects.complete_from_async)

    assert manager.wait(job_id, 10) == {"marks": 1}
    assert Mark.objects.count() == 1


def test_a_block_ends_its_run_in_a_test(db, manager):
    manager.add_immediate_job(effects.complete)

    (executed,) = drain_jobs()

    assert (executed.status, executed.result, Mark.objects.count()) == ("SUCCESSFUL", {"marks": 1}, 1)


def test_a_block_ends_its_run_in_a_child_process(serve, manager, settings):
    settings.DJANGO_JOBS = {"ENGINES": {"apart": "processes"}}
    serve()

    job_id = manager.using(queue_name="apart").add_immediate_job(effects.complete)

    assert manager.wait(job_id, 30) == {"marks": 1}
    assert Mark.objects.count() == 1


def test_a_time_limit_still_ends_what_comes_after_the_block(serve, manager, until, caplog):
    serve()

    job_id = manager.using(timeout=2).add_immediate_job(effects.complete, after="sleep_on")

    assert manager.wait(job_id, 10) == {"marks": 1}
    until(lambda: "what came after raised RunInterrupted" in caplog.text)
