"""Empty the tables after a test that committed: what Django's `flush` does, in a tenth of its time.

`flush` truncates every table, and then looks at each permission again, since it has emptied those, too.
Here tables without rows are left alone, and so are content types and permissions. Where a test added some
of those, or took some away, `flush` it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.db import connections, transaction
from django.test import TransactionTestCase

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

KEPT = ("django_migrations", "django_content_type", "auth_permission")

_flush: Callable[[Any], None] = TransactionTestCase._fixture_teardown
# By alias: the tables to empty, and how many rows each of those that are kept has.
_known: dict[str, tuple[list[str], dict[str, int]]] = {}


def install() -> None:
    """Have the test cases of Django and pytest-django do it."""
    TransactionTestCase._fixture_teardown = _empty  # type: ignore[method-assign]


def _empty(case: Any) -> None:
    aliases = list(case._databases_names(include_mirrors=False))
    if not case.serialized_rollback and all(
        alias in _known and _rows(alias, _known[alias][1]) == _known[alias][1] for alias in aliases
    ):
        for alias in aliases:
            _delete(alias, _known[alias][0])
        return
    _flush(case)
    for alias in aliases:
        existing = connections[alias].introspection.django_table_names(
            only_existing=True, include_views=False
        )
        kept = _rows(alias, [table for table in existing if table in KEPT])
        _known[alias] = ([table for table in existing if table not in kept], kept)


def _rows(alias: str, tables: Iterable[str]) -> dict[str, int]:
    return dict(zip(tables, _each(alias, "(SELECT COUNT(*) FROM {})", tables), strict=True))


def _delete(alias: str, tables: list[str]) -> None:
    has_rows = _each(alias, "EXISTS(SELECT 1 FROM {})", tables)
    filled = [table for table, any_row in zip(tables, has_rows, strict=True) if any_row]
    connection = connections[alias]
    # References are looked at when all is deleted: at the commit on PostgreSQL, not at all elsewhere.
    with (
        connection.constraint_checks_disabled(),
        transaction.atomic(using=alias),
        connection.cursor() as cursor,
    ):
        for table in filled:
            cursor.execute(f"DELETE FROM {connection.ops.quote_name(table)}")


def _each(alias: str, question: str, tables: Iterable[str]) -> Sequence[Any]:
    """Ask the same of each table, with one statement."""
    quote = connections[alias].ops.quote_name
    with connections[alias].cursor() as cursor:
        cursor.execute("SELECT " + ", ".join(question.format(quote(table)) for table in tables))
        return cursor.fetchone()
