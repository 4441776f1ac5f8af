"""A form for the arguments of a function, made from its signature and type hints."""

from __future__ import annotations

import inspect
import json
import typing
from typing import TYPE_CHECKING, Any

from django import forms
from django.utils.html import format_html
from django.utils.translation import gettext as _
from django.views.debug import SafeExceptionReporterFilter

from django_jobs.admin.jobs.argument_fields import JSONText, of_type, without_none

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

PREFIX = "argument"
# The manager's own words: a keyword argument of such a name would be taken for them.
_TAKEN = {"job_id", "max_instances"}
_EMPTY = inspect.Parameter.empty
_VARIABLE = {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD}


class _NoDefault:
    """Stands for an argument that is left out."""


class ArgumentForm(forms.Form):
    """The arguments of one function.

    A field that is left empty, or as it was, leaves the argument out where the function has a default.

    Args:
        func: The function.
        *args: As for `forms.Form`.
        sensitive: Names of parameters that must not be seen.
        **kwargs: As for `forms.Form`.
    """

    def __init__(
        self, func: Callable[..., Any], *args: Any, sensitive: Collection[str] = (), **kwargs: Any
    ) -> None:
        kwargs["prefix"] = PREFIX
        super().__init__(*args, **kwargs)
        self._parameters = _parameters(func)
        hints = _hints(func)
        for parameter in self._parameters:
            is_secret = _is_secret(parameter.name, sensitive)
            self.fields[parameter.name] = _field(
                parameter, hints.get(parameter.name, Any), is_secret=is_secret
            )

    def arguments(self) -> tuple[list[Any], dict[str, Any]]:
        """Return the arguments of a valid form as the function is called with them."""
        args: list[Any] = []
        kwargs: dict[str, Any] = {}
        chosen = {parameter.name: self._chosen(parameter) for parameter in self._parameters}
        rest = next((chosen[p.name] for p in self._parameters if p.kind is p.VAR_POSITIONAL), None)
        for parameter in self._parameters:
            value = chosen[parameter.name]
            if parameter.kind is parameter.VAR_POSITIONAL:
                args += value or []
            elif parameter.kind is parameter.VAR_KEYWORD:
                kwargs.update(value or {})
            elif parameter.kind is parameter.KEYWORD_ONLY:
                if value is not _NoDefault:
                    kwargs[parameter.name] = value
            elif (
                parameter.kind is parameter.POSITIONAL_ONLY
                or rest
                or self._is_needed_by_position(parameter, chosen)
            ):
                args.append(parameter.default if value is _NoDefault else value)
            elif value is not _NoDefault:
                kwargs[parameter.name] = value
        return args, kwargs

    def _is_needed_by_position(self, parameter: inspect.Parameter, chosen: Mapping[str, Any]) -> bool:
        """Whether this or a later argument has a name that is the manager's as a keyword."""
        names = [p.name for p in self._parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
        later = names[names.index(parameter.name) :]
        return any(name in _TAKEN and chosen[name] is not _NoDefault for name in later)

    def _chosen(self, parameter: inspect.Parameter) -> Any:
        """Return what was filled in; `_NoDefault` to leave the argument out."""
        value = self.cleaned_data[parameter.name]
        if parameter.kind in _VARIABLE or parameter.default is _EMPTY:
            return value
        is_untouched = parameter.name not in self.changed_data
        is_default = type(value) is type(parameter.default) and value == parameter.default
        if is_untouched or is_default:
            return _NoDefault
        if value is None and not self.fields[parameter.name].may_be_none:  # type: ignore[attr-defined] # set below
            return _NoDefault
        return value

    def clean(self) -> dict[str, Any]:
        """Refuse keywords of **kwargs that are parameters or the manager's own words."""
        said: dict[str, Any] = super().clean() or self.cleaned_data
        for parameter in self._parameters:
            if parameter.kind is parameter.VAR_KEYWORD:
                names = {p.name for p in self._parameters if p is not parameter} | _TAKEN
                for name in sorted(names & set(said.get(parameter.name) or {})):
                    self.add_error(parameter.name, _("“%s” cannot be given here.") % name)
        return said


def why_not(func: Callable[..., Any]) -> str:
    """Return why no form can be made for a function; an empty text where one can."""
    try:
        parameters = _parameters(func)
    except (TypeError, ValueError):
        return _("Its signature cannot be read.")
    for parameter in parameters:
        if parameter.kind is parameter.KEYWORD_ONLY and parameter.name in _TAKEN:
            return _("Its parameter “%s” has a name that is the manager's own word.") % parameter.name
    return ""


def _parameters(func: Callable[..., Any]) -> list[inspect.Parameter]:
    return list(inspect.signature(func).parameters.values())


def _hints(func: Callable[..., Any]) -> dict[str, Any]:
    try:
        return typing.get_type_hints(func)
    except Exception:  # noqa: BLE001 - hints are the project's, and may name what is imported for type checkers only
        return {}


def _is_secret(name: str, sensitive: Collection[str]) -> bool:
    return name in sensitive or bool(SafeExceptionReporterFilter.hidden_settings.search(name))


def _field(parameter: inspect.Parameter, hint: Any, *, is_secret: bool) -> forms.Field:
    """Return the field of one parameter, with its type and default in its help text."""
    if parameter.kind in _VARIABLE:
        field, words, is_optional = *_rest(parameter), True
    else:
        has_default = parameter.default is not _EMPTY
        if hint is Any and has_default and parameter.default is not None:
            hint = type(parameter.default)
        hint, is_optional = without_none(hint)
        required = not has_default and not is_optional
        field, words = of_type(hint, required=required, is_optional=is_optional)
        if has_default and is_secret:
            words += " " + _("Has a default.")
        elif has_default:
            field.initial = _initial(field, parameter.default)
            words += " " + _("Default: %s.") % repr(parameter.default)[:200]
    field.label = parameter.name
    field.may_be_none = is_optional  # type: ignore[attr-defined] # read by `_chosen`
    if is_secret:
        if isinstance(field.widget, forms.TextInput | forms.NumberInput | forms.Textarea):
            field.widget = forms.PasswordInput(attrs={"autocomplete": "off", "class": "vTextField"})
        words += " " + _("It is not shown on pages, and must be typed again after a preview.")
    # Stock admin takes help texts for HTML, and parts of these are the code's.
    field.help_text = format_html("{}", words.strip())
    return field


def _rest(parameter: inspect.Parameter) -> tuple[forms.Field, str]:
    if parameter.kind is parameter.VAR_POSITIONAL:
        return JSONText(kind=list, required=False), _("More arguments by position, as a JSON list.")
    return JSONText(kind=dict, required=False), _("More arguments by name, as a JSON object.")


def _initial(field: forms.Field, default: Any) -> Any:
    """Return a default as a field shows it; None where it cannot."""
    if not isinstance(field, JSONText):
        return default
    shown = list(default) if isinstance(default, set | frozenset | tuple) else default
    try:
        json.dumps(shown)
    except (TypeError, ValueError):
        return None
    return shown
