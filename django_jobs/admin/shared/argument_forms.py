"""Forms of a call's arguments in JSON: a field for each parameter of its function, or all of them as two."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from django import forms
from django.utils.html import format_html
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from django_jobs.admin.shared import display
from django_jobs.exceptions import BadPayload
from django_jobs.operations import named_arguments, retry_with_changes

if TYPE_CHECKING:
    import inspect
    from collections.abc import Sequence

    from django.http import HttpRequest

    from django_jobs.models import Job, Run
    from django_jobs.operations.named_arguments import Argument

PREFIX = "argument"
MAX_ROWS = 16


def arguments_of(run: Run) -> list[Argument] | None:
    """Return a run's arguments by name, as JSON with asterisks for secrets; None where there are no names.

    Raises:
        BadPayload: The stored arguments are damaged, or their signature is not ours.
    """
    args, kwargs = map(json.loads, retry_with_changes.editable(run))
    parameters = named_arguments.parameters_of(run)
    return None if parameters is None else named_arguments.by_name(parameters, args, kwargs)


class NamedArgumentsForm(forms.Form):
    """The arguments of a run, to be changed. A field that is left empty leaves its argument out.

    Args:
        run: The run.
        arguments: As `arguments_of` returned them.
        *args: As for `forms.Form`.
        **kwargs: As for `forms.Form`.
    """

    def __init__(self, run: Run, arguments: Sequence[Argument], *args: Any, **kwargs: Any) -> None:
        kwargs["prefix"] = PREFIX
        super().__init__(*args, **kwargs)
        self.run = run
        self.payload = ""
        self.names: list[str] = []
        self._arguments = arguments
        for one in arguments:
            self.fields[one.name] = _field(one)

    def clean(self) -> dict[str, Any]:
        """Check that a run can be made of it."""
        cleaned: dict[str, Any] = super().clean() or {}
        values = {}
        for one in self._arguments:
            text = cleaned.get(one.name, "").strip()
            if not text:
                continue
            try:
                values[one.name] = retry_with_changes.parsed(text, _kind(one.parameter))
            except retry_with_changes.NotFitting as error:
                self.add_error(one.name, str(error))
        if self.errors:
            return cleaned
        args, kwargs = named_arguments.call_with(self._arguments, values)
        try:
            self.payload, self.names = retry_with_changes.changed(
                self.run, json.dumps(args, ensure_ascii=False), json.dumps(kwargs, ensure_ascii=False)
            )
        except retry_with_changes.NotFitting as error:
            raise forms.ValidationError(str(error)) from error
        return cleaned


class ArgumentsForm(forms.Form):
    """The arguments of a run, to be changed."""

    args = forms.CharField(
        label=gettext_lazy("positional arguments"),
        widget=forms.Textarea(attrs={"rows": 8, "cols": 80, "spellcheck": "false", "class": "jobs-json"}),
        help_text=gettext_lazy("A list in JSON."),
    )
    kwargs = forms.CharField(
        label=gettext_lazy("named arguments"),
        widget=forms.Textarea(attrs={"rows": 12, "cols": 80, "spellcheck": "false", "class": "jobs-json"}),
        help_text=gettext_lazy("An object in JSON."),
    )

    def __init__(self, run: Run, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.run = run
        self.payload = ""
        self.names: list[str] = []

    def clean(self) -> dict[str, Any]:
        """Check that a run can be made of it."""
        cleaned: dict[str, Any] = super().clean() or {}
        if "args" in cleaned and "kwargs" in cleaned:
            try:
                self.payload, self.names = retry_with_changes.changed(
                    self.run, cleaned["args"], cleaned["kwargs"]
                )
            except retry_with_changes.NotFitting as error:
                raise forms.ValidationError(str(error)) from error
        return cleaned


AnyForm = ArgumentsForm | NamedArgumentsForm


def of(request: HttpRequest, run: Run) -> tuple[AnyForm, str]:
    """Return a field for each argument where they have names and no JSON is asked for, else the two of JSON."""
    posted = request.POST if request.method == "POST" else None
    if posted is not None and "args" in posted:
        return ArgumentsForm(run, posted), ""
    if request.GET.get("as") != "json":
        try:
            arguments = arguments_of(run)
        except BadPayload:
            arguments = None
        if arguments:
            return NamedArgumentsForm(run, arguments, posted), ""
    return (ArgumentsForm(run, posted), "") if posted is not None else _first_form(run)


def shown(original: Job | Run, form: AnyForm, problem: str) -> dict[str, Any]:
    """Return what the templates of both pages with such a form show."""
    return {
        "subtitle": display.cut(str(original), 100),
        "original": original,
        "form": form,
        "problem": problem,
        "is_named": isinstance(form, NamedArgumentsForm),
    }


def _first_form(run: Run) -> tuple[ArgumentsForm, str]:
    """Return the form with the arguments of the run, and why they cannot be read or an empty string."""
    try:
        args, kwargs = retry_with_changes.editable(run)
        problem = ""
    except BadPayload as error:
        args, kwargs, problem = "[]", "{}", str(error)
    return ArgumentsForm(run, initial={"args": args, "kwargs": kwargs}), problem


def _kind(parameter: inspect.Parameter) -> type[Any]:
    if parameter.kind is parameter.VAR_POSITIONAL:
        return list
    return dict if parameter.kind is parameter.VAR_KEYWORD else object


def _field(one: Argument) -> forms.Field:
    text = json.dumps(one.value, indent=2, ensure_ascii=False) if one.is_given else ""
    rows = min(MAX_ROWS, text.count("\n") + 1 + len(text) // 100)
    parameter = one.parameter
    words = ""
    if parameter.kind is parameter.VAR_POSITIONAL:
        words = _("More arguments by position, as a JSON list.")
    elif parameter.kind is parameter.VAR_KEYWORD:
        words = _("More arguments by name, as a JSON object.")
    elif parameter.default is not named_arguments.EMPTY:
        words = _("Default: %s.") % repr(parameter.default)[:200]
    return forms.CharField(
        label=one.name,
        required=False,
        initial=text,
        strip=False,
        widget=forms.Textarea(attrs={"rows": rows, "cols": 80, "spellcheck": "false", "class": "jobs-json"}),
        help_text=format_html("{}", words),
    )
