"""Whether SQLite's file is still the one that this process is connected to.

A file that was deleted or replaced goes on existing for those who have it open: they would work on what nobody
else sees.
"""

from __future__ import annotations

import logging
from pathlib import Path

from django.db import connections

from django_jobs.storage.connections import renew_all
from django_jobs.texts.printable import printable

logger = logging.getLogger(__name__)


class DatabaseFile:
    """Looks at the file of a database; nothing to look at where that is no file.

    Args:
        using: Alias of the database.

    Attributes:
        problem: What is wrong with it; empty while nothing is.
    """

    def __init__(self, using: str) -> None:
        connection = connections[using]
        is_file = connection.vendor == "sqlite" and not connection.is_in_memory_db()  # type: ignore[attr-defined]
        self._path = Path(connection.settings_dict["NAME"]).absolute() if is_file else None
        self._known = self._identity()
        self.problem = ""

    def look(self) -> None:
        """Have all threads of this process connect again if another file is there now."""
        if self._path is None:
            return
        found = self._identity()
        if found is None:
            # Nothing is done about it: whoever connects now would make an empty file.
            self._note(f"the database's file {self._path} is gone: this process works on what no other sees")
            return
        self.problem = ""
        if found != self._known and self._known is not None:
            logger.error(
                "the database's file %s was replaced by another one: connecting to that. Stop all processes "
                "before you replace it; what they wrote meanwhile is lost with the old file",
                printable(self._path),
            )
            renew_all()
        self._known = found

    def _note(self, problem: str) -> None:
        if not self.problem:
            logger.error("%s", printable(problem))
        self.problem = problem

    def _identity(self) -> tuple[int, int] | None:
        if self._path is None:
            return None
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_dev, found.st_ino
