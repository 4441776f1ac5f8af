import copy
import threading

import pytest

from django_jobs.integrations.django_tasks import compat
from tests.probes import tasks as probes


@pytest.fixture
def tasks():
    """The module of tasks to enqueue, with its events cleared."""
    probes.began.clear()
    probes.go_on.clear()
    yield probes
    probes.go_on.set()


@pytest.fixture
def framework():
    """The edition of the framework that the tasks are of."""
    return compat.framework_of(probes.give)


@pytest.fixture
def heard(framework):
    """The framework's signals as they come: name, sender, result and the thread that sent it."""
    events = []
    receivers = []

    def connect(name):
        def receive(sender, task_result, **_):
            # A copy: whoever enqueued it may refresh it.
            events.append((name, sender, copy.copy(task_result), threading.current_thread().name))

        signal = getattr(framework.signals, f"task_{name}")
        signal.connect(receive)
        receivers.append((signal, receive))

    for name in ("enqueued", "started", "finished"):
        connect(name)

    yield events

    for signal, receive in receivers:
        signal.disconnect(receive)


@pytest.fixture
def finish(until):
    """Return a function that waits until a result is finished, and gives it back as it is then."""

    def wait(result):
        def look():
            result.refresh()
            return result.is_finished

        until(look)
        return result

    return wait
