import asyncio
import threading
import time

import pytest
from django.contrib.auth.models import User
from django.db import connection

from django_jobs.execution.engines.event_loop import LoopEngine
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
    assert time.monotonic() - began < 5


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
