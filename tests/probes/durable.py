"""Functions that keep what they have done: steps, waits and loops."""

import threading
import time
import weakref
from datetime import timedelta

from django.db import connection, transaction

from django_jobs import Retry, current_run, get_job_manager, job
from tests.probes.models import Mark

# Set and waited for by tests that run in the same process.
began = threading.Event()
go_on = threading.Event()
# What a test has a function do: a list of calls, so that it can be another one at the next attempt.
script = []


def do(text):
    Mark.objects.create(text=text)
    return f"did {text}"


def follow_script():
    """Do what a test says, which may change between attempts."""
    return [part(current_run()) for part in script]


def fail(run=None):
    raise ValueError("it went wrong")


def fail_once(run=None):
    if current_run().attempt == 1:
        raise ValueError("once")


def fail_times(times):
    count = Mark.objects.filter(text="tried").count()
    Mark.objects.create(text="tried")
    if count < times:
        raise ValueError(f"try {count + 1}")
    return "at last"


def mark_run(text):
    Mark.objects.create(text=f"{current_run().run_id} {text}")
    return text


def mark_steps(is_atomic):
    return [current_run().step(mark_run, name, name=name, atomic=is_atomic) for name in "ab"]


def mark_rows(is_atomic):
    """Mark the run for each of five rows, in pages of two."""
    rows = Mark.objects.filter(text__startswith="row")
    for row in current_run().iterate(rows, size=2, atomic=is_atomic):
        mark_run(row.text[-1])


def count_rows(is_atomic):
    """Add a letter to each row's text, in SQL."""
    joined = "CONCAT(text, 'x')" if connection.vendor == "mysql" else "text || 'x'"
    statement = f"UPDATE {Mark._meta.db_table} SET text = {joined} WHERE id = %s"
    with connection.cursor() as cursor:
        for row in current_run().iterate(Mark.objects.all(), atomic=is_atomic):
            cursor.execute(statement, [row.pk])


def mark_around_a_sleep():
    run = current_run()
    run.step(mark_run, "a", name="a", atomic=True)
    run.sleep(0.01)
    run.step(mark_run, "b", name="b", atomic=True)


def send_and_mark():
    """Get an event that the run has sent itself, and mark what was sent."""
    run = current_run()
    run.step(send_to_this_run, atomic=True)
    run.step(mark_run, run.wait_for(f"sent:{run.run_id}"), name="a", atomic=True)


def send_to_this_run():
    get_job_manager().send_event(f"sent:{current_run().run_id}", "a")


def unstorable():
    Mark.objects.create(text="unstorable")
    return object()


def step_in_a_step():
    return current_run().step(do, "inner")


def step_in_a_transaction():
    with transaction.atomic():
        current_run().step(do, "inside")


@job(atomic=True)
def step_in_an_atomic_function():
    current_run().step(do, "inside")


def step_without_a_name():
    current_run().step(lambda: 1)


async def do_async(text):
    await Mark.objects.acreate(text=text)
    return f"did {text}"


async def steps_async():
    run = current_run()
    first = await run.astep(do_async, "one")
    if run.attempt == 1:
        raise ValueError("once")
    return [first, await run.astep(do_async, "two")]


def keep_a_step():
    return current_run().step(do, "kept", name="kept")


async def keep_a_step_async():
    return await current_run().astep(do_async, "kept", name="kept")


async def retrying_step_async():
    tried = []

    async def try_it():
        tried.append(None)
        if len(tried) < 3:
            raise ValueError(f"try {len(tried)}")
        return len(tried)

    return await current_run().astep(try_it, name="retrying", retry=Retry(max_attempts=5, delay=0, jitter=0))


def rest_at_each_row():
    """Do something for each row, and leave the thread for a moment."""
    run = current_run()
    for row in run.iterate(Mark.objects.filter(text="row"), size=10):
        touch(row)
        run.sleep(0.001)


async def rest_at_each_row_async():
    run = current_run()
    async for row in run.aiterate(Mark.objects.filter(text="row"), size=10):
        await Mark.objects.acreate(text=f"touched {row.pk}")
        await run.asleep(0.001)


def steps_around_loops():
    """Take steps of one name in loops in each other, after them, and after a `break`; fail in the second page."""
    run = current_run()
    rows = Mark.objects.filter(text="row")
    for number, row in enumerate(run.iterate(rows, size=2, name="outer")):
        run.step(do, f"before {row.pk}")
        for inner in run.iterate(rows, size=2, name="inner"):
            run.step(do, f"in {row.pk} {inner.pk}")
        run.step(do, f"after {row.pk}")
        if run.attempt == 1 and number == 2:
            raise ValueError("once")
    for first in run.iterate(rows, name="left"):
        pk = first.pk
        break
    run.step(do, f"last {pk}")


async def steps_around_loops_async():
    run = current_run()
    rows = Mark.objects.filter(text="row")
    number = 0
    async for row in run.aiterate(rows, size=2, name="outer"):
        await run.astep(do_async, f"before {row.pk}")
        async for inner in run.aiterate(rows, size=2, name="inner"):
            await run.astep(do_async, f"in {row.pk} {inner.pk}")
        await run.astep(do_async, f"after {row.pk}")
        number += 1
        if run.attempt == 1 and number == 3:
            raise ValueError("once")
    async for first in run.aiterate(rows, name="left"):
        pk = first.pk
        break
    await run.astep(do_async, f"last {pk}")


async def plain_step_in_async():
    current_run().step(do, "one")


def retrying_step(delay=0):
    return current_run().step(
        fail_times, 2, name="retrying", retry=Retry(max_attempts=5, delay=delay, jitter=0)
    )


def return_the_key():
    if current_run().attempt == 1:
        Mark.objects.create(text=current_run().key("charge"))
        raise ValueError("once")
    return [current_run().key("charge"), current_run().key("mail")]


# Waits


def sleep_between(seconds):
    run = current_run()
    run.step(do, "before", name="before")
    run.sleep(timedelta(seconds=seconds))
    run.step(do, "after", name="after")
    return run.attempt


async def sleep_between_async(seconds):
    run = current_run()
    await run.astep(do_async, "before", name="before")
    await run.asleep(seconds)
    return await run.astep(do_async, "after", name="after")


def swallow_the_sleep(seconds):
    try:
        current_run().sleep(seconds)
    except BaseException:  # noqa: BLE001 - what careless code does
        return "went on"
    return "woke"


def swallow_exceptions_only(seconds):
    try:
        current_run().sleep(seconds)
    except Exception:  # noqa: BLE001 - it must not be caught here
        return "went on"
    return "woke"


def wait_for(event, timeout=None):
    try:
        return current_run().wait_for(event, timeout=timeout)
    except TimeoutError as error:
        return f"TimeoutError: {error}"


async def wait_for_async(event):
    return await current_run().await_for(event)


def wait_twice(event):
    run = current_run()
    return [run.wait_for(event), run.wait_for(event)]


def sleep_in_a_step():
    current_run().step(current_run().sleep, 1, name="sleeping")


def sleep_in_a_transaction():
    with transaction.atomic():
        current_run().sleep(1)


def sleep_now():
    current_run().sleep(3600)


# Loops


def touch_all(size, *, atomic=False):
    """Note each row that is iterated."""
    for row in current_run().iterate(Mark.objects.filter(text="row"), size=size, atomic=atomic):
        touch(row)
    return Mark.objects.filter(text__startswith="touched").count()


def touch(row):
    Mark.objects.create(text=f"touched {row.pk}")


def fail_at_once_in_a_loop(size, at, *, atomic=False):
    """Fail in the first attempt at some row."""
    run = current_run()
    for number, row in enumerate(run.iterate(Mark.objects.filter(text="row"), size=size, atomic=atomic)):
        if run.attempt == 1 and number == at:
            raise ValueError("once")
        touch(row)


async def fail_at_once_in_a_loop_async(size, at):
    run = current_run()
    number = 0
    async for row in run.aiterate(Mark.objects.filter(text="row"), size=size):
        if run.attempt == 1 and number == at:
            raise ValueError("once")
        await Mark.objects.acreate(text=f"touched {row.pk}")
        number += 1


def record_odd_rows(size, *, atomic=False):
    run = current_run()
    for row in run.iterate(Mark.objects.filter(text="row"), size=size, on_error="record", atomic=atomic):
        touch(row)
        if row.pk % 2:
            raise ValueError(f"row {row.pk} is odd")
    return "done"


def break_then_fail():
    for _row in current_run().iterate(Mark.objects.filter(text="row"), size=2, on_error="record"):
        break
    raise ValueError("after the loop")


def steps_of_rows(size):
    """Take a step for each row, and fail once in between."""
    run = current_run()
    done = []
    for number, row in enumerate(run.iterate(Mark.objects.filter(text="row").order_by("-pk"), size=size)):
        if run.attempt == 1 and number == 3:
            raise ValueError("once")
        done.append(run.step(touch_step, row.pk))
    return done


def touch_step(pk):
    Mark.objects.create(text=f"touched {pk}")
    return pk


def touch_at_a_pace(size, pace):
    began = time.monotonic()
    for row in current_run().iterate(Mark.objects.filter(text="row"), size=size, pace=pace):
        touch(row)
    return time.monotonic() - began


def count_living_rows(size):
    """Return how many rows were alive at most."""
    alive, most = weakref.WeakSet(), 0
    for row in current_run().iterate(Mark.objects.filter(text="row"), size=size):
        alive.add(row)
        most = max(most, len(alive))
    return most


def wait_in_a_loop():
    run = current_run()
    for row in run.iterate(Mark.objects.filter(text="row"), size=2):
        began.set()
        touch(row)
        assert go_on.wait(10)


async def touch_all_async(size):
    rows = current_run().aiterate(Mark.objects.filter(text="row"), size=size)
    return len([row.text async for row in rows])
