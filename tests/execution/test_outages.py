import pytest
from django.db import DatabaseError, InterfaceError, OperationalError, connection

from django_jobs.codec.decoding import DECODERS
from django_jobs.execution import outages, resolving
from django_jobs.models import Run
from tests.probes import parts
from tests.probes.models import Mark

pytestmark = pytest.mark.django_db(transaction=True)

GONE, CLOSED = OperationalError("gone"), InterfaceError("closed")


def failing(read, *errors):
    """Return a read that fails some times first."""
    left = list(errors)

    def call(*args, **kwargs):
        if left:
            raise left.pop(0)
        return read(*args, **kwargs)

    return call


@pytest.fixture
def away(monkeypatch):
    """Have what fails look as if its database were away."""
    monkeypatch.setattr(outages, "_first_away", lambda: "default")
    monkeypatch.setattr(outages.ConnectionBackoff, "failed", lambda *_: 0)


def test_a_run_is_given_its_objects_though_the_database_was_away_when_it_began(
    manager, serve, away, monkeypatch
):
    monkeypatch.setitem(DECODERS, "model", failing(DECODERS["model"], GONE, CLOSED))
    serve()

    job_id = manager.add_immediate_job(parts.text_of, Mark.objects.create(text="there"))

    assert manager.wait(job_id, 30) == "there"
    assert Run.objects.get().attempt == 1


def test_a_run_is_given_results_though_the_database_was_away_when_it_began(manager, serve, away, monkeypatch):
    monkeypatch.setattr(resolving, "results_for", failing(resolving.results_for, GONE, CLOSED))
    serve()
    with manager.batch("read late") as batch:
        after = batch.add(parts.give, 3).then(parts.add)

    assert manager.wait(after, 30) == 4


def test_a_read_on_a_connection_that_was_cut_is_repeated():
    assert outages.outlast(failing(lambda: "read", GONE), must_stop=lambda: False) == "read"


def test_what_a_database_refuses_that_answers_is_not_waited_for():
    def read():
        # "no such column" is an OperationalError on SQLite, and on MariaDB.
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT nothing FROM {Mark._meta.db_table}")

    with pytest.raises(DatabaseError, match="nothing"):
        outages.outlast(read, must_stop=lambda: False)


def test_the_wait_for_the_database_ends_with_the_attempt(away):
    stops = iter([False, True])
    still_gone = OperationalError("still gone")

    with pytest.raises(OperationalError, match="still gone"):
        outages.outlast(failing(lambda: None, GONE, still_gone), must_stop=lambda: next(stops))
