"""The order of a queryset's rows, by which a loop goes on after one of them."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import FieldDoesNotExist
from django.db import models
from django.db.models import Q


class Keyset:
    """The order of a queryset's rows, in which each has a place of its own.

    Raises:
        TypeError: It is no queryset of model instances.
        ValueError: Its rows have no such order.
    """

    def __init__(self, queryset: models.QuerySet[Any]) -> None:
        if not isinstance(queryset, models.QuerySet):
            raise TypeError(f"iterate() takes a queryset, not {type(queryset).__name__}")
        query = queryset.query
        if query.is_sliced or query.combinator or query.distinct or not query.standard_ordering:
            raise ValueError(
                "iterate() cannot page through a queryset that is sliced, combined, distinct or reversed"
            )
        if queryset._fields is not None:  # type: ignore[attr-defined]
            raise ValueError("iterate() yields model instances: leave values() and values_list() out")
        self._fields: list[tuple[str, bool]] = []
        pk = queryset.model._meta.pk
        for name in (*(query.order_by or ()), "pk"):
            attname, is_descending = self._field(queryset.model, name)
            if attname not in [known for known, _ in self._fields]:
                self._fields.append((attname, is_descending))
            if attname == pk.attname:
                break
        order = [f"-{name}" if is_descending else name for name, is_descending in self._fields]
        self.queryset = queryset.order_by(*order)

    def _field(self, model: type[models.Model], name: object) -> tuple[str, bool]:
        way_out = (
            "order by columns of the model that are never null, or leave order_by() out for the primary key"
        )
        if not isinstance(name, str):
            raise ValueError(f"iterate() cannot go on after {name!r}: {way_out}")  # noqa: TRY004 - one kind for all
        bare = name.removeprefix("-")
        try:
            field = model._meta.pk if bare == "pk" else model._meta.get_field(bare)
        except FieldDoesNotExist:
            field = None
        if not isinstance(field, models.Field) or not field.concrete or field.null:
            raise ValueError(f"iterate() cannot go on after {name!r}: {way_out}")
        return field.attname, name.startswith("-")

    def key(self, row: Any) -> list[Any]:
        """Return the place of a row."""
        return [getattr(row, name) for name, _ in self._fields]

    def page(self, after: list[Any] | None, size: int) -> list[Any]:
        """Return the rows after a place; from the first for None."""
        rows = self.queryset if after is None else self.queryset.filter(self._after(after))
        return list(rows[:size])

    def _after(self, place: list[Any]) -> Q:
        condition = Q()
        equal = Q()
        for (name, is_descending), value in zip(self._fields, place, strict=True):
            condition |= equal & Q(**{f"{name}__{'lt' if is_descending else 'gt'}": value})
            equal &= Q(**{name: value})
        return condition
