"""Form fields for the values of a type: what belongs in a parameter that is annotated with it."""

from __future__ import annotations

import enum
import types
import typing
from collections.abc import Mapping, Sequence, Set
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Union
from uuid import UUID

from django import forms
from django.contrib.admin.widgets import (
    AdminDateWidget,
    AdminTextareaWidget,
    AdminTextInputWidget,
    AdminTimeWidget,
)
from django.core.exceptions import ObjectDoesNotExist
from django.db.models import Model
from django.utils.translation import gettext as _

from django_jobs.admin.shared.widgets import SplitDateTime

if TYPE_CHECKING:
    from collections.abc import Callable

# Types of the items of a list, or of an object's values, that JSON has too, and are looked at.
_SIMPLE = (str, int, float, bool)


class TypeField(NamedTuple):
    """A field, and words that say what belongs in it."""

    field: forms.Field
    words: str


class JSONText(forms.JSONField):
    """JSON of some kind, told from no text at all."""

    def __init__(
        self,
        *,
        kind: type | None = None,
        items: Any = Any,
        convert: Callable[[Any], Any] | None = None,
        **kwargs: Any,
    ) -> None:
        self._kind, self._items, self._convert = kind, items, convert
        super().__init__(widget=AdminTextareaWidget(attrs={"rows": 3, "spellcheck": "false"}), **kwargs)

    def prepare_value(self, value: Any) -> Any:
        """Show no value as no text, not as `null`."""
        return "" if value is None else super().prepare_value(value)

    def clean(self, value: Any) -> Any:
        """Return the value, of the kind that was asked for."""
        found = super().clean(value)
        if value in self.empty_values:
            return None
        if self._kind and not isinstance(found, self._kind):
            is_object = self._kind is dict
            raise forms.ValidationError(
                _('This must be an object, such as {"a": 1}.')
                if is_object
                else _("This must be a list, such as [1, 2].")
            )
        for item in found.values() if self._kind is dict else found if self._kind is list else ():
            if self._items in _SIMPLE and not _fits(item, self._items):
                raise forms.ValidationError(
                    _("%(item)s is not a %(type)s."),
                    params={"item": repr(item)[:50], "type": self._items.__name__},
                )
        try:
            return self._convert(found) if self._convert else found
        except TypeError as error:
            # Such as a list in a set.
            raise forms.ValidationError(str(error)) from None


class ModelKeyField(forms.CharField):
    """The primary key of an object that exists."""

    def __init__(self, *, model: type[Model], **kwargs: Any) -> None:
        self._model = model
        super().__init__(**kwargs)

    def clean(self, value: Any) -> Any:
        """Return the object."""
        key = super().clean(value)
        if not key:
            return None
        try:
            return self._model._default_manager.get(pk=self._model._meta.pk.to_python(key))
        except (ObjectDoesNotExist, forms.ValidationError, ValueError, TypeError, OverflowError):
            raise forms.ValidationError(
                _("There is no %(model)s with this primary key."),
                params={"model": self._model._meta.verbose_name},
            ) from None


def _fits(item: Any, kind: type) -> bool:
    if isinstance(item, bool):
        return kind is bool
    return isinstance(item, (int, float) if kind is float else kind)


class TextField(forms.CharField):
    """A text as it is, spaces too."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(strip=False, widget=AdminTextareaWidget(attrs={"rows": 1}), **kwargs)


class BytesField(TextField):
    """A text that is passed as UTF-8."""

    def clean(self, value: Any) -> Any:
        """Return its bytes."""
        text = super().clean(value)
        return None if text is None else text.encode()

    def prepare_value(self, value: Any) -> Any:
        """Show bytes as text."""
        return value.decode(errors="replace") if isinstance(value, bytes) else value


class PathField(forms.CharField):
    """A path of the worker's host."""

    def clean(self, value: Any) -> Any:
        """Return the path."""
        text = super().clean(value)
        return Path(text) if text else None


class ValueField(forms.TypedChoiceField):
    """One of some values, which need not be texts.

    Args:
        values: By what stands for them in the form.
        required: Whether one must be chosen.
    """

    def __init__(self, values: Mapping[str, Any], *, required: bool) -> None:
        self._values = dict(values)
        choices = [(key, _label(value)) for key, value in values.items()]
        if not required:
            choices.insert(0, ("", "---------"))
        super().__init__(
            choices=choices, coerce=self._values.__getitem__, empty_value=None, required=required
        )

    def prepare_value(self, value: Any) -> Any:
        """Return what stands for a value."""
        for key, known in self._values.items():
            if type(known) is type(value) and known == value:
                return key
        return value

    def has_changed(self, initial: Any, data: Any) -> bool:
        """Compare what stands for the values."""
        return bool(super().has_changed(self.prepare_value(initial), data))


def _label(value: Any) -> str:
    if isinstance(value, bool):
        return _("Yes") if value else _("No")
    if isinstance(value, enum.Enum):
        return str(getattr(value, "label", value.name))
    return str(value)


def without_none(hint: Any) -> tuple[Any, bool]:
    """Return a type without its None, and whether it had one; `Any` for one of several types."""
    while True:
        if typing.get_origin(hint) is typing.Annotated:
            hint = typing.get_args(hint)[0]
        elif isinstance(hint, typing.NewType):
            hint = hint.__supertype__
        else:
            break
    if typing.get_origin(hint) not in {Union, types.UnionType}:
        return hint, False
    kinds = [kind for kind in typing.get_args(hint) if kind is not types.NoneType]
    is_optional = len(kinds) < len(typing.get_args(hint))
    return (without_none(kinds[0])[0] if len(kinds) == 1 else Any), is_optional


def of_type(hint: Any, *, required: bool, is_optional: bool) -> TypeField:
    """Return the field for the values of a type.

    Args:
        hint: As `without_none` returns it.
        required: Whether it must be filled in.
        is_optional: Whether an empty text means None.
    """
    origin = typing.get_origin(hint) or hint
    if origin is Literal:
        values = {repr(value): value for value in typing.get_args(hint)}
        return TypeField(ValueField(values, required=required), "")
    if not isinstance(origin, type):
        return _any(required)
    if issubclass(origin, enum.Enum):
        return TypeField(ValueField({member.name: member for member in origin}, required=required), "")
    if issubclass(origin, bool):
        if required:
            return TypeField(forms.BooleanField(required=False), "")
        return TypeField(ValueField({"True": True, "False": False}, required=False), "")
    if issubclass(origin, str | bytes):
        text: type[TextField] = TextField if issubclass(origin, str) else BytesField
        return TypeField(text(required=required, empty_value=None if is_optional else ""), _("Text."))
    if issubclass(origin, Model):
        words = _("The primary key of a %s.") % origin._meta.verbose_name
        return TypeField(ModelKeyField(model=origin, widget=AdminTextInputWidget(), required=required), words)
    for kind, make in _SCALARS:
        if issubclass(origin, kind):
            return make(required)
    return _collection(origin, typing.get_args(hint), required)


def _collection(origin: type, items: tuple[Any, ...], required: bool) -> TypeField:
    more: dict[str, Any] = {"required": required}
    if issubclass(origin, Mapping):
        more |= {"kind": dict, "items": items[1] if len(items) == 2 else Any}
        return TypeField(JSONText(**more), _('A JSON object, such as {"a": 1}.'))
    words = _("A JSON list, such as [1, 2].")
    if issubclass(origin, tuple):
        is_uniform = len(items) == 2 and items[1] is Ellipsis
        return TypeField(
            JSONText(kind=list, convert=tuple, items=items[0] if is_uniform else Any, **more), words
        )
    more |= {"kind": list, "items": items[0] if len(items) == 1 else Any}
    if issubclass(origin, Set):
        return TypeField(JSONText(convert=frozenset if origin is frozenset else set, **more), words)
    if issubclass(origin, Sequence):
        return TypeField(JSONText(**more), words)
    return _any(required)


def _any(required: bool) -> TypeField:
    return TypeField(JSONText(required=required), _("JSON; a text needs double quotes."))


def _scalar(
    field: type[forms.Field], words: Callable[[], str], widget: type[forms.Widget] | None = None
) -> Callable[[bool], TypeField]:
    def make(required: bool) -> TypeField:
        more: dict[str, Any] = {} if widget is None else {"widget": widget()}
        return TypeField(field(required=required, **more), words())

    return make


# In this order: a datetime is a date, too.
_SCALARS: tuple[tuple[type, Callable[[bool], TypeField]], ...] = (
    (int, _scalar(forms.IntegerField, lambda: _("A whole number."))),
    (float, _scalar(forms.FloatField, lambda: _("A number."))),
    (Decimal, _scalar(forms.DecimalField, lambda: _("A decimal number."))),
    (datetime, _scalar(forms.SplitDateTimeField, lambda: _("A date and a time."), SplitDateTime)),
    (date, _scalar(forms.DateField, lambda: _("A date."), AdminDateWidget)),
    (time, _scalar(forms.TimeField, lambda: _("A time of day."), AdminTimeWidget)),
    (timedelta, _scalar(forms.DurationField, lambda: _("A duration, such as 1 02:30:00."))),
    (UUID, _scalar(forms.UUIDField, lambda: _("A UUID."), AdminTextInputWidget)),
    (PurePath, _scalar(PathField, lambda: _("A path."), AdminTextInputWidget)),
)
