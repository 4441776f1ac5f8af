import subprocess
import sys
import threading
import time

import pytest
from django.db import OperationalError, connection, transaction

from django_jobs import wakeup

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def hear():
    """Return a function that subscribes, and gives an event that is set when a topic is heard."""
    hearers = []

    def subscribe(*topics):
        heard = threading.Event()

        def hearer(topic):
            if topic in topics:
                heard.set()

        wakeup.subscribe(hearer)
        hearers.append(hearer)
        return heard

    yield subscribe
    for hearer in hearers:
        wakeup.unsubscribe(hearer)


@pytest.fixture
def ears(hear):
    listening = hear(wakeup.ANYTHING)
    made = wakeup.Ears("default")
    made.start()
    # Their first word is their own, when they begin to listen.
    assert listening.wait(10)
    yield made
    made.stop()


def test_this_process_hears_at_once_outside_a_transaction(hear):
    heard = hear(wakeup.RUNS)

    wakeup.tell(wakeup.RUNS, using="default")

    assert heard.is_set()


def test_nobody_hears_of_a_transaction_before_it_commits_or_if_it_does_not(hear):
    heard = hear(wakeup.RUNS)

    with transaction.atomic():
        wakeup.tell(wakeup.RUNS, using="default")
        assert not heard.is_set()
        transaction.set_rollback(True)
    assert not heard.is_set()

    with transaction.atomic():
        wakeup.tell(wakeup.RUNS, using="default")
    assert heard.is_set()


def test_another_process_is_heard(hear, ears, child_env, until):
    heard = hear(wakeup.RUNS, wakeup.ANYTHING)

    code = (
        "import django; django.setup()\n"
        "from django_jobs import get_job_manager\n"
        "get_job_manager().add_immediate_job('tests.probes.jobs:mark')\n"
    )
    subprocess.run([sys.executable, "-c", code], env=child_env, check=True, timeout=60)

    assert heard.wait(2)


def test_ears_stop_at_once(ears):
    began = time.monotonic()
    ears.stop()

    assert time.monotonic() - began < 2
    assert not ears._thread.is_alive()


def test_ears_listen_again_after_their_connection_was_cut(hear, ears, until):
    if connection.vendor != "postgresql":
        pytest.skip("only PostgreSQL's listener has a connection to another process")
    heard = hear(wakeup.RUNS)
    until(lambda: ears._listener is not None)
    first = ears._listener

    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s)", [first._connection.connection.info.backend_pid])
    until(lambda: ears._listener is not None and ears._listener is not first)
    heard.clear()
    wakeup.tell(wakeup.RUNS, using="default")

    assert heard.wait(5)


def test_work_is_not_undone_by_a_notice_that_could_not_be_sent(caplog, monkeypatch):
    if connection.vendor != "postgresql":
        pytest.skip("only PostgreSQL sends notices")

    def broken():
        raise OperationalError("cut")

    monkeypatch.setattr(connection, "cursor", broken)

    wakeup._tell(wakeup.RUNS, "default")

    assert "were not told" in caplog.text
