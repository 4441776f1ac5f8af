import threading

import pytest
from django.db import connection, connections, transaction

from django_jobs.models import Run
from django_jobs.storage import enqueue, outcomes, transactions
from tests.faults.processes import is_locked
from tests.storage.attempts import claim, new_run, outcome

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("workers")]


def test_large_rows_are_written_in_several_statements(make_run, django_assert_num_queries, monkeypatch):
    # Together they would be more than MariaDB takes in one statement.
    runs = [new_run(f"large-{number}") for number in range(30)]
    for run in runs:
        run.payload = run.payload + " " * 900_000

    ids = enqueue.insert(runs)

    assert len(ids) == len(set(ids)) == 30
    claimed = claim(limit=30)
    result = '"' + "x" * 900_000 + '"'
    written = outcomes.finish([(run, outcome(result=result)) for run in claimed], using="default")
    assert len(written) == 30
    assert Run.objects.filter(status="SUCCESSFUL").count() == 30


@pytest.mark.django_db(transaction=True)
def test_a_write_transaction_waits_for_another_writer_instead_of_failing(make_run):
    made = make_run()
    inside, go_on = threading.Event(), threading.Event()
    order = []

    def hold():
        try:
            with transactions.write_transaction("default"):
                Run.objects.filter(pk=made.pk).update(name="first")
                inside.set()
                go_on.wait(10)
                order.append("first")
        finally:
            connection.close()

    holder = threading.Thread(target=hold)
    holder.start()
    inside.wait(10)
    threading.Timer(0.2, go_on.set).start()
    with transactions.write_transaction("default"):
        Run.objects.filter(pk=made.pk).update(name="second")
        order.append("second")
    holder.join(10)

    assert order == ["first", "second"]


@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif("connection.vendor != 'sqlite'", reason="only SQLite has one lock for all writers")
@pytest.mark.parametrize("mode", ["IMMEDIATE", "EXCLUSIVE", None])
def test_a_write_transaction_has_the_lock_from_its_start_by_whatever_statement(
    mode, monkeypatch, django_assert_num_queries
):
    connection.ensure_connection()
    monkeypatch.setattr(connections["default"], "transaction_mode", mode)

    # BEGIN, which is one of them; where that leaves the lock, a statement that takes it; COMMIT.
    with django_assert_num_queries(3 if mode is None else 2), transactions.write_transaction("default"):
        assert is_locked(connection.settings_dict["NAME"], timeout=0)
    assert not is_locked(connection.settings_dict["NAME"], timeout=0)


@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif("connection.vendor != 'sqlite'", reason="only SQLite has one lock for all writers")
def test_a_write_transaction_has_the_lock_where_the_driver_begins_transactions(monkeypatch):
    connection.ensure_connection()
    monkeypatch.setattr(connections["default"], "transaction_mode", "IMMEDIATE")
    transaction.set_autocommit(False)
    try:
        with transactions.write_transaction("default"):
            assert is_locked(connection.settings_dict["NAME"], timeout=0)
    finally:
        transaction.rollback()
        transaction.set_autocommit(True)
