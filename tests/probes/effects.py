"""Functions whose effects are rows, to be counted: once, with what ends their run."""

import threading
import time

from asgiref.sync import sync_to_async
from django.db import connection, transaction

from django_jobs import current_run, get_job_manager, job
from django_jobs.models import Run
from tests.probes import ledger
from tests.probes.models import Mark

# What a process does that is to be killed around the end of its function.
tell = None
# Set and waited for by tests that run in the same process.
began = threading.Event()
go_on = threading.Event()


def wait_for_go():
    began.set()
    assert go_on.wait(10)


def fail():
    raise ValueError("it went wrong")


def fail_once():
    if current_run().attempt == 1:
        raise ValueError("once")


def add_one_more():
    get_job_manager().add_immediate_job(leave_mark, "added", job_id="added")


def fail_on_commit():
    transaction.on_commit(fail)


def break_the_transaction():
    with connection.cursor() as cursor:
        try:
            cursor.execute("SELECT 1 FROM there_is_no_such_table")
        except Exception:  # noqa: BLE001 - what careless code does
            return


def leave_mark(text="left"):
    Mark.objects.create(text=text)


@job(atomic=True)
def mark_once(then=""):
    Mark.objects.create(text="marked")
    if then:
        return globals()[then]()
    return "marked"


@job(atomic=True)
def return_what_cannot_be_stored():
    Mark.objects.create(text="marked")
    return object()


@job(atomic=True)
def note_once(text=""):
    ledger.note(text)
    Mark.objects.create(text=text or "noted")


@job(atomic=True)
def mark_this_run():
    if tell is not None:
        tell()
    Mark.objects.create(text=f"{current_run().run_id} done")


def complete_this_run():
    with current_run().complete():
        Mark.objects.create(text=f"{current_run().run_id} done")


def complete(in_block="", after=""):
    with current_run().complete() as outcome:
        Mark.objects.create(text="completed")
        outcome.result = {"marks": 1}
        if in_block:
            globals()[in_block]()
    if after:
        globals()[after]()
    return "not recorded"


def complete_twice():
    complete()
    complete()


def complete_in_a_transaction():
    with transaction.atomic():
        complete()


@job(atomic=True)
def complete_what_is_atomic():
    complete()


def complete_with_a_result_that_cannot_be_stored():
    with current_run().complete() as outcome:
        Mark.objects.create(text="completed")
        outcome.result = object()


async def complete_from_async():
    await sync_to_async(complete)()
    return "not recorded"


async def complete_on_the_loop():
    with current_run().complete():
        pass


def see_the_loss():
    # What a rescue does: the run is another worker's from now on.
    Run.objects.filter(pk=current_run().run_id).update(fence=1)
    try:
        complete()
    except Exception:  # noqa: BLE001 - it must not be caught here
        leave_mark("caught")
    except BaseException as loss:
        leave_mark(f"saw {type(loss).__name__}, which is no Exception")
        raise


@job(atomic=True)
def add_one_more_and_fail():
    add_one_more()
    fail()


def sleep_on():
    while True:
        time.sleep(0.01)


@job(atomic=True)
def mark_and_hold(gate):
    Mark.objects.create(text="held")
    ledger.hold(gate)


def note_and_complete():
    ledger.note()
    complete()


def hold_and_complete(gate):
    ledger.hold(gate)
    try:
        complete()
    except BaseException as loss:
        ledger.write("lost", reason=type(loss).__name__)
        raise
