import threading
from concurrent.futures import Executor

import pytest

from django_jobs.execution.engines import threads
from django_jobs.execution.engines.threads import ThreadEngine
from django_jobs.storage import connections


@pytest.fixture
def engine():
    engines = []

    def make(max_workers=2, **options):
        engines.append(ThreadEngine(max_workers, **options))
        return engines[-1]

    yield make
    for one in engines:
        one.shutdown()


def test_it_is_an_executor(engine):
    made = engine()

    assert isinstance(made, Executor)
    assert sorted(made.map(lambda n: n * n, range(20))) == [n * n for n in range(20)]


def test_what_a_call_raises_goes_to_its_future(engine):
    future = engine().submit(int, "x")

    with pytest.raises(ValueError, match="invalid literal"):
        future.result(5)


def test_threads_start_as_work_comes_and_no_more_than_allowed(engine):
    made = engine(3)
    assert len(made._threads) == 0
    gate = threading.Event()
    running = threading.Semaphore(0)

    def work():
        running.release()
        gate.wait(10)

    futures = [made.submit(work) for _ in range(9)]
    for _ in range(3):
        assert running.acquire(timeout=60)

    assert len(made._threads) == 3
    assert not running.acquire(blocking=False)
    gate.set()
    for future in futures:
        future.result(10)


def test_an_idle_thread_is_used_again(engine):
    made = engine(5)
    for _ in range(20):
        made.submit(int).result(5)
        # It has put its result before it rests: wait until it does.
        while not made._resting:
            pass

    assert len(made._threads) == 1


def test_a_batch_begins_at_once_though_a_thread_rests(engine):
    for _ in range(20):
        made = engine(10)
        made.submit(int).result(5)
        while not made._resting:
            pass
        everybody = threading.Barrier(4)

        for future in [made.submit(everybody.wait, 5) for _ in range(4)]:
            future.result(5)


@pytest.mark.parametrize("count", [1000, 8])
def test_short_calls_wake_few_threads(engine, count, monkeypatch):
    # On a busy machine the thread that calls may be held up for longer than calls are given.
    monkeypatch.setattr(threads, "STALL_SECONDS", 60)
    made = engine(10)
    called = []
    all_made = threading.Event()

    def call(number):
        called.append(number)
        if number == count - 1:
            all_made.set()

    made.call_each(call, [(n,) for n in range(count)], seconds=1e-6)

    assert all_made.wait(10)
    assert sorted(called) == list(range(count))
    # One that calls, and one that watches.
    assert len(made._threads) == 2


def test_a_long_call_does_not_delay_those_that_were_made_with_it(engine):
    made = engine(3)
    others_ended, ended = threading.Event(), threading.Semaphore(0)
    was_in_time = []

    def call(number):
        if number == 0:
            was_in_time.append(others_ended.wait(20))
        ended.release()

    # Each time from the start: with no thread yet, with threads that rest, and with a guard.
    for _ in range(3):
        others_ended.clear()
        made.call_each(call, [(n,) for n in range(20)], seconds=1e-6)
        for _ in range(19):
            assert ended.acquire(timeout=20)
        others_ended.set()
        assert ended.acquire(timeout=20)

    assert was_in_time == [True] * 3


def test_all_threads_are_awake_for_calls_that_are_worth_them(engine):
    made = engine(4)
    everybody = threading.Barrier(5)

    made.call_each(everybody.wait, [(20,)] * 8, seconds=0.1)

    everybody.wait(20)
    everybody.wait(20)


def test_one_call_does_not_wait_behind_many_long_ones_while_a_thread_rests(engine):
    made = engine(3)
    gate, began = threading.Event(), threading.Event()
    made.call_each(gate.wait, [(20,)] * 2, seconds=1e-6)

    made.call(began.set)

    assert began.wait(10)
    gate.set()


def test_waiting_work_can_be_cancelled(engine):
    made = engine(1)
    gate = threading.Event()
    first = made.submit(gate.wait, 10)
    waiting = made.submit(int)

    assert waiting.cancel()

    gate.set()
    assert first.result(5)
    assert waiting.cancelled()


def test_shutdown_refuses_work_and_can_drop_what_waits(engine):
    made = engine(1)
    gate = threading.Event()
    began = threading.Event()

    def work():
        began.set()
        gate.wait(10)

    running = made.submit(work)
    began.wait(5)
    waiting = made.submit(int)
    made.shutdown(wait=False, cancel_futures=True)
    gate.set()
    running.result(5)

    assert waiting.cancelled()
    with pytest.raises(RuntimeError, match="shut down"):
        made.submit(int)


def test_its_threads_do_not_keep_a_process_alive(engine):
    made = engine()
    made.submit(int).result(5)

    assert all(thread.daemon for thread in made._threads)


def test_a_thread_that_rests_gives_its_connections_back(engine, monkeypatch):
    given_back = threading.Event()
    monkeypatch.setattr(connections, "give_back", given_back.set)

    engine(1, idle_seconds=0.01).submit(int).result(5)

    assert given_back.wait(5)


def test_what_no_thread_can_be_started_for_waits_for_the_next_that_can(engine, monkeypatch):
    made = engine(2)
    with monkeypatch.context() as refusing:

        def refuse(thread):
            raise RuntimeError("can't start new thread")

        refusing.setattr(threading.Thread, "start", refuse)
        waiting = [made.submit(int, text) for text in ("1", "2", "3")]
        assert made._threads == []

    assert made.submit(int, "4").result(5) == 4
    assert [future.result(5) for future in waiting] == [1, 2, 3]


def test_a_thread_that_dies_is_replaced(monkeypatch, caplog):
    engine = ThreadEngine(1, idle_seconds=0.01)
    real, failed = connections.tidy, []

    def fail_once(*args):
        if not failed:
            failed.append(args)
            raise SystemExit("gone")
        real(*args)

    monkeypatch.setattr(connections, "tidy", fail_once)
    engine.submit(lambda: None)

    assert engine.submit(lambda: 42).result(10) == 42
    assert "died, and is replaced" in caplog.text
    engine.shutdown()
