"""What a run leaves in the session of a connection: an open transaction, changed settings, locks.

Django knows of transactions that were begun through it. For others the driver is asked, which knows without
a query; MySQL's does not say, so there all statements that it sends are looked at.
"""

from __future__ import annotations

import re
import weakref
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.db.backends.base.base import BaseDatabaseWrapper

# Statements whose effect outlasts them, and every transaction.
_CHANGES = re.compile(
    r"\s*(?:SET\s+(?!LOCAL\b|CONSTRAINTS\b|TRANSACTION\b)|RESET\s|USE\s|LISTEN\s|LOCK\s+TABLES?\s|ATTACH\s"
    r"|CREATE\s+(?:LOCAL\s+)?TEMP|PRAGMA\s+\w+\s*=)"
    r"|.*\b(?:set_config\s*\((?![^()]*,\s*true\s*\))|(?:pg_(?:try_)?advisory_lock(?:_shared)?|get_lock)\s*\()",
    re.IGNORECASE | re.DOTALL,
)
# Of a statement, where its kind is seen; comments before it are rare.
_HEAD = 100
_BEGINS = re.compile(r"\s*(?:BEGIN\b|START\s+TRANSACTION\b)", re.IGNORECASE)
_ENDS = re.compile(r"\s*(?:COMMIT\b|ROLLBACK\b(?!\s+TO\b)|(?:CREATE|ALTER|DROP|TRUNCATE)\s)", re.IGNORECASE)


class SessionWatch:
    """Looks at the statements of one connection.

    Attributes:
        is_changed: A statement changed the session.
        has_begun: A statement began a transaction that Django does not know of.
    """

    def __init__(self) -> None:
        self.is_changed = self.has_begun = False

    def __call__(
        self, execute: Callable[..., Any], sql: Any, params: Any, many: bool, context: dict[str, Any]
    ) -> Any:
        """Note what a statement does, and execute it."""
        if isinstance(sql, str):
            self.is_changed = self.is_changed or _CHANGES.match(sql) is not None
        return execute(sql, params, many, context)

    def watch_driver(self, raw: Any) -> None:
        """Look at all that a connection of MySQL's driver sends, also through its own cursors."""
        # Weak, and not bound: a connection that is left is freed without the garbage collector.
        kind, own = type(raw), weakref.ref(raw)

        def query(sql: Any, *args: Any, **more: Any) -> Any:
            head = sql[:_HEAD]
            self._note_transaction(head if isinstance(head, str) else bytes(head).decode("latin-1"))
            return kind.query(own(), sql, *args, **more)

        def ending(name: str) -> Callable[..., Any]:
            def end(*args: Any) -> Any:
                self.has_begun = False
                return getattr(kind, name)(own(), *args)

            return end

        raw.query, raw.commit, raw.rollback = query, ending("commit"), ending("rollback")

    def _note_transaction(self, sql: str) -> None:
        if _BEGINS.match(sql):
            self.has_begun = True
        elif self.has_begun and _ENDS.match(sql):
            self.has_begun = False


def begin(connection: BaseDatabaseWrapper, *, is_watched: bool) -> None:
    """Note that a session begins, and watch it."""
    found = _watch_of(connection)
    if found is not None:
        # What Django itself has just set is how a session begins.
        found.is_changed = found.has_begun = False
    elif is_watched:
        found = SessionWatch()
        connection.execute_wrappers.append(found)
    if found is not None and connection.vendor == "mysql":
        found.watch_driver(connection.connection)


def is_changed(connection: BaseDatabaseWrapper) -> bool:
    """Return whether a session is not as it began."""
    found = _watch_of(connection)
    return found is not None and found.is_changed


def is_in_transaction(connection: BaseDatabaseWrapper) -> bool:
    """Return whether a transaction is open on a connection, whoever began it; sends no query."""
    if connection.in_atomic_block or not connection.autocommit:
        return True
    match connection.vendor:
        case "sqlite":
            return bool(connection.connection.in_transaction)
        case "postgresql":
            # 0 is idle, and 4 a connection that broke.
            return connection.connection.info.transaction_status not in {0, 4}
    found = _watch_of(connection)
    # The driver was told not to commit by itself, past Django.
    return (found is not None and found.has_begun) or not connection.connection.get_autocommit()


def is_fit(connection: BaseDatabaseWrapper) -> bool:
    """Ask whether a connection answers and takes writes: after a fail-over its server may take none."""
    question = {"postgresql": "SHOW transaction_read_only", "mysql": "SELECT @@global.read_only"}
    if not connection.is_usable():
        return False
    if connection.vendor not in question:
        return True
    try:
        # Not by a cursor of Django's: it is no query of the project's.
        with connection.connection.cursor() as cursor:
            cursor.execute(question[connection.vendor])
            (answer,) = cursor.fetchone()
    except Exception:  # noqa: BLE001 - whatever its driver raises: a new one does
        return False
    return answer in {"off", 0, "OFF"}


def _watch_of(connection: BaseDatabaseWrapper) -> SessionWatch | None:
    # No generator, which takes four times as long: asked after each run.
    for one in connection.execute_wrappers:
        if isinstance(one, SessionWatch):
            return one
    return None
