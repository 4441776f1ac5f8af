import math

import pytest


@pytest.fixture(autouse=True)
def _edits_are_read_when_told(monkeypatch):
    """Have no test read edits because time has passed, which would be a query more."""
    from django_jobs.storage.limits import edits

    monkeypatch.setattr(edits, "SECONDS", math.inf)
    edits.forget()
    yield
    edits.forget()


@pytest.fixture
def limited():
    """Return a factory of new runs with a limit."""
    from tests.storage.attempts import new_run

    def make(key="k", concurrency=1, **fields):
        return new_run(options={"limit": {"key": key, "name": key, "concurrency": concurrency}}, **fields)

    return make


@pytest.fixture
def states():
    """Return the states of all runs, in the order of their ids."""
    from django_jobs.models import Run

    return lambda: [run.state for run in Run.objects.order_by("id")]
