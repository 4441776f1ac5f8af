import os
import subprocess
import sys

import pytest

from django_jobs.storage import identity


@pytest.fixture
def child():
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    yield process
    process.kill()
    process.wait(10)
    process.stdin.close()


def key_of(pid):
    mine = identity.process_key()
    place = mine.rpartition("/")[0].rpartition("/")[0]
    return f"{place}/{pid}/{identity._started(pid)}"


def test_this_process_is_not_gone():
    assert identity.is_gone(identity.process_key()) is False


def test_a_process_that_ended_is_gone(child):
    key = key_of(child.pid)
    assert identity.is_gone(key) is False

    child.kill()
    child.wait(10)

    assert identity.is_gone(key) is True


def test_a_zombie_is_gone_before_its_parent_buries_it(child):
    key = key_of(child.pid)

    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)

    assert identity.is_gone(key) is True


def test_a_living_process_that_is_hidden_from_us_is_not_gone(child, monkeypatch):
    key = key_of(child.pid)
    monkeypatch.setattr(identity, "_started", lambda pid: None)

    assert identity.is_gone(key) is False
    child.kill()
    child.wait(10)
    assert identity.is_gone(key) is True


def test_a_process_that_we_may_not_signal_is_not_gone(child, monkeypatch):
    key = key_of(child.pid)

    def refuse(pid, number):
        raise PermissionError

    monkeypatch.setattr(identity, "_started", lambda pid: None)
    with monkeypatch.context() as patched:
        patched.setattr(os, "kill", refuse)
        assert identity.is_gone(key) is False


def test_another_process_of_the_same_number_does_not_stand_in_for_it():
    key = identity.process_key().rpartition("/")[0] + "/1"

    assert identity.is_gone(key) is True


@pytest.mark.parametrize("key", ["", "elsewhere/pid:[1]/1/1", "nonsense"])
def test_nothing_is_known_of_processes_elsewhere(key):
    assert identity.is_gone(key) is False


def test_worker_ids_differ_and_fit_their_column():
    ids = {identity.new_worker_id() for _ in range(100)}

    assert len(ids) == 100
    assert max(map(len, ids)) <= 64
