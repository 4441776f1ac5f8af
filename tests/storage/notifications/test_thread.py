import subprocess
import sys
import time

import pytest
from django.db import connection

from django_jobs.models import Queue
from django_jobs.storage import notifications
from django_jobs.storage.notifications import sqlite
from django_jobs.storage.notifications.polling import PollListener
from django_jobs.storage.notifications.postgresql import PostgreSQLListener
from django_jobs.storage.notifications.thread import ListenerThread

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def listener_thread(hear):
    listening = hear(notifications.ANYTHING)
    made = ListenerThread("default")
    made.start()
    # Its first notice is its own, when it begins to listen.
    assert listening.wait(10)
    yield made
    made.stop()


def add_from_another_process(env):
    code = (
        "import django; django.setup()\n"
        "from django_jobs import get_job_manager\n"
        "get_job_manager().add_immediate_job('tests.probes.jobs:mark')\n"
    )
    subprocess.run([sys.executable, "-c", code], env=env, check=True, timeout=60)


def test_another_process_is_heard(hear, listener_thread, child_env, until):
    heard = hear(notifications.RUNS, notifications.ANYTHING)

    add_from_another_process(child_env)

    assert heard.wait(2)


@pytest.mark.parametrize("kind", ["no reports of writes", "a poll"])
def test_another_process_is_heard_where_the_system_reports_less(hear, monkeypatch, child_env, kind):
    if kind == "no reports of writes":
        monkeypatch.setattr(sqlite, "file_writes", lambda path: None)
    else:
        monkeypatch.setattr(ListenerThread, "_listener_class", lambda self: PollListener)
    listener_thread, listening = ListenerThread("default"), hear(notifications.ANYTHING)
    listener_thread.start()
    assert listening.wait(10)
    heard = hear(notifications.RUNS, notifications.ANYTHING)

    add_from_another_process(child_env)

    assert heard.wait(2)
    listener_thread.stop()


def test_what_the_listener_writes_for_others_is_not_heard_and_what_others_write_is(
    hear, listener_thread, until
):
    if connection.vendor != "sqlite":
        pytest.skip("only SQLite's listener hears every commit")
    until(lambda: listener_thread._listener is not None)
    heard = hear(notifications.ANYTHING)

    listener_thread.unheard(lambda: Queue.objects.create(name="a"))
    assert not heard.wait(0.3)

    Queue.objects.create(name="b")
    assert heard.wait(2)


def test_an_error_of_what_the_listener_does_for_others_is_raised_there(listener_thread, until):
    until(lambda: listener_thread._listener is not None)

    with pytest.raises(ZeroDivisionError):
        listener_thread.unheard(lambda: 1 / 0)
    listener_thread.stop()
    with pytest.raises(ZeroDivisionError):
        listener_thread.unheard(lambda: 1 / 0)


def test_the_listener_stops_immediately(listener_thread):
    began = time.monotonic()
    listener_thread.stop()

    assert time.monotonic() - began < 2
    assert not listener_thread._thread.is_alive()


def test_the_listener_listens_again_after_their_connection_was_cut(hear, listener_thread, until):
    if listener_thread._listener_class() is not PostgreSQLListener:
        pytest.skip("only PostgreSQL's listener (with psycopg 3) has a connection to another process")
    heard = hear(notifications.RUNS)
    until(lambda: listener_thread._listener is not None)
    first = listener_thread._listener

    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s)", [first._connection.connection.info.backend_pid])
    until(lambda: listener_thread._listener is not None and listener_thread._listener is not first)
    heard.clear()
    notifications.notify(notifications.RUNS, using="default")

    assert heard.wait(5)
