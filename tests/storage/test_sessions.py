"""What changes a session, so that the next run gets a connection of its own."""

import pytest

from django_jobs.storage.sessions import SessionWatch


def is_changed_by(sql):
    watch = SessionWatch()
    assert watch(lambda *call: call[0], sql, None, False, {}) == sql
    return watch.is_changed


@pytest.mark.parametrize(
    "sql",
    [
        "SET ROLE reader",
        "SELECT set_config('search_path', 'tenant', false)",
        "SELECT set_config('enable_sort', 'off', true), set_config('role', 'reader', false)",
        "SELECT pg_advisory_lock(1)",
        "SELECT GET_LOCK('x', 1)",
    ],
)
def test_what_outlasts_a_transaction_changes_the_session(sql):
    assert is_changed_by(sql)


@pytest.mark.parametrize(
    "sql",
    [
        "SET LOCAL ROLE reader",
        "SELECT set_config('enable_sort', 'off', true), set_config('enable_hashjoin', 'off', true); SELECT 1",
        "SELECT set_config('search_path', %s, TRUE)",
        "SELECT pg_advisory_xact_lock(1)",
    ],
)
def test_what_ends_with_its_transaction_changes_nothing(sql):
    assert not is_changed_by(sql)
