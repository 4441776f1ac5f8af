from datetime import UTC, datetime, timedelta

import pytest

from django_jobs.storage import host_clock
from django_jobs.worker.steadiness import Steadiness
from django_jobs.worker.worker import Worker


@pytest.fixture
def steadiness(db):
    return Steadiness(Worker(using="default"))


def ago(seconds):
    return datetime.now(UTC) - timedelta(seconds=seconds)


def test_a_lock_that_a_heartbeat_waited_for_is_no_jump_of_the_clock(steadiness, caplog):
    assert steadiness.note_heartbeat(ago(0), silent=1, took=0.0)

    # The database read its time, and then waited.
    assert steadiness.note_heartbeat(ago(9), silent=1, took=9.0)
    assert steadiness.note_heartbeat(ago(0), silent=1, took=0.0)
    assert "jumped" not in caplog.text


def test_a_clock_that_was_set_is_doubted(steadiness, caplog):
    assert steadiness.note_heartbeat(ago(0), silent=1, took=0.0)

    assert not steadiness.note_heartbeat(ago(3600), silent=1, took=0.1)
    assert "the clock jumped by -3600 s" in caplog.text


@pytest.fixture
def clock():
    """What the process knows of its clock: before the test and after it, that it is right."""
    host_clock.note(ago(0), 0.0)
    yield host_clock
    host_clock.note(ago(0), 0.0)


def test_a_host_whose_clock_is_off_says_so_once(clock, caplog):
    clock.note(ago(3600), 0.1)
    clock.note(ago(3600), 0.1)

    assert caplog.text.count("this host's clock is 3600 s ahead of the database's") == 1
    assert host_clock.ahead_seconds() == pytest.approx(3600, abs=1)


def test_an_answer_that_took_long_says_nothing_about_the_clock(clock, caplog):
    clock.note(ago(9), 9.5)

    assert host_clock.ahead_seconds() == 0
    assert caplog.text == ""


def test_a_claimed_run_expires_by_the_databases_clock(clock):
    clock.note(ago(3600), 0.0)
    options = {"expires": 60, "expires_at": 1000.0}

    host_clock.in_host_time(options)

    assert options["expires_at"] == pytest.approx(4600, abs=1)
