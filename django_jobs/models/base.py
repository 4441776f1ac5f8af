"""What several tables share: states, kinds, limits, and indexes and conditions by state."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.db import models
from django.db.models.lookups import Lookup
from django.utils.translation import gettext_lazy as _

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    _Lookup = Lookup[bool]
else:
    # Django's cannot be subscripted when the program runs.
    _Lookup = Lookup

MAX_ID_LENGTH = 255
DEFAULT_QUEUE_NAME = "default"
MIN_PRIORITY, MAX_PRIORITY = -100, 100


class Kind(models.TextChoices):
    """How a job came to be."""

    IMMEDIATE = "immediate", _("immediate")
    SCHEDULED = "scheduled", _("scheduled")
    RECURRING = "recurring", _("recurring")


class Status(models.TextChoices):
    """State of one run; the first four are Django Tasks', the last two ours."""

    READY = "READY", _("Ready")
    RUNNING = "RUNNING", _("Running")
    SUCCESSFUL = "SUCCESSFUL", _("Successful")
    FAILED = "FAILED", _("Failed")
    CANCELLED = "CANCELLED", _("Cancelled")
    SKIPPED = "SKIPPED", _("Skipped")


class Wait(models.TextChoices):
    """What a READY run waits for besides its time and people."""

    LIMIT = "limit", _("limit")
    ORDER = "order", _("order")
    TURN = "turn", _("turn")
    FAIR = "fair", _("fair turn")
    DEPENDENCY = "dependency", _("dependency")
    EVENT = "event", _("event")


UNFINISHED = (Status.READY, Status.RUNNING)
FINISHED = (Status.SUCCESSFUL, Status.FAILED, Status.CANCELLED, Status.SKIPPED)


class StatusIndex(models.Index):
    """An index of the rows in some states only, so that history costs it nothing.

    On databases without partial indexes (MariaDB, MySQL) it covers all rows, so `fields` should
    begin with the status. A plain `condition` would make `manage.py check` warn there, each time.

    Args:
        fields: As for `models.Index`.
        statuses: The states whose rows are indexed.
        name: As for `models.Index`.
        present: A column; rows without a value in it are not indexed either. Empty for none.
    """

    def __init__(
        self, fields: Sequence[str], *, statuses: Sequence[str], name: str, present: str = ""
    ) -> None:
        super().__init__(fields=fields, name=name)
        self.statuses = list(statuses)
        self.present = present

    def deconstruct(self) -> tuple[str, Sequence[Any], dict[str, Any]]:
        """Return what a migration writes down."""
        words: dict[str, Any] = {"fields": self.fields, "statuses": self.statuses, "name": self.name}
        if self.present:
            words["present"] = self.present
        return "django_jobs.models.StatusIndex", [], words

    def create_sql(
        self, model: type[models.Model], schema_editor: Any, using: str = "", **kwargs: Any
    ) -> Any:
        """See `models.Index`."""
        index = StatusIndex(self.fields, statuses=self.statuses, name=self.name, present=self.present)
        if schema_editor.connection.vendor == "postgresql" and len(self.statuses) == 1:
            # There the condition says it all, and PostgreSQL looks for nothing else in a column that it names:
            # with the status first it would read the whole index for one queue, or for what is due.
            index.fields_orders = [(name, order) for name, order in self.fields_orders if name != "status"]
        return super(StatusIndex, index).create_sql(model, schema_editor, using, **kwargs)

    def _get_condition_sql(self, model: type[models.Model], schema_editor: Any) -> str | None:
        if not schema_editor.connection.features.supports_partial_indexes:
            return None
        quoted = [schema_editor.quote_value(status) for status in self.statuses]
        column = schema_editor.quote_name("status")
        # SQLite uses the index for `status = 'READY'` only when its condition says just that.
        condition = f"{column} = {quoted[0]}" if len(quoted) == 1 else f"{column} IN ({', '.join(quoted)})"
        if self.present:
            condition += f" AND {schema_editor.quote_name(self.present)} IS NOT NULL"
        return condition


class PresentIndex(models.Index):
    """An index of the rows that have a value in its first field, so that others cost it nothing.

    On databases without partial indexes (MariaDB, MySQL) it covers all rows.
    """

    def __init__(self, *, fields: Sequence[str], name: str) -> None:
        super().__init__(fields=fields, name=name)

    def deconstruct(self) -> tuple[str, Sequence[Any], dict[str, Any]]:
        """Return what a migration writes down."""
        return "django_jobs.models.PresentIndex", [], {"fields": self.fields, "name": self.name}

    def _get_condition_sql(self, model: type[models.Model], schema_editor: Any) -> str | None:
        if not schema_editor.connection.features.supports_partial_indexes:
            return None
        return f"{schema_editor.quote_name(self.fields[0])} IS NOT NULL"


class Call(models.Model):
    """What to call and how: the columns that a job and its runs share."""

    name = models.CharField(_("name"), max_length=255)
    func = models.CharField(_("function"), max_length=500, help_text=_("What is called, as module:qualname."))
    payload = models.TextField(_("arguments"), help_text=_("Arguments as JSON with typed tags."))
    signature = models.CharField(
        max_length=64, help_text=_("Of function and arguments, by SECRET_KEY; others are never called.")
    )
    queue_name = models.CharField(_("queue"), max_length=100, default=DEFAULT_QUEUE_NAME)
    priority = models.SmallIntegerField(
        _("priority"), default=0, help_text=_("-100 to 100; high goes first.")
    )
    options = models.JSONField(
        null=True, help_text=_("Policy of each run: retry, timeout, at_most_once, expires, sensitive.")
    )
    kind = models.CharField(_("kind"), max_length=10, choices=Kind)

    class Meta:
        abstract = True

    @property
    def said(self) -> dict[str, Any]:
        """Its options; none where somebody wrote something else into the row."""
        return self.options if isinstance(self.options, dict) else {}

    @property
    def unique(self) -> str:
        """The key that it is the only run of, or one run after many calls; empty for others."""
        mark = self.said.get("unique") or self.said.get("debounce") or {}
        return str(mark.get("key", ""))

    @property
    def tags(self) -> list[str]:
        """Words that it is known by."""
        return list(self.said.get("tags") or ())

    @property
    def sensitive(self) -> Collection[str | int]:
        """Names and positions of arguments that must not be shown."""
        return self.said.get("sensitive") or ()

    @property
    def fair_name(self) -> str | None:
        """The key whose turns it takes, as made of its arguments; None without one."""
        key = self.said.get("fair_key")
        return key if isinstance(key, str) else None

    @property
    def limit_name(self) -> str | None:
        """The key of its limit, as made of its arguments; None without a limit."""
        limit = self.said.get("limit")
        return limit.get("key") if isinstance(limit, dict) else None


class InStatus(_Lookup):
    """The condition that runs are in one of some states, for `filter()`.

    With the states as literals: SQLite does not use a partial index for a status that it is only
    told when the statement runs. A lookup, because MariaDB uses no index for other conditions of
    Django 5.2's, which it is given as `(...) = TRUE`.

    Args:
        statuses: One state or several.
    """

    lookup_name = "in_status"
    prepare_rhs = False

    def __init__(self, *statuses: Status) -> None:
        super().__init__(models.F("status"), tuple(Status(status).value for status in statuses))

    def as_sql(self, compiler: Any, connection: Any) -> tuple[str, tuple[Any, ...]]:
        """Return the condition."""
        column, params = self.process_lhs(compiler, connection)
        quoted = [f"'{status}'" for status in self.rhs]
        states = f"= {quoted[0]}" if len(quoted) == 1 else f"IN ({', '.join(quoted)})"
        return f"{column} {states}", tuple(params)
