"""Thousands of rows with one statement, and the statistics that a planner goes by."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db import connection

from tests.benchmarks.load import Numbers

if TYPE_CHECKING:
    from django.db.models import Model


def copy_row(row: Model, count: int, **changed: str) -> None:
    """Insert copies of a row, numbered from 0.

    Args:
        row: One that is in the database.
        count: How many.
        changed: By column, what is there instead: SQL of `n`, the number of the copy.
    """
    quote = connection.ops.quote_name
    key = row._meta.pk.column
    columns = [field.column for field in row._meta.concrete_fields if field.column != key or key in changed]
    values = [
        f"({changed[column]})" if column in changed else f"original.{quote(column)}" for column in columns
    ]
    # Placeholders are the only other use of the sign.
    selected = ", ".join(values).replace("%", "%%")
    table = quote(row._meta.db_table)
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO {table} ({', '.join(map(quote, columns))}) SELECT {selected} "
            f"FROM {table} original CROSS JOIN {Numbers(connection.vendor).source(0, count - 1)} "
            f"WHERE original.{quote(key)} = %s ORDER BY n",
            [row.pk],
        )


def numbered(prefix: str, divisor: int = 0) -> str:
    """Return SQL of a text with the number of the copy, or its remainder."""
    numbers = Numbers(connection.vendor)
    return numbers.text(f"'{prefix}'", numbers.number_text(f"n % {divisor}" if divisor else "n"))


def analyze(*tables: str) -> None:
    """Have the database count what there is, which commits on MariaDB."""
    with connection.cursor() as cursor:
        for table in tables:
            cursor.execute(f"ANALYZE {'TABLE ' if connection.vendor == 'mysql' else ''}{table}")
            if connection.vendor == "mysql":
                cursor.fetchall()
