"""Functions to call as jobs."""

import ast
import asyncio
import itertools
import logging
import os
import signal
import subprocess
import threading
import time

from asgiref.sync import sync_to_async
from django.db import connection, transaction
from django.db.backends.signals import connection_created

from django_jobs import GiveUp, RetryLater, current_run, get_job_manager, job
from tests.probes.models import Mark

# Set and waited for by tests that run in the same process.
began = threading.Event()
go_on = threading.Event()


def mark(text="called"):
    Mark.objects.create(text=text)
    return text


def nothing():
    return None


def give(value):
    return value


def add(a, b=2, *, c=0):
    return a + b + c


def process_id():
    return os.getpid()


def print_json():
    print('["outcome", {}]', flush=True)  # noqa: T201 - what a careless job does
    os.system("echo and so does what it starts")
    return "printed"


def fail(message="it went wrong"):
    raise ValueError(message)


# How many of `count_at_once` are awaited, and at most were.
at_once = {"now": 0, "most": 0}


async def count_at_once(seconds):
    at_once["now"] += 1
    at_once["most"] = max(at_once.values())
    try:
        await asyncio.sleep(seconds)
    finally:
        at_once["now"] -= 1


async def query_then_compute(seconds):
    await Mark.objects.acount()
    began.set()
    # Its last section, without an await: what it is told meanwhile comes when it has ended.
    time.sleep(seconds)
    return "done"


async def tidy_up_in_time(seconds):
    try:
        await asyncio.sleep(30)
    finally:
        await asyncio.sleep(seconds)
        await Mark.objects.acreate(text="tidied up")


def fail_until(attempt):
    run = current_run()
    assert run is not None
    if run.attempt < attempt:
        raise ValueError(f"attempt {run.attempt}")
    return run.attempt


def wait_for_go(seconds=10):
    began.set()
    assert go_on.wait(seconds)
    return "gone on"


def work_without_asking():
    began.set()
    while True:
        time.sleep(0.01)


def tidy_up_when_told():
    run = current_run()
    while not run.is_cancelled:
        time.sleep(0.01)
    Mark.objects.create(text="tidied up")


def hear_and_go_on():
    run = current_run()
    while True:
        run.wait(0.01)
        time.sleep(0.01)


def ask_for_another_try(last):
    run = current_run()
    if run.attempt < last:
        raise RetryLater(0, f"try {run.attempt}")
    return run.attempt


def give_up():
    raise GiveUp("no such customer")


def fail_with(literal, length):
    text = ast.literal_eval(literal)
    raise ValueError(text + "x" * (length - len(text)))


def log_anything():
    current_run().log("a\x00b")
    current_run().log("caf\udce9")


def wait_until_told():
    run = current_run()
    began.set()
    run.wait(20)
    return run.stop_reason


def raise_when_told():
    run = current_run()
    began.set()
    run.wait(20)
    raise RuntimeError(f"told: {run.stop_reason}")


def sleep(seconds, text="slept"):
    Mark.objects.create(text=f"{text} begins")
    time.sleep(seconds)
    Mark.objects.create(text=f"{text} ends")


def leave_transaction_open():
    transaction.set_autocommit(False)
    Mark.objects.create(text="never committed")


_opened = threading.local()


def _count(**_):
    _opened.count = getattr(_opened, "count", 0) + 1


connection_created.connect(_count)


def connections_opened():
    connection.ensure_connection()
    return _opened.count


def kill_process():
    os._exit(7)


def report():
    run = current_run()
    run.log("began with %s", "this")
    run.set_progress(1, 4, "first quarter")
    return {"job_id": run.job_id, "attempt": run.attempt, "queue": run.queue_name}


def unstorable():
    return object()


async def mark_async(text="awaited"):
    await Mark.objects.acreate(text=text)
    return text


async def rest(seconds):
    await asyncio.sleep(seconds)
    return seconds


async def await_long():
    began.set()
    await asyncio.sleep(60)


async def fail_async():
    raise LookupError("async went wrong")


@job(queue_name="special", priority=7, name="the decorated one")
def decorated(x=1):
    return x


@job(tags=["far"])
def tagged():
    pass


@job(timeout=60, expires=60)
def limited():
    return "in time"


class Tools:
    @staticmethod
    def double(x):
        return 2 * x

    def method(self):
        return self


def make_text(length):
    return "x" * length


def add_another(text):
    get_job_manager().add_immediate_job(mark, text)


def takes_our_words(func, run_at, trigger, timezone):
    return [func, run_at, trigger, timezone]


def log_in(user, password):
    return user


def name_of(user):
    return user.username


def log_a_line(logger):
    logging.getLogger(logger).info("in a run")
    return current_run().run_id


async def log_a_line_async(logger):
    await asyncio.sleep(0)
    return log_a_line(logger)


async def log_a_line_in_a_helper(logger):
    return await sync_to_async(log_a_line)(logger)


def wrapped_async():
    return rest(0)


def trace_id():
    from opentelemetry import trace

    with _provider_of_the_run().get_tracer("a job").start_as_current_span("inside") as span:
        return trace.format_trace_id(span.get_span_context().trace_id)


async def trace_id_async():
    await asyncio.sleep(0)
    return trace_id()


def _provider_of_the_run():
    """The provider that observes the run, as `instrument()` was given it; else that of the process."""
    from opentelemetry import trace

    from django_jobs.execution import instrumentation

    given = (getattr(one, "_provider", None) for one in instrumentation.installed)
    return next(filter(None, given), trace.get_tracer_provider())


def wait_for_mark(text):
    run = current_run()
    run.set_progress(1, 4, f"waits for {text}")
    while not Mark.objects.filter(text=text).exists() and not run.wait(0.02):
        pass
    return text


def rocket():
    return "🚀"


def talk(text="one", more="two"):
    """Say something, wait, and say something else."""
    run = current_run()
    run.log("%s", text)
    run.log("careful", level="WARNING")
    began.set()
    go_on.wait(20)
    run.log("%s", more)


async def talk_async():
    current_run().log("awaited")
    began.set()
    while not go_on.is_set():
        await asyncio.sleep(0.02)


def talk_by_logging():
    log = logging.getLogger("shop")
    log.warning("stock of %s is low", "tea")
    log.error("no %s", "tea")


def talk_and_wait_for(path):
    """Say something, and go on once a file is there."""
    current_run().log("told to wait")
    while not os.path.exists(path):  # noqa: PTH110 - as short as can be
        time.sleep(0.02)
    current_run().log("told to go on")


def talk_until_killed(path):
    """Say numbers, each after its time was written to a file."""
    with open(path, "w", buffering=1) as file:  # noqa: PTH123 - as short as can be
        for number in itertools.count():
            file.write(f"{time.time()}\n")
            current_run().log("%d", number)
            time.sleep(0.01)


def schedule_of_run():
    run = current_run()
    return [run.scheduled_at.isoformat(), run.previous_scheduled_at.isoformat()]


def write_everything(name):
    """Write by the ORM, in a transaction and by a statement; add a job, and say and return something."""
    written = Mark.objects.create(text=name)
    with transaction.atomic():
        Mark.objects.filter(pk=written.pk).update(text=f"{name} again")
    transaction.on_commit(lambda: Mark.objects.create(text="on commit"))
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM probes_mark WHERE text = 'kept'")
    get_job_manager().add_immediate_job(nothing, job_id=f"of-{name}")
    current_run().log("wrote %s", name)
    return written


def write_and_fail(name):
    Mark.objects.create(text=name)
    raise ValueError(f"cannot write {name}")


def leave_processes(count):
    """Start processes that outlive those that started them."""
    for _ in range(count):
        subprocess.run(["sh", "-c", "sleep 0.2 &"], check=True)
    return count


def hear_signals():
    """Set a handler, which Python allows in the main thread only."""
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    return "heard"
