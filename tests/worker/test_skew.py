import os
import signal
import threading
from datetime import timedelta

import pytest
from django.core.management import call_command

from django_jobs import codec
from django_jobs.models import Run, Step, Worker
from django_jobs.operations import health, listing
from django_jobs.storage import queues, steps
from django_jobs.storage.transactions import database_now
from django_jobs.worker import skew
from tests.probes import jobs as probes
from tests.probes.models import Mark

NEW = "tests.probes.jobs:not_yet_deployed"
# Looks that a test waits for, where a worker would wait for as long as a deploy takes.
SECONDS = {"HEARTBEAT_SECONDS": 0.1, "LEASE_SECONDS": 5, "POLL_SECONDS": 0.1}


@pytest.fixture
def look_soon(monkeypatch):
    """Have workers ask again within a test's patience."""
    monkeypatch.setattr(skew, "LOOK_SECONDS", 0.2)
    monkeypatch.setattr(skew, "SHORTEST_DELAY", 0.05)


def is_handed_back(run):
    run.refresh_from_db()
    return run.status == "READY" and run.error.startswith("Waits for a process that knows")


def has_ended(run):
    run.refresh_from_db()
    return run.status == "FAILED"


def test_a_function_that_this_process_does_not_know_goes_back_to_the_queue(serve, make_run, until, caplog):
    run = make_run(func=NEW)
    due = run.run_after
    service = serve()

    until(lambda: is_handed_back(run))

    assert (run.attempt, run.worker_id, run.errors, run.run_after) == (0, "", None, due)
    assert NEW in run.error
    assert list(Worker.objects.get(pk=service.worker.id).unknown) == [NEW]
    assert [r.levelname for r in caplog.records if "goes back to the queue" in r.message] == ["WARNING"]


def test_a_worker_that_does_not_know_a_function_claims_no_more_runs_of_it(
    serve, make_run, until, monkeypatch, settings
):
    settings.DJANGO_JOBS = SECONDS
    refused = []
    takes = skew.Skew.takes
    monkeypatch.setattr(
        skew.Skew,
        "takes",
        lambda self, attempt, outcome: takes(self, attempt, outcome) and not refused.append(1),
    )
    runs = [make_run(func=NEW)]
    service = serve(threads=1)
    until(lambda: is_handed_back(runs[0]))
    runs += [make_run(func=NEW) for _ in range(5)]
    beats = service.worker.last_heartbeat

    service.worker.wake()
    other = make_run()
    until(lambda: Run.objects.get(pk=other.pk).status == "SUCCESSFUL")
    until(lambda: service.worker.last_heartbeat > beats)

    assert len(refused) == 1
    assert {(run.status, run.attempt) for run in Run.objects.filter(func=NEW)} == {("READY", 0)}


def test_a_process_that_knows_the_function_executes_what_another_handed_back(
    serve, make_run, until, monkeypatch, settings, manager
):
    settings.DJANGO_JOBS = SECONDS
    run = make_run(func=NEW)
    serve()
    until(lambda: is_handed_back(run))
    manager.shutdown()

    def not_yet_deployed():
        return "done"

    not_yet_deployed.__module__ = probes.__name__
    monkeypatch.setattr(probes, "not_yet_deployed", not_yet_deployed, raising=False)
    serve()
    until(lambda: Run.objects.get(pk=run.pk).status == "SUCCESSFUL")

    run.refresh_from_db()
    assert (run.attempt, run.error) == (1, "")


def test_it_fails_when_nobody_has_come_within_the_grace(serve, make_run, until, settings, look_soon):
    settings.DJANGO_JOBS = {**SECONDS, "VERSION_SKEW_SECONDS": 0.5}
    run = make_run(func=NEW)
    serve()

    until(lambda: has_ended(run))

    assert run.attempt == 1
    assert run.error.startswith("FunctionNotFound: ")


def test_without_a_grace_it_fails_immediately(serve, make_run, until, settings):
    settings.DJANGO_JOBS = {**SECONDS, "VERSION_SKEW_SECONDS": 0}
    run = make_run(func=NEW)
    serve()

    until(lambda: has_ended(run))

    assert Worker.objects.get(stopped_at=None).unknown is None


def test_it_is_retried_by_its_policy_before_it_fails(serve, make_run, until, settings, look_soon):
    settings.DJANGO_JOBS = {**SECONDS, "VERSION_SKEW_SECONDS": 0}
    policy = {"max_attempts": 2, "delay": 0.01, "max_delay": 1}
    run = make_run(func=NEW, options={"retry": policy})
    serve()

    until(lambda: has_ended(run))

    assert run.attempt == 2


def test_it_waits_beyond_the_grace_while_a_live_process_may_know_it(
    serve, make_run, make_worker, until, settings, look_soon, monkeypatch
):
    settings.DJANGO_JOBS = {**SECONDS, "VERSION_SKEW_SECONDS": 0.2}
    now = database_now("default")
    newer = make_worker(lease_expires_at=now + timedelta(hours=1))
    asked = threading.Semaphore(0)
    note = skew.skew.note

    def counted(*args, **kwargs):
        found = note(*args, **kwargs)
        if found.for_seconds > 0.2:
            asked.release()
        return found

    monkeypatch.setattr(skew.skew, "note", counted)
    run = make_run(func=NEW)
    serve()

    assert asked.acquire(timeout=20)
    assert asked.acquire(timeout=20)
    until(lambda: is_handed_back(run))
    Worker.objects.filter(pk=newer.pk).update(stopped_at=now)
    until(lambda: has_ended(run))


def test_a_process_inherits_since_when_others_wait(serve, make_run, make_worker, until, settings):
    settings.DJANGO_JOBS = {**SECONDS, "VERSION_SKEW_SECONDS": 60}
    now = database_now("default")
    since, last = now - timedelta(seconds=61), now - timedelta(seconds=1)
    # As `runjobs --drain` leaves one, started every minute.
    make_worker(stopped_at=last, unknown={NEW: [since.isoformat(), last.isoformat()]})
    run = make_run(func=NEW)
    serve()

    until(lambda: has_ended(run))


def test_what_was_unknown_long_ago_is_waited_for_again(serve, make_run, make_worker, until, settings):
    settings.DJANGO_JOBS = {**SECONDS, "VERSION_SKEW_SECONDS": 60}
    long_ago = (database_now("default") - timedelta(days=3)).isoformat()
    make_worker(stopped_at=database_now("default"), unknown={NEW: [long_ago, long_ago]})
    run = make_run(func=NEW)
    serve()

    until(lambda: is_handed_back(run))


def test_a_type_tag_of_a_newer_version_waits_and_then_is_broken(serve, make_run, until, settings, look_soon):
    settings.DJANGO_JOBS = {**SECONDS, "VERSION_SKEW_SECONDS": 1}
    tag = codec.dumps(timedelta(1))
    payload = '{"args":[' + tag.replace("timedelta", "money") + '],"kwargs":{}}'
    run = make_run(func="tests.probes.jobs:give", payload=payload)
    serve()

    until(lambda: is_handed_back(run))
    assert "the type 'money'" in run.error
    until(lambda: Run.objects.get(pk=run.pk).state == "broken")
    assert Run.objects.get(pk=run.pk).error.startswith("UnknownHere: unknown type tag 'money'")


@pytest.mark.parametrize("function", ["keep_a_step", "keep_a_step_async"])
@pytest.mark.parametrize("what", ["the type 'money'", "the kind of step 'lock'"])
def test_a_step_of_a_newer_version_waits_for_a_process_that_knows_it(serve, make_run, until, function, what):
    run = make_run(func=f"tests.probes.durable:{function}")
    is_kind = "kind" in what
    value = None if is_kind else codec.dumps(timedelta(1)).replace("timedelta", "money")
    step = Step(
        run_id=run.pk, key=steps.key_of("step", "kept", 0), kind="lock" if is_kind else "step", name="kept",
        occurrence=0, attempt=1, value=value, started_at=run.enqueued_at, finished_at=run.enqueued_at,
    )  # fmt: skip
    step.signature = steps.sign(step)
    step.save()
    serve()

    until(lambda: is_handed_back(run))

    assert what in run.error
    assert (run.attempt, run.errors) == (0, None)
    assert not Mark.objects.exists()


def test_an_option_that_must_be_known_waits_for_a_process_that_knows_it(serve, make_run, until):
    run = make_run(options={"fuel": 3, "needs": ["fuel", "retry"]})
    serve()

    until(lambda: is_handed_back(run))

    assert "the option fuel" in run.error
    # Not again immediately: it is not left out by its function.
    assert run.run_after > run.enqueued_at


def test_options_that_need_not_be_known_are_ignored(serve, make_run, until):
    run = make_run(options={"fuel": 3})
    serve()

    until(lambda: Run.objects.get(pk=run.pk).status == "SUCCESSFUL")


def test_a_cancelled_run_that_nobody_knows_is_cancelled(serve, make_run, until, manager, settings):
    settings.DJANGO_JOBS = SECONDS
    run = make_run(func=NEW)
    serve()
    until(lambda: is_handed_back(run))

    manager.cancel_job(run.job_id)

    until(lambda: Run.objects.get(pk=run.pk).status == "CANCELLED")


def test_observers_hear_of_an_unknown_function_once_it_fails(serve, make_run, until, settings, look_soon):
    from django_jobs.execution import instrumentation

    settings.DJANGO_JOBS = {**SECONDS, "VERSION_SKEW_SECONDS": 0.5}
    ends = []

    class Observer(instrumentation.Observer):
        def begin(self, run):
            return lambda outcome, error: ends.append((outcome.status, type(error).__name__))

    observer = Observer()
    instrumentation.add_observer(observer)
    try:
        run = make_run(func=NEW)
        serve()
        until(lambda: is_handed_back(run))
        assert ends == []
        until(lambda: has_ended(run))
    finally:
        instrumentation.remove_observer(observer)

    assert ends == [("FAILED", "FunctionNotFound")]


def test_pages_lists_and_health_say_what_it_waits_for(make_run, make_worker, capsys):
    now = database_now("default")
    met = {NEW: [now.isoformat(), now.isoformat()]}
    alive = {"lease_expires_at": now + timedelta(hours=1), "heartbeat_at": now}
    make_worker(queues=["default"], unknown=met, **alive)
    run = make_run(func=NEW)

    assert queues.obstacle("default", NEW, using="default") == "unknown"
    assert listing.run(run.pk)["waits"] == f"for a process that knows {NEW}"
    problem = next(p for p in health.report()["problems"] if p["code"] == "unknown_functions")
    assert NEW in problem["text"]
    assert problem["count"] == 1
    call_command("jobs", "show", "--run", str(run.pk))
    assert f"for a process that knows {NEW}" in capsys.readouterr().out

    # One that has not said so may know it.
    make_worker(queues=["default"], **alive)

    assert queues.obstacle("default", NEW, using="default") == "busy"
    assert not [p for p in health.report()["problems"] if p["code"] == "unknown_functions"]


VERSIONS = {
    "old": "def known():\n    return 'old'\n",
    "new": "def known():\n    return 'new'\n\n\ndef added():\n    return 'added'\n",
}


@pytest.fixture
def deploy(runjobs, tmp_path, child_env):
    """Return a function that starts a process of one of two versions of an app."""
    for name, text in VERSIONS.items():
        folder = tmp_path / name / "deployed"
        folder.mkdir(parents=True)
        folder.joinpath("__init__.py").touch()
        folder.joinpath("jobs.py").write_text(text)

    def start(name):
        path = os.pathsep.join([str(tmp_path / name), child_env["PYTHONPATH"]])
        settings = '{"HEARTBEAT_SECONDS": 0.5, "LEASE_SECONDS": 4, "POLL_SECONDS": 0.5}'
        return runjobs(
            "--threads", "2",
            env={"PYTHONPATH": path, "TESTS_APP": "deployed", "TESTS_DJANGO_JOBS": settings},
        )  # fmt: skip

    return start


@pytest.mark.timeout(180)
def test_a_rolling_deploy_with_a_new_function_that_is_called_immediately_fails_no_run(
    deploy, make_run, until
):
    old = [deploy("old"), deploy("old")]
    until(lambda: Worker.objects.filter(stopped_at=None).count() == 2, timeout=60)
    for _ in range(20):
        # As the new version's web process adds them, before any of its workers has started.
        make_run(func="deployed.jobs:added")
        make_run(func="deployed.jobs:known")
    until(lambda: Worker.objects.filter(unknown__isnull=False).count() == 2, timeout=30)

    new = deploy("new")
    until(lambda: not Run.objects.unfinished().exists(), timeout=60)
    for process in [*old, new]:
        process.send_signal(signal.SIGTERM)
        process.wait(30)

    ended = Run.objects.filter(func="deployed.jobs:added")
    assert {(run.status, run.attempt, run.result) for run in ended} == {("SUCCESSFUL", 1, '"added"')}
    assert Run.objects.filter(status="SUCCESSFUL").count() == 40
