from contextlib import closing

import pytest
from django.db import connection, connections

from django_jobs.operations import database_checks, health
from django_jobs.storage import table_health
from django_jobs.storage.tables import RUN_TABLE

problems = table_health.problems


@pytest.fixture(autouse=True)
def as_it_is(monkeypatch, tidy_tables):
    """Look at the tables, which other tests leave out, and at dead rows of this test alone."""
    monkeypatch.setattr(table_health, "problems", problems)
    monkeypatch.setattr(table_health, "_looks", {})


@pytest.fixture
def no_dead_rows(monkeypatch):
    monkeypatch.setattr(table_health, "DEAD_ROWS", 10**9)


def only_on(vendor):
    if connection.vendor != vendor:
        pytest.skip(f"of {vendor} alone")


@pytest.mark.django_db(transaction=True)
def test_a_transaction_that_is_open_for_long_is_a_problem(monkeypatch, no_dead_rows, until):
    if connection.vendor == "sqlite":
        pytest.skip("SQLite has no list of transactions")
    monkeypatch.setattr(table_health, "OLD_SECONDS", -1)
    holder = connections.create_connection("default")
    with closing(holder):
        holder.set_autocommit(False)
        with holder.cursor() as cursor:
            cursor.execute(
                "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"
                if connection.vendor == "postgresql"
                else "START TRANSACTION WITH CONSISTENT SNAPSHOT"
            )
            cursor.execute(f"SELECT COUNT(*) FROM {RUN_TABLE}")
            cursor.fetchall()

        # MariaDB renews its list when nobody has asked for a tenth of a second.
        until(lambda: table_health.oldest_seconds(using="default") is not None, every=0.3)
        found = [one for one in health.report()["problems"] if one["code"] == "old_transaction"]
        until(lambda: table_health.oldest_seconds(using="default") is not None, every=0.3)
        (warning,) = database_checks.check_table_health(connection)
        holder.rollback()

    assert "a transaction is open for 0.0 hours" in found[0]["text"]
    assert warning.id == "django_jobs.W011"


@pytest.mark.django_db
def test_young_transactions_and_clean_tables_are_none(make_run, no_dead_rows):
    make_run()

    assert list(table_health.problems(using="default")) == []


@pytest.mark.django_db
def test_a_large_write_ahead_log_is_a_problem(monkeypatch):
    only_on("sqlite")
    monkeypatch.setattr(
        table_health, "_size_of", lambda path: 300 * 1024 * 1024 if path.endswith("-wal") else 0
    )

    (problem,) = table_health.problems(using="default")

    assert "300 MB" in problem[1]


@pytest.mark.django_db
def test_who_asks_often_hears_what_was_found_a_minute_ago(monkeypatch, django_assert_num_queries):
    first = table_health.recent_problems(using="default")

    with django_assert_num_queries(0):
        assert table_health.recent_problems(using="default") == first
    monkeypatch.setattr(table_health, "LOOK_SECONDS", -1)
    monkeypatch.setattr(table_health, "problems", lambda using: iter([("x", "y", 1)]))
    assert table_health.recent_problems(using="default") == [("x", "y", 1)]


@pytest.mark.django_db
def test_dead_rows_are_a_problem(monkeypatch):
    many = [
        table_health.Updates(RUN_TABLE, 9, 0, 60_000, 100_000),
        table_health.Updates("other", 9, 0, 60_000, 10**6),
    ]
    monkeypatch.setattr(table_health, "oldest_and_bloated", lambda using: (None, table_health.bloated(many)))

    (problem,) = table_health.problems(using="default")

    assert problem[0] == "bloated_table"
    assert f"{RUN_TABLE} has 60,000 dead rows beside 100,000" in problem[1]
