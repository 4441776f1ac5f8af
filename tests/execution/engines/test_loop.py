import asyncio
import threading
import time

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import User
from django.db import connection

from django_jobs.execution.engines.event_loop import LoopEngine
from django_jobs.execution.sync_thread import SyncThread
from django_jobs.storage import connections


@pytest.fixture
def loop():
    made = LoopEngine()
    yield made
    made.shutdown()


def test_it_awaits_what_it_is_given(loop):
    async def answer():
        await asyncio.sleep(0)
        return 42

    assert loop.submit(answer).result(5) == 42


def test_many_wait_at_the_same_time(loop):
    began = time.monotonic()

    futures = [loop.submit(lambda number=n: asyncio.sleep(0.3, number)) for n in range(200)]

    assert [future.result(10) for future in futures] == list(range(200))
    assert time.monotonic() - began < 30


def test_shutdown_cancels_what_is_awaited(loop):
    cancelled = threading.Event()

    async def wait():
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.set()
            raise

    loop.submit(lambda: asyncio.sleep(0)).result(5)
    loop.submit(wait)
    loop.submit(lambda: asyncio.sleep(0)).result(5)

    loop.shutdown()

    assert cancelled.is_set()
    with pytest.raises(RuntimeError, match="shut down"):
        loop.submit(wait)


@pytest.mark.django_db(transaction=True)
def test_a_coroutine_that_uses_the_database_leaves_no_connection_behind(loop, monkeypatch):
    closed = []
    real = connections.give_back

    def give_back():
        real()
        closed.append((threading.current_thread().name, connection.connection))

    async def work():
        return await User.objects.acount()

    monkeypatch.setattr(connections, "give_back", give_back)

    assert loop.submit(work).result(10) == 0

    assert [raw for _, raw in closed] == [None]


@pytest.mark.django_db(transaction=True)
def test_a_cancel_that_comes_after_the_last_await_takes_no_result_along(loop):
    async def work():
        count = await User.objects.acount()
        asyncio.current_task().cancel()
        return count

    assert loop.submit(work).result(10) == 0


async def is_connected():
    return await sync_to_async(lambda: connection.connection is not None)()


@pytest.mark.django_db(transaction=True)
def test_a_task_that_a_run_left_keeps_no_connection(loop):
    is_over, left, found = threading.Event(), [], []

    async def stay():
        await asyncio.to_thread(is_over.wait, 10)
        found.extend([(await User.objects.acount(), await is_connected()) for _ in range(3)])

    async def work():
        left.append(asyncio.create_task(stay()))
        await User.objects.acount()
        return await is_connected()

    assert loop.submit(work).result(10)
    is_over.set()
    loop.submit(lambda: asyncio.wait(left)).result(10)

    assert found == [(0, False)] * 3


@pytest.mark.django_db(transaction=True)
def test_a_call_that_a_left_task_has_under_way_gives_its_connection_back(loop, monkeypatch):
    goes_on, is_inside, left, found = threading.Event(), threading.Event(), [], []
    real = SyncThread.end_run

    def end_run(thread):
        is_used = real(thread)
        goes_on.set()
        return is_used

    monkeypatch.setattr(SyncThread, "end_run", end_run)

    def query():
        User.objects.count()
        is_inside.set()
        assert goes_on.wait(10)

    async def stay():
        await sync_to_async(query)()
        found.append(await is_connected())

    async def work():
        left.append(asyncio.create_task(stay()))
        assert await asyncio.to_thread(is_inside.wait, 10)

    loop.submit(work).result(10)
    loop.submit(lambda: asyncio.wait(left)).result(10)

    assert found == [False]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    "how", [asyncio.to_thread, sync_to_async(lambda call: call(), thread_sensitive=False)]
)
def test_the_threads_of_a_loop_keep_no_connection(loop, how):
    connected = []

    def query():
        User.objects.count()
        connected.append(connection.connection is not None)

    async def work():
        await how(query)
        # The same thread, which waits for work.
        return await how(lambda: connection.connection is not None)

    assert loop.submit(work).result(10) is False
    assert connected == [True]
