import os
import signal
import sys

import pytest
from django.core.management import CommandError, call_command

from django_jobs.worker import supervisor, supervisor_link


def test_the_wait_before_a_restart_doubles_up_to_a_minute_until_a_process_lives_for_a_while():
    class Process:
        age = 1.0

    slot = supervisor.Slot(1)

    assert [slot.note_life(Process()) for _ in range(8)] == [1, 2, 4, 8, 16, 32, 60, 60]
    Process.age = supervisor.STEADY_SECONDS
    assert slot.note_life(Process()) == 0
    Process.age = 1.0
    assert [slot.note_life(Process()) for _ in range(3)] == [1, 2, 4]


@pytest.mark.parametrize("codes", [{1: 1}, {2: 1}], ids=["the replaced", "the last"])
def test_a_worker_that_was_replaced_and_failed_is_no_part_of_how_all_stop_later(monkeypatch, codes):
    started = []

    class Process:
        """Serves where it is asked for, the second instead of the first; ends when it is told to stop."""

        is_alive, age, kill_at, stale, serves = True, 5.0, None, "", False

        def __init__(self, number, command, *, on_serving, on_ended):
            self.number, self.on_ended = number, on_ended
            started.append(self)
            self.code = codes.get(len(started), 0)
            on_serving(self)
            if len(started) == 1:
                os.kill(os.getpid(), signal.SIGHUP)

        def stop(self, within):
            self.on_ended(self)

        def close(self):
            if self is started[0]:
                os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(supervisor, "WorkerProcess", Process)

    assert supervisor.Supervisor([sys.executable], 1).run() == codes.get(2, 0)
    assert len(started) == 2


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (0, "exit code 0"),
        (7, "exit code 7"),
        (-9, "ended by SIGKILL"),
        (-64, "ended by SIGRTMAX"),
        (-99, "ended by signal 99"),
    ],
)
def test_an_exit_code_is_put_into_words(code, words):
    assert supervisor.how_it_ended(code) == words


def test_the_command_line_is_started_again_with_the_interpreters_options(monkeypatch):
    monkeypatch.setattr(
        sys, "orig_argv", ["python3", "-X", "utf8", "manage.py", "runjobs", "--processes", "2"]
    )

    assert supervisor_link.own_command() == [
        sys.executable,
        "-X",
        "utf8",
        "manage.py",
        "runjobs",
        "--processes",
        "2",
    ]


def test_memory_is_the_same_where_ps_has_to_be_asked():
    class Worker:
        pid = os.getpid()

    ours = supervisor_link.WorkerProcess.memory(Worker())

    assert ours == pytest.approx(supervisor_link.memory_as_ps_says(os.getpid()), rel=0.1)
    assert ours > 10 * 2**20


def test_the_memory_of_a_process_that_is_gone_is_unknown(spawn):
    process = spawn(sys.executable, "-c", "")
    process.wait(20)

    assert supervisor_link.memory_as_ps_says(process.pid) is None


def test_a_supervisor_link_that_is_cut_calls_at_once():
    ours, theirs = supervisor_link.socket.socketpair()
    heard = supervisor.queue.SimpleQueue()
    link = supervisor_link.SupervisorLink(theirs.detach())
    link.watch(lambda: heard.put("the end"))
    link.say_serving()

    assert ours.recv(100) == supervisor_link.SERVES
    assert heard.empty()
    ours.close()
    assert heard.get(timeout=60) == "the end"
    # Nobody hears it any more, and that is no error.
    link.say_serving()
    link._socket.close()


@pytest.mark.parametrize("name", ["processes", "max_age", "max_memory"])
def test_a_number_that_cannot_be_meant_is_refused(name):
    option = f"--{name.replace('_', '-')}"

    with pytest.raises(CommandError, match=f"{option} must be at least 1, not 0"):
        call_command("runjobs", **{"processes": 1, name: 0})


@pytest.mark.parametrize("name", ["threads", "processes", "max_age", "max_memory"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), 10**12])
def test_a_number_at_the_end_of_its_range_is_refused(name, value):
    with pytest.raises(CommandError, match=f"--{name.replace('_', '-')} must be at "):
        call_command("runjobs", **{"processes": 1, name: value})


@pytest.mark.parametrize("name", ["max_age", "max_memory"])
def test_replacing_a_process_needs_somebody_who_does_it(name):
    with pytest.raises(CommandError, match="it needs --processes"):
        call_command("runjobs", **{name: 60})


def test_a_call_from_code_has_no_command_line_to_start_again():
    before = signal.getsignal(signal.SIGTERM)

    with pytest.raises(CommandError, match="starts this command line again"):
        call_command("runjobs", processes=2)

    assert signal.getsignal(signal.SIGTERM) is before
