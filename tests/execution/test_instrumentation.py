import logging
import threading
from contextlib import contextmanager
from datetime import timedelta

import pytest
from django.utils import timezone

from django_jobs.execution import instrumentation
from django_jobs.models import Job, Run, jobs_database
from django_jobs.storage.records import Outcome
from django_jobs.worker.inline import inline_worker
from tests.executed import execute_all


class Notes(instrumentation.Observer):
    def __init__(self):
        self.notes = []
        self.flushes = threading.Semaphore(0)

    @contextmanager
    def adding(self, runs):
        for run in runs:
            run.options = {**(run.options or {}), "note": run.job_id}
        self.notes.append(("adding", [run.job_id for run in runs]))
        yield
        self.notes.append(("added", len(runs)))

    def begin(self, run):
        began_in = threading.get_ident()

        def end(outcome, error):
            assert threading.get_ident() == began_in
            self.notes.append(
                ("ended", run.options.get("note"), outcome and outcome.status, type(error).__name__)
            )

        return end

    def flush(self, seconds):
        self.flushes.release()


@pytest.fixture
def notes():
    observer = Notes()
    instrumentation.add_observer(observer)
    instrumentation.add_observer(observer)
    yield observer
    instrumentation.remove_observer(observer)
    assert observer not in instrumentation.installed


def ended(notes):
    return [note[1:] for note in notes.notes if note[0] == "ended"]


@pytest.mark.parametrize(
    ("name", "status", "error"),
    [
        ("nothing", "SUCCESSFUL", "NoneType"),
        ("fail", "FAILED", "ValueError"),
        ("fail_async", "FAILED", "LookupError"),
        ("wrapped_async", "SUCCESSFUL", "NoneType"),
    ],
)
def test_an_attempt_is_observed_from_its_call_to_its_outcome(
    name, status, error, notes, serve, manager, probes, until
):
    manager.add_immediate_job(getattr(probes, name), job_id="seen")
    service = serve()

    assert until(lambda: manager.get_job("seen")["last_run"]["finished_at"])
    assert service.worker.holdings.wait_empty(10)
    assert notes.notes[:2] == [("adding", ["seen"]), ("added", 1)]
    assert ended(notes)[-1] == ("seen", status, error)
    # A plain function that turned out to return a coroutine was begun twice, and dropped once.
    assert [note[1] for note in ended(notes)[:-1]] == ([None] if name == "wrapped_async" else [])


@pytest.mark.django_db
def test_a_run_whose_function_cannot_be_found_is_observed_too(notes, make_run):
    make_run(func="tests.probes.jobs:gone")

    execute_all()

    assert ended(notes) == [(None, "FAILED", "FunctionNotFound")]


@pytest.mark.django_db
def test_each_way_to_add_a_run_is_observed_once(notes, manager, probes):
    manager.add_immediate_job(probes.nothing, job_id="random")
    manager.add_many([(probes.nothing,), (probes.nothing,)])
    manager.add_scheduled_job(probes.nothing, timezone.now() + timedelta(hours=1), job_id="later")
    manager.add_recurring_job(probes.nothing, 60, job_id="often")
    manager.run_job("often")

    assert [note[1] for note in notes.notes if note[0] == "added"] == [1, 2, 1, 1]
    assert Job.objects.get(pk="later").options == {"note": "later"}
    assert Job.objects.get(pk="often").options is None
    assert all(run.options["note"] == run.job_id for run in Run.objects.all())


@pytest.mark.django_db
def test_an_observer_that_raises_changes_nothing(manager, probes, caplog):
    class Broken(instrumentation.Observer):
        def adding(self, runs):
            raise RuntimeError("adding")

        def begin(self, run):
            if run.attempt == 1:
                return self.end
            raise RuntimeError("begin")

        def end(self, outcome, error):
            raise RuntimeError("end")

    broken = Broken()
    instrumentation.add_observer(broken)
    try:
        manager.add_immediate_job(probes.nothing)
        manager.add_immediate_job(probes.nothing)
        with inline_worker(jobs_database()) as worker, caplog.at_level(logging.ERROR):
            first, second = worker.next_due(), worker.next_due()
            second.attempt = 2
            executed = worker.execute(first)
            instrumentation.end(instrumentation.begin(second), Outcome("SUCCESSFUL", None, None), None)
    finally:
        instrumentation.remove_observer(broken)

    assert executed.status == "SUCCESSFUL"
    said = [record.getMessage().rpartition(": ")[2] for record in caplog.records]
    assert [line for line in said if "failed" in line] == [
        "Broken failed",
        "Broken failed",
        "an observer of a run failed",
        "Broken failed",
    ]


def test_a_flush_that_hangs_is_waited_for_only_once():
    go_on, began = threading.Event(), threading.Semaphore(0)

    class Stuck(Notes):
        def flush(self, seconds):
            began.release()
            assert go_on.wait(10)

    stuck = Stuck()
    instrumentation.add_observer(stuck)
    try:
        instrumentation.flush(0.01)
        instrumentation.flush(60)
        assert began.acquire(timeout=60)
        assert not began.acquire(blocking=False)
    finally:
        go_on.set()
        instrumentation.remove_observer(stuck)


@pytest.mark.django_db
def test_without_observers_a_run_is_added_with_nothing_in_its_options(
    manager, probes, django_assert_num_queries
):
    with django_assert_num_queries(1):
        manager.add_immediate_job(probes.nothing)

    assert Run.objects.get().options is None
