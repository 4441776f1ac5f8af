import sys
import time
from functools import partial

import pytest
from django.db import connection

from django_jobs.execution import recording
from django_jobs.models import Queue
from django_jobs.storage import notifications
from django_jobs.storage.notifications import sqlite, thread
from django_jobs.storage.notifications.polling import PollListener
from django_jobs.storage.notifications.postgresql import PostgreSQLListener
from django_jobs.storage.notifications.thread import ListenerThread, listener_class
from django_jobs.worker import completer as completer_module
from django_jobs.worker.completer import Completer

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


@pytest.fixture
def add_from_another_process(child_env, zygote):
    """Return a function that adds a job in a process that has ended when it returns."""
    code = (
        "import django; django.setup()\n"
        "from django_jobs import get_job_manager\n"
        "get_job_manager().add_immediate_job('tests.probes.jobs:mark')\n"
    )

    def add():
        zygote.run([sys.executable, "-c", code], child_env).check_returncode()

    return add


def test_another_process_is_heard(hear, listener_thread, add_from_another_process, until):
    heard = hear(notifications.RUNS, notifications.ANYTHING)

    add_from_another_process()

    assert heard.wait(20)


@pytest.mark.parametrize("kind", ["no reports of writes", "a poll"])
def test_another_process_is_heard_where_the_system_reports_less(
    hear, monkeypatch, add_from_another_process, kind
):
    if kind == "no reports of writes":
        monkeypatch.setattr(sqlite, "file_writes", lambda path: None)
    else:
        monkeypatch.setattr(thread, "listener_class", lambda using: PollListener)
    listener_thread, listening = ListenerThread("default"), hear(notifications.ANYTHING)
    listener_thread.start()
    assert listening.wait(10)
    heard = hear(notifications.RUNS, notifications.ANYTHING)

    add_from_another_process()

    assert heard.wait(20)
    listener_thread.stop()


def test_what_the_listener_writes_for_others_is_not_heard_and_what_others_write_is(hear, listener_thread):
    if connection.vendor != "sqlite":
        pytest.skip("only SQLite's listener hears every commit")
    heard = hear(notifications.ANYTHING)

    listener_thread.unheard(lambda: Queue.objects.create(name="a"))
    assert not heard.wait(0.3)

    Queue.objects.create(name="b")
    assert heard.wait(20)


def test_a_workers_outcomes_are_not_heard_and_what_others_write_is(hear, serve, manager, probes, until):
    if connection.vendor != "sqlite":
        pytest.skip("only SQLite's listener hears every commit")
    serve()
    job_id = manager.add_immediate_job(probes.wait_for_go, 20)
    assert probes.began.wait(10)
    heard = hear(notifications.ANYTHING)
    # Runs are added on another connection than the worker's; after its next outcome it knows of that.
    manager.wait(manager.add_immediate_job(probes.give, 1), 10)
    while heard.wait(1):
        heard.clear()

    probes.go_on.set()
    manager.wait(job_id, 10)
    assert not heard.wait(0.5)

    Queue.objects.create(name="b")
    assert heard.wait(20)


@pytest.mark.parametrize("as_call", [False, True], ids=["outcome", "call"])
def test_a_commit_that_is_heard_before_it_has_returned_is_taken_for_the_writers_own(monkeypatch, as_call):
    asked = []

    def write(*args, **kwargs):
        asked.append(completer.looks_for_others())
        return set()

    completer = Completer(using="default", record=write, on_written=lambda batch: None)
    monkeypatch.setattr(completer_module.recording, "report", lambda *args: None)
    if as_call:
        completer.call(write)
    else:
        completer.put(None, None)
    completer.stop()
    completer.run()

    assert asked == [True]


def test_a_writer_that_does_not_look_for_others_in_time_hides_nothing(monkeypatch):
    completer = Completer(
        using="default", record=partial(recording.record, using="default"), on_written=lambda batch: None
    )
    assert not completer.looks_for_others()

    monkeypatch.setattr(completer_module, "LOOK_SECONDS", 60)
    completer.call(lambda: None)
    completer.stop()
    completer.run()
    assert completer.looks_for_others()
    assert completer.looks_for_others()

    in_a_minute = time.monotonic() + 60
    monkeypatch.setattr(completer_module.time, "monotonic", lambda: in_a_minute)
    assert not completer.looks_for_others()


def test_an_error_of_what_the_listener_does_for_others_is_raised_there(listener_thread):
    with pytest.raises(ZeroDivisionError):
        listener_thread.unheard(lambda: 1 / 0)
    listener_thread.stop()
    with pytest.raises(ZeroDivisionError):
        listener_thread.unheard(lambda: 1 / 0)


def test_the_listener_stops_immediately(listener_thread):
    began = time.monotonic()
    listener_thread.stop()

    assert time.monotonic() - began < 15
    assert not listener_thread.is_alive


def test_the_listener_listens_again_after_their_connection_was_cut(hear, listener_thread):
    if listener_class("default") is not PostgreSQLListener:
        pytest.skip("only PostgreSQL's listener (with psycopg 3) has a connection to another process")
    heard, listens = hear(notifications.RUNS), hear(notifications.ANYTHING)

    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND query LIKE 'LISTEN%%'"
        )
    assert listens.wait(10)
    notifications.notify(notifications.RUNS, using="default")

    assert heard.wait(5)
