"""A call's stored arguments by the names of the function's parameters, to be shown and to be edited."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django_jobs import codec
from django_jobs.exceptions import BadPayload, FunctionNotAllowed, FunctionNotFound
from django_jobs.execution import adapters
from django_jobs.registry import functions
from django_jobs.registry.parameters import signature_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from django_jobs.models import Job, Run

_BY_POSITION = {inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD}
EMPTY = inspect.Parameter.empty


@dataclass(frozen=True, slots=True)
class Argument:
    """One parameter of the function, with what it is given.

    Attributes:
        parameter: The parameter.
        value: What it is given; of `*args` a list of the rest, of `**kwargs` a dict of it.
        is_given: Whether it is given anything.
        is_by_position: Whether that is among the positional arguments.
    """

    parameter: inspect.Parameter
    value: Any = None
    is_given: bool = False
    is_by_position: bool = False

    @property
    def name(self) -> str:
        """Of the parameter."""
        return self.parameter.name


def bound_before(call: Job | Run) -> int:
    """Return how many arguments are put before the stored ones: a Task may take its context."""
    is_adapted = adapters.is_adapted(call.said)
    return int(bool(is_adapted and getattr(functions.find(call.func), "takes_context", False)))


def parameters_of(call: Job | Run) -> list[inspect.Parameter] | None:
    """Return the parameters that stored arguments are for; None where nobody knows them.

    The function's module is imported, so the call's signature is verified first.
    """
    try:
        codec.verify(call.func, call.payload, call.signature)
        signature = signature_of(functions.resolve(call.func))
        bound = bound_before(call)
    except (BadPayload, FunctionNotAllowed, FunctionNotFound):
        return None
    return None if signature is None else list(signature.parameters.values())[bound:]


def by_name(
    parameters: Sequence[inspect.Parameter], args: Sequence[Any], kwargs: Mapping[str, Any]
) -> list[Argument] | None:
    """Return each parameter with what it is given; None where the arguments do not fit them."""
    rest, named = list(args), dict(kwargs)
    found = []
    for parameter in parameters:
        if parameter.kind in _BY_POSITION and rest:
            found.append(Argument(parameter, rest.pop(0), is_given=True, is_by_position=True))
        elif parameter.kind is parameter.VAR_POSITIONAL:
            found.append(Argument(parameter, rest, is_given=bool(rest), is_by_position=True))
            rest = []
        elif parameter.kind is parameter.VAR_KEYWORD:
            found.append(Argument(parameter, named, is_given=bool(named)))
            named = {}
        elif parameter.name in named and parameter.kind is not parameter.POSITIONAL_ONLY:
            found.append(Argument(parameter, named.pop(parameter.name), is_given=True))
        else:
            found.append(Argument(parameter))
    return None if rest or named else found


def shown(call: Job | Run) -> list[tuple[str, Any]]:
    """Return the arguments that a call is given, without their secrets, each with its name or position.

    Raises:
        BadPayload: They cannot be read.
    """
    args, kwargs = codec.display_arguments(call.payload, sensitive=call.sensitive)
    parameters = parameters_of(call) if args else None
    fitting = by_name(parameters, args, kwargs) if parameters is not None else None
    if fitting is None:
        return [*((str(index), value) for index, value in enumerate(args)), *kwargs.items()]
    found: list[tuple[str, Any]] = []
    for one in fitting:
        if one.parameter.kind is one.parameter.VAR_POSITIONAL:
            found += [(f"{one.name}[{index}]", value) for index, value in enumerate(one.value)]
        elif one.parameter.kind is one.parameter.VAR_KEYWORD:
            found += one.value.items()
        elif one.is_given:
            found.append((one.name, one.value))
    return found


def call_with(arguments: Sequence[Argument], values: Mapping[str, Any]) -> tuple[list[Any], dict[str, Any]]:
    """Return positional and named arguments that give some parameters other values.

    What was given by position stays there as far as nothing before it is left out.

    Args:
        arguments: As `by_name` returned them.
        values: By the names of parameters; one that has none is left out.
    """
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    rest = next(
        (values.get(a.name) for a in arguments if a.parameter.kind is a.parameter.VAR_POSITIONAL), None
    )
    is_gapless = True
    for one in arguments:
        kind = one.parameter.kind
        is_given = one.name in values
        if kind is one.parameter.VAR_POSITIONAL:
            args += values.get(one.name) or []
        elif kind is one.parameter.VAR_KEYWORD:
            kwargs |= values.get(one.name) or {}
        elif not is_given:
            is_gapless = is_gapless and kind not in _BY_POSITION
        elif (
            is_gapless
            and kind in _BY_POSITION
            and (one.is_by_position or rest or kind is one.parameter.POSITIONAL_ONLY)
        ):
            args.append(values[one.name])
        else:
            kwargs[one.name] = values[one.name]
    return args, kwargs
