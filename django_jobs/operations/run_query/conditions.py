"""The conditions of filters that are more than one column and a value."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from django.db.models import FloatField, Func, Q, TextField, Value
from django.db.models.functions import Cast, Coalesce
from django.db.models.lookups import Contains, GreaterThan, LessThan
from django.views.debug import SafeExceptionReporterFilter

from django_jobs.models import FINISHED, UNFINISHED

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

# What a part of a text that is JSON is followed by where it ends.
_ENDS = (",", "}", "]")
_NAMED = re.compile(r"([\w.-]*[A-Za-z_][\w.-]*):(.+)", re.DOTALL)


def of_times(status: str, since: datetime | None, until: datetime | None) -> Iterator[Q]:
    """Yield what holds for runs that ended within a time, or are unfinished and were enqueued within it."""
    for way, moment in (("gte", since), ("lt", until)):
        if moment is None:
            continue
        ended, enqueued = Q((f"finished_at__{way}", moment)), Q((f"enqueued_at__{way}", moment))
        if status in FINISHED:
            yield ended
        elif status in UNFINISHED:
            yield enqueued
        else:
            yield ended | (Q(finished_at__isnull=True) & enqueued)


def of_words(text: str) -> Iterator[Q]:
    """Yield what holds for runs that have each of some words in what a list shows of them."""
    for word in text.split():
        yield Q(func__icontains=word) | Q(job_id__startswith=word) | Q(error__icontains=word)


def of_argument(wanted: str) -> Q:
    """Return what holds for runs with a text in their arguments, or with a value under a name.

    Of a name with dots, "order.id:4711", the last part counts, at any depth.
    """
    named = _NAMED.fullmatch(wanted)
    if named is None:
        return Q(payload__contains=json.dumps(wanted, ensure_ascii=False)[1:-1])
    key = json.dumps(named[1].rpartition(".")[2], ensure_ascii=False)
    value = json.dumps(named[2], ensure_ascii=False)
    found = Q(payload__contains=f"{key}:{value[:-1]}")
    for end in _ENDS:
        # Numbers, true, false and null are no texts.
        found |= Q(payload__contains=f"{key}:{named[2]}{end}")
    return found


def may_have_secrets() -> Q:
    """Return what holds for runs some of whose arguments may not be shown."""
    hidden = SafeExceptionReporterFilter.hidden_settings.pattern
    return Q(payload__iregex=f'"[^"]*({hidden})[^"]*":') | Q(Contains(_options(), '"sensitive"'))


class _Seconds(Func):
    """How many seconds one time is after another; Django's own on SQLite is a function in Python, 30 times slower."""

    arity = 2
    output_field = FloatField()
    template, arg_joiner = "EXTRACT(EPOCH FROM (%(expressions)s))", " - "

    def as_sqlite(self, compiler: Any, connection: Any, **more: Any) -> Any:
        """Compare days: exact to a tenth of a millisecond."""
        days = "julianday(%(expressions)s)"
        return self.as_sql(
            compiler, connection, template=f"(({days}) * 86400.0)", arg_joiner=") - julianday(", **more
        )

    def as_mysql(self, compiler: Any, connection: Any, **more: Any) -> Any:
        """Subtract numbers of microseconds."""
        since = "TIMESTAMPDIFF(MICROSECOND, '2000-01-01', %(expressions)s)"
        joiner = ") - TIMESTAMPDIFF(MICROSECOND, '2000-01-01', "
        return self.as_sql(compiler, connection, template=f"(({since}) / 1e6)", arg_joiner=joiner, **more)


def of_numbers(took: str, attempts: str) -> Iterator[Q]:
    """Yield what holds for runs that took more or less than some seconds, and so many attempts."""
    if took:
        ran, seconds = _Seconds("finished_at", "started_at"), float(took.lstrip("<"))
        yield Q(LessThan(ran, seconds) if took.startswith("<") else GreaterThan(ran, seconds))
    if attempts:
        number = int(attempts.lstrip("<"))
        yield Q(attempt__lt=number) if attempts.startswith("<") else Q(attempt__gt=number)


def _options() -> Coalesce:
    return Coalesce(Cast("options", TextField()), Value("", output_field=TextField()))
