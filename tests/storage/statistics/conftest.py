import pytest

from django_jobs.storage.statistics import counting


@pytest.fixture(autouse=True)
def counter(monkeypatch):
    """A process that has counted nothing yet."""
    counter = counting._Counter()
    monkeypatch.setattr(counting, "_counter", counter)
    return counter
