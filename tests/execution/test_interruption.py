import random
import sys
import threading
import time

import pytest

from django_jobs.exceptions import RunInterrupted
from django_jobs.execution.interruption import Interruptible


def spin(seconds=10.0):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass
    return "done"


def test_a_call_that_nobody_interrupts_returns_its_value():
    assert Interruptible().call(lambda: 5) == 5


def test_a_call_is_ended_from_another_thread():
    call = Interruptible()
    threading.Timer(0.1, call.interrupt).start()

    with pytest.raises(RunInterrupted):
        call.call(spin)


def test_a_call_that_was_interrupted_before_it_began_does_not_begin():
    call = Interruptible()
    call.interrupt()

    with pytest.raises(RunInterrupted):
        call.call(lambda: pytest.fail("it began"))


def test_an_interruption_after_the_end_hits_nobody():
    call = Interruptible()
    call.call(lambda: None)

    call.interrupt()

    assert spin(0.05) == "done"


@pytest.fixture
def eager_switching():
    """Threads that take turns often, so that each instant of a call is hit."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


def test_an_interruption_at_the_instant_of_the_end_never_leaves_the_call(eager_switching):
    begin, interrupted = threading.Semaphore(0), threading.Semaphore(0)
    calls = []

    def interrupt():
        for delay in delays:
            begin.acquire()
            end = time.perf_counter() + delay
            while time.perf_counter() < end:
                pass
            calls[-1].interrupt()
            interrupted.release()

    chance = random.Random(7)
    delays = [chance.uniform(0, 0.0004) for _ in range(1500)]
    thread = threading.Thread(target=interrupt, daemon=True)
    thread.start()
    came = {"returned": 0, "interrupted": 0}
    for _ in delays:
        calls.append(Interruptible())
        begin.release()
        try:
            calls[-1].call(lambda: spin(0.0002))
        except RunInterrupted:
            came["interrupted"] += 1
        else:
            came["returned"] += 1
        # Whatever is still under way would be raised here, outside of the call.
        interrupted.acquire()
        spin(0.00005)
    thread.join(10)

    assert sum(came.values()) == len(delays)
    assert min(came.values()) > 0, came
