import threading
import time

import pytest
from django.db import OperationalError, connection, connections, transaction

from django_jobs import signals
from django_jobs.storage import connections as care
from django_jobs.storage.connections import ConnectionBackoff
from tests.probes.models import Mark

pytestmark = pytest.mark.django_db(transaction=True)


def in_thread(work):
    """Call something on a thread of its own, which has connections of its own."""
    result = []

    def call():
        try:
            result.append(work())
        finally:
            connections.close_all()

    thread = threading.Thread(target=call)
    thread.start()
    thread.join(20)
    assert result, "it raised"
    return result[0]


def test_a_healthy_connection_is_kept_whatever_conn_max_age_says():
    def work():
        connection.ensure_connection()
        raw = connection.connection
        connection.close_at = time.monotonic() - 1  # as with CONN_MAX_AGE = 0, Django's default
        care.tidy()
        return connection.connection is raw

    assert in_thread(work)


def test_a_connection_older_than_a_positive_conn_max_age_is_replaced(monkeypatch):
    monkeypatch.setitem(connection.settings_dict, "CONN_MAX_AGE", 60)

    def work():
        connection.ensure_connection()
        assert connection.settings_dict["CONN_MAX_AGE"] == 60
        connection.close_at = time.monotonic() - 1
        care.tidy()
        return connection.connection is None

    assert in_thread(work)


def test_a_connection_that_broke_is_replaced():
    def work():
        connection.ensure_connection()
        connection.errors_occurred = True
        # This thread's own, gone with it.
        connections["default"].is_usable = lambda: False
        care.tidy()
        return connection.connection is None

    assert in_thread(work)


def test_a_connection_that_rested_long_is_asked_whether_it_answers():
    def work():
        connection.ensure_connection()
        asked = []
        connections["default"].is_usable = lambda: asked.append(1) or True
        care.tidy(rested_seconds=1)
        care.tidy(rested_seconds=3600)
        return asked, connection.connection is not None

    assert in_thread(work) == ([1], True)


def test_an_open_transaction_is_rolled_back_with_its_locks(caplog):
    def work():
        block = transaction.atomic()
        block.__enter__()
        Mark.objects.create(text="never committed")
        care.end_transactions()
        return Mark.objects.count(), connection.in_atomic_block

    assert in_thread(work) == (0, False)
    assert "left a transaction open" in caplog.text


def test_what_a_thread_connected_is_looked_after_however_often_it_connects_again():
    def work():
        for _ in range(3):
            connection.ensure_connection()
            connection.close()
        connection.set_autocommit(False)
        return care.end_transactions(), connection.connection

    assert in_thread(work) == (["default"], None)


def test_a_connection_that_the_project_made_besides_is_left_to_it():
    def work():
        own = connections.create_connection("default")
        own.inc_thread_sharing()
        try:
            own.set_autocommit(False)
            return care.end_transactions(), own.connection is not None
        finally:
            own.close()

    assert in_thread(work) == ([], True)


def test_a_connection_that_was_cut_once_is_no_outage():
    events = []

    def lost(**event):
        events.append(event)

    signals.database_lost.connect(lost)
    signals.database_back.connect(lost)

    def work():
        backoff = ConnectionBackoff("clock", "default")
        delay = backoff.failed(OperationalError("gone"))
        backoff.worked()
        return delay

    assert in_thread(work) <= 0.15
    assert events == []


def test_two_threads_make_one_outage_that_is_over_when_both_have_the_database_back():
    events = []

    def lost(**event):
        events.append(("lost", event["who"]))

    def back(**event):
        events.append(("back", event["who"]))

    signals.database_lost.connect(lost)
    signals.database_back.connect(back)

    def work():
        outages = [ConnectionBackoff("clock", "default"), ConnectionBackoff("worker", "default")]
        for _ in range(3):
            for backoff in outages:
                backoff.failed(OperationalError("gone"))
        outages[0].worked()
        events.append("one is back")
        outages[1].worked()

    in_thread(work)

    assert events == [("lost", "clock"), "one is back", ("back", "worker")]


def test_given_back_connections_are_closed():
    def work():
        connection.ensure_connection()
        care.give_back()
        return connection.connection is None

    assert in_thread(work)


def test_an_outage_is_told_once_backs_off_and_is_told_to_be_over():
    events = []

    def lost(**event):
        events.append(("lost", event["who"], str(event["error"])))

    def back(**event):
        events.append(("back", event["who"]))

    signals.database_lost.connect(lost)
    signals.database_back.connect(back)

    def work():
        backoff = ConnectionBackoff("clock", "default")
        delays = [backoff.failed(OperationalError("gone")) for _ in range(12)]
        backoff.worked()
        backoff.worked()
        return delays

    delays = in_thread(work)

    assert events == [("lost", "clock", "gone"), ("back", "clock")]
    assert 0.05 <= delays[0] <= 0.15
    assert 2.5 <= delays[-1] <= 7.5
    assert len(set(delays)) == 12


@pytest.fixture
def pooled(monkeypatch):
    """Settings that ask for Django's pool."""
    options = connections.settings["default"]["OPTIONS"]
    # This thread's connection is there already.
    plain = {**connections.settings["default"], "OPTIONS": options}
    monkeypatch.setattr(connections["default"], "settings_dict", plain)
    monkeypatch.setitem(connections.settings["default"], "OPTIONS", {**options, "pool": True})


def test_a_thread_that_leaves_the_pools_connects_by_itself(pooled):
    def work():
        care.leave_pools()
        assert "pool" not in connections["default"].settings_dict["OPTIONS"]
        with connections["default"].cursor() as cursor:
            cursor.execute("SELECT 1")
            return cursor.fetchone()

    assert in_thread(work) == (1,)
    assert connections.settings["default"]["OPTIONS"]["pool"] is True


def test_no_thread_of_ours_takes_a_connection_of_the_pool(pooled, serve, manager, probes, monkeypatch):
    if connection.vendor != "postgresql":
        pytest.skip("only PostgreSQL has a pool")
    wrapper = type(connections["default"])
    opened = []
    real = wrapper.get_new_connection

    def get_new_connection(self, params):
        opened.append((threading.current_thread().name, bool(self.settings_dict["OPTIONS"].get("pool"))))
        return real(self, params)

    monkeypatch.setattr(wrapper, "get_new_connection", get_new_connection)
    serve()

    manager.wait(manager.add_immediate_job(probes.mark), 10)

    assert opened
    assert not [name for name, is_pooled in opened if is_pooled]


@pytest.mark.skipif("connection.vendor != 'sqlite'")
@pytest.mark.parametrize("is_ours", [True, False])
@pytest.mark.parametrize("options", [{}, {"timeout": 7, "transaction_mode": "DEFERRED"}])
def test_only_our_threads_set_what_settings_of_sqlite_leave_open(options, is_ours):
    def work():
        own = connection.copy()
        own.settings_dict = {**own.settings_dict, "OPTIONS": dict(options)}
        if is_ours:
            care.claim_context()
        own.ensure_connection()
        try:
            with own.cursor() as cursor:
                return own.transaction_mode, cursor.execute("PRAGMA busy_timeout").fetchone()[0]
        finally:
            own.close()

    found = in_thread(work)

    if options:
        assert found == ("DEFERRED", 7000)
    else:
        assert found == (("IMMEDIATE", 20_000) if is_ours else (None, 5000))
