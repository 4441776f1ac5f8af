"""Functions to call as tasks, of Django's own framework where it has one, else of the backport."""

import os
import sys
import threading
import time

from django.dispatch import receiver

from django_jobs import Debounce, Retry, Unique, current_run, job
from tests.probes.models import Mark

try:
    from django.tasks import task
    from django.tasks.signals import task_started
except ImportError:  # before Django 6.0
    from django_tasks import task
    from django_tasks.signals import task_started

# Set and waited for by tests that run in the same process.
began = threading.Event()
go_on = threading.Event()

# Ids of the results that `task_started` came with in this process, and the threads that sent it.
started = {}


@receiver(task_started)
def note(task_result, **_):
    started[task_result.id] = threading.current_thread().name


@task
def give(value=None):
    return value


@task
def mark(text="called"):
    Mark.objects.create(text=text)


@task
async def mark_async(text="awaited"):
    await Mark.objects.acreate(text=text)
    return text


@task
def fail(message="it went wrong"):
    raise ValueError(message)


@task
async def fail_async():
    raise LookupError("async went wrong")


@task
@job(retry=Retry(max_attempts=2, delay=0, jitter=0))
def go_on_after_all(event):
    """Fail once, and wait for an event; nothing is done twice."""
    run = current_run()
    kept = run.step(mark.func, "step", name="step", atomic=True)
    if run.attempt == 1:
        raise ValueError("once")
    run.sleep(0.01)
    return [kept, run.wait_for(event)]


@task
@job(atomic=True)
def mark_in_one_commit():
    Mark.objects.create(text="atomic")
    return "marked"


@task
@job(unique=Unique("{value}", until="started"))
def once(value):
    return value


@task
@job(debounce=Debounce("{value}", wait=5, max_wait=60))
def put_off(value):
    return value


@task
@job(retry=Retry(max_attempts=3, delay=0))
def fail_twice():
    attempt = current_run().attempt
    if attempt < 3:
        raise ValueError(f"attempt {attempt}")
    return attempt


@task(takes_context=True)
@job(retry=Retry(max_attempts=2, delay=0))
def look_around(context, *args, **kwargs):
    result = context.task_result
    if context.attempt == 1:
        raise ValueError("look again")
    return {
        "id": result.id,
        "attempt": context.attempt,
        "status": result.status,
        "args": result.args,
        "kwargs": result.kwargs,
        "errors": len(result.errors),
        "workers": len(result.worker_ids),
        "has_begun": result.started_at < result.last_attempted_at,
    }


@task(takes_context=True)
async def look_around_async(context, value):
    return [context.task_result.id, context.attempt, value]


@task
def wait_for_go():
    began.set()
    assert go_on.wait(10)


@task
def wait_to_be_told():
    began.set()
    while not current_run().is_cancelled:
        time.sleep(0.01)


@task(takes_context=True)
def log_in(context, user, password):
    return user


@task
def give_tuple():
    return (1, {2: (3,)})


@task
def leave():
    sys.exit(3)


@task
def leave_something_unstorable():
    return object()


@task
@job(name="the named one", timeout=5, sensitive=["note"], queue_name="elsewhere", priority=50)
def with_policy(note):
    return note


@task(takes_context=True)
def say_where(context):
    sent_by = started.get(context.task_result.id)
    return {"process": os.getpid(), "is_told_here": sent_by == threading.current_thread().name}


@task
def kill_process():
    os._exit(7)


def not_a_task():
    return None


renamed = task(not_a_task)


@task(takes_context=True)
def say_context(context, text):
    return [text, context.attempt]
