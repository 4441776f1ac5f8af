import json
import os
import signal
import threading
import time

import pytest
from django.core.management import CommandError
from django.db import connection, connections

from django_jobs import get_job_manager
from django_jobs.management.actions import here
from django_jobs.models import Job, LogChunk, Run, Worker
from tests.probes.models import Mark

TABLES = (Run, Job, Worker, LogChunk, Mark)


def rows():
    """Return all that the tables hold."""
    return [list(model.objects.order_by("pk").values()) for model in TABLES]


# run --here


@pytest.mark.django_db(transaction=True)
def test_a_job_is_executed_in_the_foreground_and_recorded(jobs, make_run):
    run = make_run(func="tests.probes.jobs:report", job_id="x")

    said = jobs("run", "x", "--here")

    run.refresh_from_db()
    assert (run.status, run.attempt) == ("SUCCESSFUL", 1)
    assert "began with this" in said
    assert json.loads(said.lines[-1])["attempt"] == 1
    assert not Worker.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_a_job_that_has_ended_or_has_a_schedule_runs_once_more_here(jobs, make_run, manager, probes):
    make_run(job_id="x", status="FAILED", error="no")
    manager.add_recurring_job(probes.nothing, 3600, job_id="hourly")
    next_run_time = Job.objects.get().next_run_time

    jobs("run", "x", "--here")
    jobs("run", "hourly", "--here")

    assert [run.status for run in Run.objects.order_by("pk")] == ["FAILED", "SUCCESSFUL", "SUCCESSFUL"]
    assert Job.objects.get().next_run_time == next_run_time


def test_no_worker_gets_what_is_executed_here(jobs, serve, manager, probes, until):
    service = serve()
    manager.add_recurring_job(probes.wait_for_go, 3600, job_id="hourly")

    def call():
        try:
            jobs("run", "hourly", "--here")
        finally:
            connections.close_all()

    caller = threading.Thread(target=call)
    caller.start()
    try:
        assert probes.began.wait(20)
        run = Run.objects.get()
        assert run.status == "RUNNING"
        assert run.worker_id != service.worker.id
    finally:
        probes.go_on.set()
        caller.join(20)
    assert Run.objects.get().status == "SUCCESSFUL"


@pytest.mark.django_db(transaction=True)
def test_what_is_raised_here_is_shown_recorded_and_debugged(jobs, make_run, monkeypatch):
    opened = []
    monkeypatch.setattr(here.pdb, "post_mortem", opened.append)
    run = make_run(func="tests.probes.jobs:fail", job_id="x", options={"timeout": 60})

    with pytest.raises(CommandError, match="it went wrong"):
        jobs("run", "x", "--here", "--pdb")

    run.refresh_from_db()
    assert (run.status, run.error) == ("FAILED", "ValueError: it went wrong")
    assert "in fail" in jobs.last.err.getvalue()
    assert len(opened) == 1


@pytest.mark.django_db(transaction=True)
def test_what_cannot_be_executed_here_says_why(jobs, make_run):
    make_run(job_id="busy", status="RUNNING")
    make_run(job_id="limited", run_after=None, waits_for="limit")

    for arguments, message in [
        (("nosuch", "--here"), "there is no job 'nosuch'"),
        (("busy", "--here"), "runs already"),
        (("limited", "--here"), "waits for something other than a worker"),
        (("a", "b", "--here"), "--here is for one job"),
        (("a", "--pdb"), "--pdb needs --here"),
    ]:
        with pytest.raises(CommandError, match=message):
            jobs("run", *arguments)

    assert not Worker.objects.exists()
    assert Run.objects.get(job_id="limited").status == "READY"


# replay


@pytest.mark.django_db(transaction=True)
def test_a_replay_changes_no_row(jobs, manager, make_run):
    Mark.objects.create(text="kept")
    run = make_run(
        func="tests.probes.jobs:write_everything", status="SUCCESSFUL", result="1",
        payload='{"args":["this"],"kwargs":{}}', options={"atomic": True, "timeout": 1},
    )  # fmt: skip
    before = rows()

    said = jobs("replay", str(run.pk), "--yes")

    assert rows() == before
    assert "wrote this" in said
    assert "All that it wrote was rolled back." in said
    assert not connection.in_atomic_block


@pytest.mark.django_db(transaction=True)
def test_a_replay_that_fails_changes_no_row_and_shows_where(jobs, make_run, monkeypatch):
    opened = []
    monkeypatch.setattr(here.pdb, "post_mortem", opened.append)
    run = make_run(
        func="tests.probes.jobs:write_and_fail", status="FAILED", payload='{"args":["this"],"kwargs":{}}'
    )
    before = rows()

    with pytest.raises(CommandError, match="cannot write this"):
        jobs("replay", str(run.pk), "--yes", "--pdb")

    assert rows() == before
    assert len(opened) == 1


@pytest.mark.django_db(transaction=True)
def test_an_async_function_is_replayed(jobs, make_run):
    run = make_run(func="tests.probes.jobs:mark_async", status="FAILED")
    before = rows()

    said = jobs("replay", str(run.pk), "--yes")

    assert rows() == before
    assert '"awaited"' in said


@pytest.mark.django_db(transaction=True)
def test_observers_and_receivers_hear_of_no_replay(jobs, make_run):
    from django_jobs import signals
    from django_jobs.execution import instrumentation

    heard = []

    class Observer(instrumentation.Observer):
        def begin(self, run):
            heard.append(run)

    def receive(**event):
        heard.append(event)

    observer = Observer()
    instrumentation.add_observer(observer)
    signals.run_started.connect(receive)
    signals.run_finished.connect(receive)
    try:
        jobs("replay", str(make_run(status="FAILED").pk), "--yes")
    finally:
        signals.run_started.disconnect(receive)
        signals.run_finished.disconnect(receive)
        instrumentation.remove_observer(observer)

    assert heard == []
    assert observer not in instrumentation.installed


@pytest.mark.django_db(transaction=True)
def test_only_a_run_that_has_ended_is_replayed(jobs, make_run):
    run = make_run()

    with pytest.raises(CommandError, match="has not ended"):
        jobs("replay", str(run.pk), "--yes")
    with pytest.raises(CommandError, match="there is no run 9999"):
        jobs("replay", "9999", "--yes")


# runjobs --reload


@pytest.mark.timeout(120)
def test_a_worker_that_reloads_executes_the_code_as_it_was_changed(
    spawn, tmp_path, child_env, until, make_run
):
    import sys

    from tests.conftest import ROOT

    folder = tmp_path / "code" / "reloaded"
    folder.mkdir(parents=True)
    folder.joinpath("__init__.py").touch()
    module = folder / "jobs.py"
    module.write_text("def version():\n    return 'first'\n")
    path = os.pathsep.join([str(tmp_path / "code"), child_env["PYTHONPATH"]])
    process = spawn(
        sys.executable, str(ROOT / "testproject" / "manage.py"), "runjobs", "--reload", "--threads", "1",
        env={"PYTHONPATH": path, "TESTS_APP": "reloaded", "PYTHONDONTWRITEBYTECODE": "1"},
    )  # fmt: skip
    try:
        first = make_run(func="reloaded.jobs:version")
        until(lambda: Run.objects.get(pk=first.pk).status == "SUCCESSFUL", timeout=60)
        before = set(Worker.objects.values_list("pk", flat=True))

        module.write_text("def version():\n    return 'the second one'\n")

        def has_begun_again():
            # The reloader may not have looked at the file yet when it was first changed.
            if Worker.objects.filter(pk__in=before, stopped_at=None).exists():
                os.utime(module, (time.time(), time.time()))
            return Worker.objects.exclude(pk__in=before).filter(stopped_at=None).exists()

        until(has_begun_again, timeout=60, every=2)
        second = make_run(func="reloaded.jobs:version")
        until(lambda: Run.objects.get(pk=second.pk).status == "SUCCESSFUL", timeout=60)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(30)

    assert [run.result for run in Run.objects.order_by("pk")] == ['"first"', '"the second one"']
    # The process before ended in order.
    assert not Worker.objects.filter(pk__in=before, was_lost=True).exists()


@pytest.mark.parametrize("more", [["--drain"], ["--processes", "2"]])
def test_reloading_is_for_one_process_that_goes_on(more):
    from django.core.management import call_command

    with pytest.raises(CommandError, match="--reload is for one process"):
        call_command("runjobs", "--reload", *more)
    assert get_job_manager().service is None
