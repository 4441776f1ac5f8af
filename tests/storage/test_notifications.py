import os
import select
import socket
import subprocess
import sys
import threading
import time
from datetime import timedelta

import pytest
from django.db import OperationalError, connection, transaction
from django.utils import timezone

from django_jobs.models import Queue, Run
from django_jobs.storage import inotify, notifications

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def hear():
    """Return a function that subscribes, and gives an event that is set when a topic is heard."""
    subscribers = []

    def subscribe(*topics):
        heard = threading.Event()

        def subscriber(topic):
            if topic in topics:
                heard.set()

        notifications.subscribe(subscriber)
        subscribers.append(subscriber)
        return heard

    yield subscribe
    for subscriber in subscribers:
        notifications.unsubscribe(subscriber)


@pytest.fixture
def listener_thread(hear):
    listening = hear(notifications.ANYTHING)
    made = notifications.ListenerThread("default")
    made.start()
    # Their first word is their own, when they begin to listen.
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


def test_this_process_hears_at_once_outside_a_transaction(hear):
    heard = hear(notifications.RUNS)

    notifications.notify(notifications.RUNS, using="default")

    assert heard.is_set()


def test_nobody_hears_of_a_transaction_before_it_commits_or_if_it_does_not(hear):
    heard = hear(notifications.RUNS)

    with transaction.atomic():
        notifications.notify(notifications.RUNS, using="default")
        assert not heard.is_set()
        transaction.set_rollback(True)
    assert not heard.is_set()

    with transaction.atomic():
        notifications.notify(notifications.RUNS, using="default")
    assert heard.is_set()


def test_another_process_is_heard(hear, listener_thread, child_env, until):
    heard = hear(notifications.RUNS, notifications.ANYTHING)

    add_from_another_process(child_env)

    assert heard.wait(2)


@pytest.mark.parametrize("kind", ["no word of writes", "no word at all"])
def test_another_process_is_heard_where_the_system_says_less(hear, monkeypatch, child_env, kind):
    if kind == "no word of writes":
        monkeypatch.setattr(notifications, "file_writes", lambda path: None)
    else:
        monkeypatch.setattr(
            notifications.ListenerThread, "_listener_class", lambda self: notifications._PollListener
        )
    listener_thread, listening = notifications.ListenerThread("default"), hear(notifications.ANYTHING)
    listener_thread.start()
    assert listening.wait(10)
    heard = hear(notifications.RUNS, notifications.ANYTHING)

    add_from_another_process(child_env)

    assert heard.wait(2)
    listener_thread.stop()


def test_where_no_word_is_sent_due_jobs_are_found_and_others_are_not(hear, make_job):
    make_job()
    listener = notifications._PollListener("default")
    assert [listener.wait(0.01) for _ in range(3)] == [None] * 3

    make_job(next_run_time=timezone.now() - timedelta(seconds=1))

    assert listener.wait(0.01) == notifications.JOBS
    listener.close()


def test_where_no_word_is_sent_what_stays_due_is_asked_for_less_and_less_often(make_run):
    make_run()
    listener = notifications._PollListener("default")
    listener.SHORTEST, listener.LONGEST = 0.001, 0.005

    assert listener.wait(1) == notifications.RUNS
    soon = listener._interval
    assert [listener.wait(1) for _ in range(5)] == [notifications.RUNS] * 5
    late = listener._interval
    Run.objects.all().delete()
    assert listener.wait(1) is None
    make_run()
    assert listener.wait(1) == notifications.RUNS

    assert (soon, late, listener._interval) == (0.001, 0.005, 0.001)
    listener.close()


def test_descriptors_of_a_process_with_many_open_files_are_heard():
    fcntl, resource = pytest.importorskip("fcntl"), pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 2048:
        pytest.skip("no more than 1024 files may be open here")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2048), hard))
    here, there = socket.socketpair()
    high = fcntl.fcntl(here.fileno(), fcntl.F_DUPFD, 1100)
    try:
        assert notifications._readable([high], 0) == []
        there.send(b".")
        assert notifications._readable([high], 5) == [high]
    finally:
        os.close(high)
        here.close()
        there.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_the_listening_connection_notices_a_silent_cut_unless_settings_say_otherwise(monkeypatch):
    if notifications.ListenerThread("default")._listener_class() is not notifications._PostgreSQLListener:
        pytest.skip("only PostgreSQL's listener (with psycopg 3) has a connection to another process")
    options = {**connection.settings_dict["OPTIONS"], "keepalives_count": 7}
    monkeypatch.setitem(connection.settings_dict, "OPTIONS", options)

    listener = notifications._PostgreSQLListener("default")
    given = listener._connection.connection.info.get_parameters()
    listener.close()

    assert (given["keepalives_idle"], given["keepalives_count"]) == ("60", "7")


def test_what_ears_write_for_others_is_not_heard_and_what_others_write_is(hear, listener_thread, until):
    if connection.vendor != "sqlite":
        pytest.skip("only SQLite's listener hears every commit")
    until(lambda: listener_thread._listener is not None)
    heard = hear(notifications.ANYTHING)

    listener_thread.unheard(lambda: Queue.objects.create(name="a"))
    assert not heard.wait(0.3)

    Queue.objects.create(name="b")
    assert heard.wait(2)


def test_an_error_of_what_ears_do_for_others_is_the_others(listener_thread, until):
    until(lambda: listener_thread._listener is not None)

    with pytest.raises(ZeroDivisionError):
        listener_thread.unheard(lambda: 1 / 0)
    listener_thread.stop()
    with pytest.raises(ZeroDivisionError):
        listener_thread.unheard(lambda: 1 / 0)


@pytest.mark.skipif(sys.platform != "linux", reason="inotify is Linux's")
def test_writes_to_a_file_and_what_lies_beside_it_under_its_name_are_told(tmp_path):
    writes = inotify.file_writes(str(tmp_path / "db.sqlite3"))
    assert writes is not None

    (tmp_path / "other").write_text("x")
    assert not writes.happened()
    (tmp_path / "db.sqlite3-wal").write_text("x")
    assert select.select([writes], [], [], 5)[0]
    assert writes.happened()
    assert not writes.happened()
    writes.close()


def test_there_is_no_word_of_a_file_that_is_not_there():
    assert inotify.file_writes("") is None
    assert inotify.file_writes("/no/such/directory/db.sqlite3") is None


def test_ears_stop_at_once(listener_thread):
    began = time.monotonic()
    listener_thread.stop()

    assert time.monotonic() - began < 2
    assert not listener_thread._thread.is_alive()


def test_ears_listen_again_after_their_connection_was_cut(hear, listener_thread, until):
    if listener_thread._listener_class() is not notifications._PostgreSQLListener:
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


def test_work_is_not_undone_by_a_notice_that_could_not_be_sent(caplog, monkeypatch):
    if connection.vendor != "postgresql":
        pytest.skip("only PostgreSQL sends notices")

    def broken():
        raise OperationalError("cut")

    monkeypatch.setattr(connection, "cursor", broken)

    notifications._tell(notifications.RUNS, "default")

    assert "were not told" in caplog.text
