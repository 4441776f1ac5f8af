import pytest


@pytest.fixture
def workers(make_worker):
    """The rows of workers that tests claim as; only a live one is given anything."""
    for name in ("w", "me", "w0", "w1", "w2", "w3", "live", "awake", "slept", "dead", "gone"):
        make_worker(id=name)
