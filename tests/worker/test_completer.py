import pytest
from django.db import DataError, OperationalError, connection

from django_jobs import checks, signals
from django_jobs.exceptions import JobFailed
from django_jobs.models import Run
from django_jobs.storage import outcomes


def test_an_outcome_that_cannot_even_be_sent_fails_its_run_and_no_other(serve, manager, probes, monkeypatch):
    serve()
    real = outcomes.finish

    def refuse(ended, **more):
        if any(outcome.result == '"bad"' for _, outcome in ended):
            raise TypeError("not to be encoded")
        return real(ended, **more)

    monkeypatch.setattr(outcomes, "finish", refuse)
    bad = manager.add_immediate_job(probes.give, "bad")
    good = manager.add_immediate_job(probes.give, "good")

    assert manager.wait(good, 10) == "good"
    with pytest.raises(JobFailed, match="not to be encoded"):
        manager.wait(bad, 10)


def test_a_result_of_a_run_that_another_worker_has_by_now_is_refused(
    serve, manager, probes, make_worker, monkeypatch, until
):
    refused = []
    monkeypatch.setattr(signals.run_refused, "receivers", [])
    signals.run_refused.connect(lambda run, **_: refused.append(run.id), weak=False)
    serve()
    manager.add_immediate_job(probes.wait_for_go, 20)
    assert probes.began.wait(10)
    other = make_worker()

    Run.objects.update(worker_id=other.id)
    probes.go_on.set()

    until(lambda: refused)
    run = Run.objects.get()
    assert refused == [run.id]
    assert (run.status, run.worker_id, run.result) == ("RUNNING", other.id, None)


def test_a_result_whose_answer_was_lost_is_finished_and_not_refused(
    serve, manager, probes, monkeypatch, caplog
):
    serve()
    real, calls = outcomes.finish, []

    def lose_the_answer(*args, **kwargs):
        written = real(*args, **kwargs)
        calls.append(set(written))
        if len(calls) == 1:
            raise OperationalError("server closed the connection unexpectedly")
        return written

    monkeypatch.setattr(outcomes, "finish", lose_the_answer)
    job_id = manager.add_immediate_job(probes.give, 42)

    assert manager.wait(job_id, 15) == 42
    manager.shutdown()
    assert len(calls) == 2
    assert "refused" not in caplog.text


def test_results_outlive_a_database_that_goes_away(serve, manager, probes, monkeypatch):
    serve()
    real, calls = outcomes.finish, []

    def away(*args, **kwargs):
        calls.append(args)
        if len(calls) < 4:
            raise OperationalError("gone away")
        return real(*args, **kwargs)

    monkeypatch.setattr(outcomes, "finish", away)
    job_id = manager.add_immediate_job(probes.give, 42)

    assert manager.wait(job_id, 15) == 42
    assert len(calls) == 4


def test_one_outcome_that_the_database_refuses_does_not_keep_others_from_being_written(
    serve, manager, probes, monkeypatch
):
    serve()
    real = outcomes.finish

    def picky(outcomes, **more):
        if any(run.job_id == "bad" and outcome.status == "SUCCESSFUL" for run, outcome in outcomes):
            raise DataError("cannot store this")
        return real(outcomes, **more)

    monkeypatch.setattr(outcomes, "finish", picky)
    manager.add_immediate_job(probes.give, 1, job_id="bad")
    good = manager.add_immediate_job(probes.give, 2)

    assert manager.wait(good, 10) == 2
    with pytest.raises(JobFailed, match=r"refused the outcome"):
        manager.wait("bad", 10)


def test_a_result_that_a_database_calls_an_outage_fails_its_run_and_no_other(
    serve, manager, probes, monkeypatch
):
    serve()
    real = outcomes.finish

    def refuse(ended, **more):
        if any(outcome.result == '"bad"' for _, outcome in ended):
            raise OperationalError(1366, "Incorrect string value")
        return real(ended, **more)

    monkeypatch.setattr(outcomes, "finish", refuse)
    bad = manager.add_immediate_job(probes.give, "bad")
    good = [manager.add_immediate_job(probes.give, "good") for _ in range(5)]

    assert [manager.wait(job_id, 10) for job_id in good] == ["good"] * 5
    with pytest.raises(JobFailed, match=r"refused the outcome of this run: .*Incorrect string value"):
        manager.wait(bad, 10)


def test_a_result_is_kept_while_the_database_refuses_whatever_it_is_given(
    serve, manager, probes, monkeypatch, until
):
    serve()
    real, refused = outcomes.finish, []

    def refuse(ended, **more):
        if len(refused) < 8:
            refused.append(ended)
            raise OperationalError("read-only, as in a fail-over")
        return real(ended, **more)

    monkeypatch.setattr(outcomes, "finish", refuse)

    assert manager.wait(manager.add_immediate_job(probes.give, "kept"), 20) == "kept"


def test_a_character_that_mariadb_cannot_store_fails_its_run_and_no_other(serve, manager, probes):
    if connection.vendor != "mysql":
        pytest.skip("others store any character")

    def alter(charset):
        with connection.cursor() as cursor:
            cursor.execute(f"ALTER TABLE django_jobs_run MODIFY result LONGTEXT CHARACTER SET {charset} NULL")

    alter("utf8mb3")
    try:
        assert [found.id for found in checks.check_database_itself(databases=["default"])] == [
            "django_jobs.W008"
        ]
        serve()
        bad = manager.add_immediate_job("tests.probes.jobs:rocket")
        good = manager.add_immediate_job(probes.give, "good")
        assert manager.wait(good, 10) == "good"
        with pytest.raises(JobFailed, match="Incorrect string value"):
            manager.wait(bad, 10)
    finally:
        alter("utf8mb4")
    assert checks.check_database_itself(databases=["default"]) == []
