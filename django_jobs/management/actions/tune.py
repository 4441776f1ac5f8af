"""`manage.py jobs tune`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.db import connections

from django_jobs.management.actions.action import Action, nothing_done
from django_jobs.models import jobs_database
from django_jobs.storage import table_health

if TYPE_CHECKING:
    from argparse import ArgumentParser

_ELSEWHERE = {
    "sqlite": "SQLite has no such settings: it reuses what was deleted",
    "mysql": "MariaDB and MySQL have no such settings: InnoDB removes old rows by itself",
}


class Tune(Action):
    """Tell PostgreSQL how to store the tables."""

    name = "tune"
    help = "Print how PostgreSQL is to store the tables, for many runs; apply it with --apply."
    more = "Settings of the tables alone: no row is written again, and --reset undoes them."

    @classmethod
    def add_arguments(cls, parser: ArgumentParser) -> None:
        """See `manage.py jobs tune --help`."""
        parser.add_argument(
            "--apply", action="store_true", help="Execute the statements, not only print them."
        )
        parser.add_argument("--reset", action="store_true", help="Back to the defaults of the database.")

    def run(self, options: dict[str, Any]) -> None:
        """Print the statements, or execute them."""
        using = jobs_database()
        connection = connections[using]
        if not table_health.is_tunable(connection):
            raise nothing_done(f"{_ELSEWHERE.get(connection.vendor, 'no such settings')}. Nothing to tune.")
        found = table_health.statements(reset=options["reset"])
        if options["apply"]:
            table_health.apply(reset=options["reset"], using=using)
        rows = table_health.updates(using=using)
        self.terminal.json(
            {"statements": found, "applied": options["apply"], "tables": [row._asdict() for row in rows]}
        )
        for statement in found:
            self.terminal.say(f"{statement};")
        if options["apply"]:
            self.terminal.say(f"Applied to {len(found)} tables.", "SUCCESS")
            return
        self.terminal.table(
            ["TABLE", "UPDATES", "HOT", "DEAD", "LIVE"],
            [[row.table, f"{row.updates:,}", _share(row), f"{row.dead:,}", f"{row.live:,}"] for row in rows],
            ["" for _ in rows],
        )


def _share(row: table_health.Updates) -> str:
    return f"{100 * row.hot / row.updates:.0f} %" if row.updates else "-"
