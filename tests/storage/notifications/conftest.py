import threading

import pytest

from django_jobs.storage import notifications


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
