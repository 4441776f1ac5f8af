"""What every engine is asked to execute: each as a plain function and as an `async def` one."""

import asyncio
import os
import threading
import time

from django_jobs import current_run, get_job_manager
from django_jobs.models import Run
from tests.probes.models import Mark


def add(a, b=2, *, c=0):
    return a + b + c


async def async_add(a, b=2, *, c=0):
    await asyncio.sleep(0)
    return add(a, b, c=c)


def mark(text):
    Mark.objects.create(text=text)
    return text


async def async_mark(text):
    await Mark.objects.acreate(text=text)
    return text


def fail():
    raise LookupError("no such customer")


async def async_fail():
    await asyncio.sleep(0)
    fail()


def grow(queue_name):
    batch = current_run().batch.using(queue_name=queue_name)
    batch.add(add, 1).then(add, 5)
    return batch.name


async def async_grow(queue_name):
    batch = current_run().batch.using(queue_name=queue_name)
    first = await batch.aadd(async_add, 1)
    await first.athen(async_add, 5)
    return batch.name


def describe(error, value):
    return [type(error).__name__, value]


async def async_describe(error, value):
    return describe(error, value)


def fail_until(attempt):
    if current_run().attempt < attempt:
        raise ValueError(f"attempt {current_run().attempt}")
    return current_run().attempt


async def async_fail_until(attempt):
    await asyncio.sleep(0)
    return fail_until(attempt)


def work():
    Mark.objects.create(text="begun")
    while True:
        time.sleep(0.01)


async def async_work():
    await Mark.objects.acreate(text="begun")
    while True:
        await asyncio.sleep(0.01)


def work_and_tell():
    run = current_run()
    run.set_progress(1, 4, "a quarter")
    run.wait(60)
    return "heard"


async def async_work_and_tell():
    current_run().set_progress(1, 4, "a quarter")
    await asyncio.sleep(60)


def report(text):
    run = current_run()
    run.log("began with %s", text)
    run.set_progress(4, 4, "all")
    return {"job_id": run.job_id, "run_id": run.run_id, "attempt": run.attempt, "queue": run.queue_name}


async def async_report(text):
    await asyncio.sleep(0)
    return report(text)


def unstorable():
    return object()


async def async_unstorable():
    await asyncio.sleep(0)
    return object()


def crash_until(attempt):
    if current_run().attempt < attempt:
        os._exit(7)
    return current_run().attempt


async def async_crash_until(attempt):
    await asyncio.sleep(0)
    return crash_until(attempt)


def go_on():
    """Do each part once, although the first attempt fails and the run leaves its thread twice."""
    run = current_run()
    kept = run.step(mark, "step")
    if run.attempt == 1:
        raise ValueError("once")
    run.sleep(0.05)
    sent = run.wait_for(f"sent:{run.run_id}")
    rows = [row.text for row in run.iterate(Mark.objects.filter(text="row"), size=2)]
    return [kept, sent, rows, len(run.key("charge"))]


async def async_go_on():
    run = current_run()
    kept = await run.astep(async_mark, "step")
    if run.attempt == 1:
        raise ValueError("once")
    await run.asleep(0.05)
    sent = await run.await_for(f"sent:{run.run_id}")
    rows = [row.text async for row in run.aiterate(Mark.objects.filter(text="row"), size=2)]
    return [kept, sent, rows, len(run.key("charge"))]


def mark_and_fail_until(attempt):
    mark("atomic")
    return fail_until(attempt)


async def async_mark_and_fail_until(attempt):
    return mark_and_fail_until(attempt)


def process_id():
    return os.getpid()


def rest(seconds):
    time.sleep(seconds)
    return seconds


def thread_id():
    return threading.get_ident()


def add_in_turn(text):
    inner = get_job_manager().using(queue_name=current_run().queue_name).add_immediate_job(mark, text)
    return [Run.objects.get(job_id=inner).status, current_run().job_id]
