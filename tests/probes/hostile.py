"""Functions that leave, raise or return what nobody expects."""

import asyncio
import contextlib
import decimal
import multiprocessing
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from contextvars import ContextVar
from pathlib import Path

from asgiref.sync import sync_to_async
from django.db import connection, transaction
from django.utils import timezone, translation

from django_jobs.models import Worker
from tests.probes.models import Mark


class ApiError(Exception):
    """As API clients have it: attributes are those of the answer."""

    def __getattr__(self, name):
        raise KeyError(name)


class Speechless(Exception):
    def __str__(self):
        raise SystemExit("no words")


class Untouchable(Exception):
    def __getattribute__(self, name):
        raise KeyError(name)


KINDS = {kind.__name__: kind for kind in (ApiError, Speechless, Untouchable)}


def raise_indescribable(kind):
    raise KINDS[kind]("no paper")


async def async_raise_indescribable(kind):
    await asyncio.sleep(0)
    raise_indescribable(kind)


def raise_because_of(kind):
    try:
        raise_indescribable(kind)
    except Exception as error:
        raise ValueError("no letter") from error


class Hidden:
    def __getattribute__(self, name):
        raise SystemExit(name)


def return_hidden():
    return Hidden()


_state = ContextVar("tests_state", default="")


def begin_by_hand():
    with connection.cursor() as cursor:
        cursor.execute("BEGIN")
    Mark.objects.create(text="never committed")


def begin_by_driver():
    connection.ensure_connection()
    # Its cursor, not Django's.
    connection.connection.cursor().execute("BEGIN")
    Mark.objects.create(text="never committed")


def begin_and_commit_by_driver():
    connection.ensure_connection()
    connection.connection.cursor().execute("BEGIN")
    Mark.objects.create(text="committed")
    connection.connection.commit()


def stop_commits_of_the_driver():
    connection.ensure_connection()
    connection.connection.autocommit(False)
    Mark.objects.create(text="never committed")


async def async_begin_by_hand():
    await sync_to_async(begin_by_hand)()


def begin_and_commit_by_hand():
    with connection.cursor() as cursor:
        cursor.execute("BEGIN")
        Mark.objects.create(text="committed")
        cursor.execute("COMMIT")


def change_state():
    translation.activate("de")
    timezone.activate("Asia/Tokyo")
    decimal.getcontext().prec = 3
    _state.set("a tenant's")


def see_state():
    return [
        translation.get_language(),
        timezone.get_current_timezone_name(),
        decimal.getcontext().prec,
        _state.get(),
    ]


def change_session():
    with connection.cursor() as cursor:
        for sql in {
            "postgresql": ("SET statement_timeout = '7s'", "SELECT pg_advisory_lock(7)"),
            "mysql": ("SET SESSION max_statement_time = 7",),
            "sqlite": ("PRAGMA busy_timeout = 7",),
        }[connection.vendor]:
            cursor.execute(sql)


def see_session():
    with connection.cursor() as cursor:
        cursor.execute(
            {
                "postgresql": "SELECT current_setting('statement_timeout'),"
                " (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = 7)",
                "mysql": "SELECT @@max_statement_time",
                "sqlite": "PRAGMA busy_timeout",
            }[connection.vendor]
        )
        return [str(value) for value in cursor.fetchone()]


def count_logged_queries():
    Mark.objects.count()
    return len(connection.queries_log)


async def exit_in_a_task():
    async def leave():
        raise SystemExit(3)

    await asyncio.create_task(leave())


async def exit_in_a_task_left_behind():
    async def leave():
        raise KeyboardInterrupt

    asyncio.get_running_loop().create_task(leave())
    await asyncio.sleep(0.01)
    return "ended"


async def stop_the_loop():
    asyncio.get_running_loop().stop()
    await asyncio.sleep(0.01)
    return "ended"


async def raise_in_a_callback():
    asyncio.get_running_loop().call_soon(raise_indescribable, "ApiError")
    await asyncio.sleep(0.01)
    return "ended"


def swallow_once():
    try:
        while True:
            time.sleep(0.01)
    except:  # noqa: E722 - what a careless job does
        return "swallowed"


def swallow_and_go_on():
    for _ in range(2):
        try:
            while True:
                time.sleep(0.01)
        except:  # noqa: E722 - what a careless job does
            pass
    while True:
        time.sleep(0.01)


async def async_swallow_once():
    try:
        await asyncio.sleep(60)
    except:  # noqa: E722 - what a careless job does
        return "swallowed"


async def async_swallow_and_go_on():
    for _ in range(2):
        with contextlib.suppress(BaseException):
            await asyncio.sleep(60)
    await asyncio.sleep(60)


def fork_and_return():
    pid = os.fork()
    if pid:
        os.waitpid(pid, 0)
    return "parent" if pid else "child"


async def async_fork_and_return():
    await asyncio.sleep(0)
    return fork_and_return()


def fork_and_raise():
    pid = os.fork()
    if not pid:
        raise SystemExit(3)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def read_stdin():
    return [sys.stdin.read(), subprocess.run(["cat"], stdout=subprocess.PIPE, text=True).stdout]


def compute_in_processes():
    context = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(2, mp_context=context) as pool:
        return list(pool.map(abs, [-1, -2], timeout=10))


def terminate_what_it_started():
    with subprocess.Popen(["sleep", "60"]) as process:
        process.terminate()
        return process.wait(10)


def terminate_a_process_of_multiprocessing():
    process = multiprocessing.get_context("fork").Process(target=time.sleep, args=[60])
    process.start()
    process.terminate()
    process.join(10)
    return process.exitcode


def leave_a_grandchild():
    pid = os.fork()
    if not pid:
        time.sleep(60)
    Mark.objects.create(text=str(pid))
    time.sleep(60)


def leave_a_thread():
    threading.Thread(target=time.sleep, args=[300], name="left by a job", daemon=False).start()
    return "ended"


async def go_on_in_a_thread():
    def work():
        for step in range(3000):
            Path(os.environ["TESTS_STEPS"]).write_text(str(step))
            time.sleep(0.01)

    await asyncio.to_thread(work)


class Base:
    @classmethod
    def run(cls):
        return cls.__name__


class Sub(Base):
    pass


def take(mark):
    return mark.pk


def fail_on_commit(robust):
    transaction.on_commit(raise_on_commit, robust=robust)
    return "ended"


def raise_on_commit():
    raise LookupError("after the commit")


def see_worker():
    row = Worker.objects.get()
    return [row.has_clock, round((row.lease_expires_at - timezone.now()).total_seconds())]


def outlive_a_lease():
    first = Worker.objects.get().lease_expires_at
    end = time.monotonic() + 20
    while Worker.objects.get().lease_expires_at == first:
        assert time.monotonic() < end
        time.sleep(0.05)
