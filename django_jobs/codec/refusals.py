"""Why a value cannot be stored, and what to pass instead."""

from __future__ import annotations

from collections.abc import ItemsView, Iterator, KeysView, ValuesView
from dataclasses import is_dataclass
from io import IOBase
from typing import Any

from django.db.models import QuerySet
from django.utils.datastructures import MultiValueDict

from django_jobs.codec.tags import name_of


class Unstorable(Exception):
    """Why a value cannot be stored; its place is added on the way up, so that success pays nothing."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.steps: list[str] = []


def refusal(value: Any) -> str:
    """Say that a value of its type cannot be stored, and the way out."""
    return f"is a {name_of(value.__class__)}, which cannot be stored; {_way_out(value)}"


def _way_out(value: Any) -> str:
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return "pass a dict: value._asdict()"
    if is_dataclass(value) and not isinstance(value, type):
        return "pass a dict, such as dataclasses.asdict(value), or register the type with django_jobs.codec.register()"
    for types, hint in _WAYS_OUT:
        if isinstance(value, types):
            return hint
    return "pass its path or id instead, or register the type with django_jobs.codec.register()"


_WAYS_OUT: tuple[tuple[Any, str], ...] = (
    (QuerySet, "pass a list of primary keys: list(queryset.values_list('pk', flat=True))"),
    (MultiValueDict, "pass value.dict(), or dict(value.lists()) to keep repeated keys"),
    (IOBase, "pass its path or id instead, or register the type with django_jobs.codec.register()"),
    (dict, "pass dict(value), or register the type with django_jobs.codec.register()"),
    (tuple, "pass tuple(value), or register the type with django_jobs.codec.register()"),
    ((set, frozenset), "pass set(value), or register the type with django_jobs.codec.register()"),
    ((list, range, Iterator, KeysView, ValuesView, ItemsView), "pass list(value)"),
)
