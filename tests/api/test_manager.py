import inspect
import threading
from datetime import timedelta

import pytest
from django.utils import timezone

from django_jobs import (
    JobManager,
    get_job_manager,
    signals,
)
from django_jobs.models import Run

pytestmark = pytest.mark.django_db


def test_there_is_one_manager_per_process():
    found = []
    barrier = threading.Barrier(8)

    def get():
        barrier.wait(5)
        found.append(get_job_manager())

    threads = [threading.Thread(target=get) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(set(map(id, found))) == 1


def test_the_signatures_are_those_of_the_design():
    expected = {
        "start": "()",
        "add_immediate_job": "(func, /, *args, job_id=None, **kwargs)",
        "add_scheduled_job": "(func, run_at, /, *args, job_id=None, **kwargs)",
        "add_recurring_job": "(func, interval_seconds, /, *args, job_id=None, max_instances=1, **kwargs)",
        "add_cron_job": "(func, expression, /, *args, job_id=None, max_instances=1, timezone=None, repeats=False, **kwargs)",
        "add_job": "(func, trigger, /, *args, job_id=None, max_instances=1, **kwargs)",
        "remove_job": "(job_id)",
        "get_job": "(job_id)",
        "get_jobs": "(*, limit=1000, about=None, tag=None)",
        "pause_job": "(job_id, *, by='')",
        "resume_job": "(job_id)",
        "run_job": "(job_id, *, as_of=None)",
        "backfill": "(job_id, start, end, *, dry_run=False)",
        "cancel_job": "(job_id)",
        "retry_job": "(job_id)",
        "edit_job": "(job_id, *, trigger=None, next_run_time=None, queue_name=None, priority=None, "
        "max_instances=None, retry=UNCHANGED)",
        "reset_job": "(job_id)",
        "prune": "(*, keep_days, keep_runs_per_job, dry_run=False)",
        "wait": "(job_id, timeout=None)",
        "shutdown": "(wait=True)",
    }

    for name, signature in expected.items():
        found = inspect.signature(getattr(get_job_manager(), name))
        plain = found.replace(
            parameters=[p.replace(annotation=p.empty) for p in found.parameters.values()],
            return_annotation=inspect.Signature.empty,
        )
        assert str(plain) == signature, name


def test_every_method_has_a_twin_for_async_code():
    names = [
        name
        for name, method in inspect.getmembers(JobManager, inspect.isfunction)
        if not name.startswith(("_", "a")) or name.startswith("add_")
    ]
    names = [name for name in names if name not in {"batch", "lifespan", "serve", "start_after", "using"}]

    for name in names:
        async_version = "await_job" if name == "wait" else f"a{name}"
        assert inspect.iscoroutinefunction(getattr(JobManager, async_version)), name


def test_views_can_be_chained_and_leave_the_manager_as_it_is(manager, probes):
    view = manager.using(queue_name="a").using(priority=5)

    view.add_immediate_job(probes.nothing)
    manager.add_immediate_job(probes.nothing)

    assert [(run.queue_name, run.priority) for run in Run.objects.order_by("id")] == [
        ("a", 5),
        ("default", 0),
    ]


def test_signals_tell_of_jobs(manager, probes, django_capture_on_commit_callbacks):
    events = []

    def hear(signal, job_id, **_):
        events.append((next(n for n, s in vars(signals).items() if s is signal), job_id))

    for signal in (signals.job_added, signals.job_changed, signals.job_removed):
        signal.connect(hear)
    with django_capture_on_commit_callbacks(execute=True):
        manager.add_recurring_job(probes.mark, 60, job_id="r")
        manager.pause_job("r")
        manager.remove_job("r")

    assert events == [("job_added", "r"), ("job_changed", "r"), ("job_removed", "r")]


def test_signals_tell_of_a_scheduled_job_that_is_cancelled_or_replaced(
    manager, probes, django_capture_on_commit_callbacks
):
    events = []

    def hear_removed(job_id, **_):
        events.append(("removed", job_id))

    def hear_cancelled(runs, **_):
        events.append(("cancelled", *(run_id for run_id, _ in runs)))

    signals.job_removed.connect(hear_removed)
    signals.runs_cancelled.connect(hear_cancelled)
    later = timezone.now() + timedelta(days=1)
    with django_capture_on_commit_callbacks(execute=True):
        manager.add_scheduled_job(probes.mark, later, job_id="s")
        manager.cancel_job("s")
    cancelled = Run.objects.get().pk
    with django_capture_on_commit_callbacks(execute=True):
        manager.add_scheduled_job(probes.mark, later, job_id="t")
        manager.using(on_conflict="replace").add_immediate_job(probes.mark, job_id="t")

    assert events == [("cancelled", cancelled), ("removed", "s"), ("removed", "t")]
