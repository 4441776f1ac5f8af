import queue
import threading

import pytest
from django.db import OperationalError, connections

from django_jobs.storage import components, liveness
from django_jobs.storage.components import Component


class Scripted(Component):
    """Does at each look what comes next in its script; then nothing more."""

    def __init__(self, *script, mistake_seconds=0.0):
        super().__init__("scripted", "default", mistake_seconds=mistake_seconds)
        self.script = queue.SimpleQueue()
        self.looks = queue.SimpleQueue()
        for step in script:
            self.script.put(step)

    def look(self):
        step = None if self.script.empty() else self.script.get()
        self.looks.put(step)
        if isinstance(step, BaseException):
            raise step
        return step


@pytest.fixture
def start():
    """Start components; they are stopped after the test."""
    started = []

    def begin(*script, **options):
        component = Scripted(*script, **options)
        component.start()
        started.append(component)
        return component

    yield begin
    for component in started:
        assert component.stop(10)


def test_a_component_looks_again_after_the_seconds_it_says_and_when_it_is_woken(start):
    component = start(0.0, None)
    assert [component.looks.get(timeout=5) for _ in range(2)] == [0.0, None]

    component.wake()

    assert component.looks.get(timeout=5) is None
    assert component.is_alive
    assert component.has_nothing_due()


def test_a_mistake_is_survived_and_logged_once_until_a_look_works(start, caplog, until):
    component = start(LookupError("one"), LookupError("two"), 0.0, LookupError("three"), 0.0)

    for _ in range(5):
        component.looks.get(timeout=5)
    component.looks.get(timeout=5)

    said = [str(record.exc_info[1]) for record in caplog.records]
    assert said == ["one", "three"]
    until(lambda: component.failure is None)


def test_a_mistake_is_the_failure_of_a_component_that_goes_on(start, until):
    component = start(LookupError("a mistake"), mistake_seconds=60)

    until(lambda: isinstance(component.failure, LookupError))

    assert component.is_alive


def test_an_exit_in_a_look_is_a_failure_that_the_thread_survives(start, until):
    component = start(SystemExit("out"), mistake_seconds=0.01)

    component.looks.get(timeout=5)
    component.looks.get(timeout=5)

    assert component.is_alive
    until(lambda: component.failure is None)


def test_a_component_backs_off_while_the_database_is_away(start, monkeypatch):
    away = [OperationalError("gone away") for _ in range(3)]
    rests = []
    monkeypatch.setattr(Component, "rest", lambda self, seconds: rests.append(seconds) or self.is_stopping)

    component = start(*away)

    for _ in range(4):
        component.looks.get(timeout=5)
    assert len(rests) == 3
    # Each is about twice the one before.
    assert rests[2] > rests[0]
    assert component.failure is None


def test_a_component_that_rests_ends_when_it_is_stopped(start):
    component = start(OperationalError("gone away"))
    component.looks.get(timeout=5)

    assert component.stop(10)

    assert component.is_stopping
    assert not component.is_alive


@pytest.mark.django_db(transaction=True)
def test_a_component_gives_its_connections_back_at_its_end(monkeypatch):
    seen = []

    class Asking(Component):
        def look(self):
            connections["default"].ensure_connection()
            seen.append(connections["default"])

    component = Asking("asking", "default")
    closed = threading.Event()
    monkeypatch.setattr(
        "django_jobs.storage.components.give_back", lambda: (connections.close_all(), closed.set())
    )
    component.start()
    while not seen:
        component.wake()

    assert component.stop(10)

    assert closed.is_set()
    assert seen[0].connection is None


def test_a_component_that_was_never_started_is_stopped_all_the_same():
    assert Scripted().stop(1)


def test_a_mistake_beside_the_looks_is_survived_too(start, monkeypatch, caplog):
    raised = []

    def rest(self, seconds):
        if not raised:
            raised.append(seconds)
            raise SystemExit("a handler of the log")
        return self.is_stopping

    monkeypatch.setattr(Component, "rest", rest)

    component = start(OperationalError("gone away"), 0.0)

    for _ in range(3):
        component.looks.get(timeout=5)
    assert component.is_alive
    assert [record.exc_info[0] for record in caplog.records] == [SystemExit]


def test_a_thread_that_waits_in_one_step_for_long_is_a_problem(monkeypatch, until):
    goes_on, is_inside = threading.Event(), threading.Event()

    class Waiting(Component):
        def look(self):
            is_inside.set()
            goes_on.wait(30)

    monkeypatch.setattr(liveness, "STUCK_SECONDS", 0.05)
    component = Waiting("waiting", "default")
    assert component.problem == ""
    component.start()
    assert is_inside.wait(5)

    until(lambda: "the waiting thread has been waiting in one step" in component.problem)

    goes_on.set()
    until(lambda: component.problem == "")
    assert component.stop(5)
    assert component.problem == ""


def test_stop_leaves_a_thread_whose_step_does_not_end(monkeypatch, caplog):
    goes_on, is_inside = threading.Event(), threading.Event()

    class Hanging(Component):
        def look(self):
            is_inside.set()
            goes_on.wait(30)

    monkeypatch.setattr(components, "STOP_SECONDS", 0.05)
    component = Hanging("hanging", "default")
    component.start()
    assert is_inside.wait(5)

    assert not component.stop()

    assert "the hanging thread does not end" in caplog.text
    goes_on.set()
    assert component.stop(5)
