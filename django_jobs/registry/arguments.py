"""A call's arguments: whether the function takes them, how they are stored, and which of them are shown."""

from __future__ import annotations

import functools
import logging
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from django.views.debug import SafeExceptionReporterFilter

from django_jobs import codec
from django_jobs.conf import jobs_settings
from django_jobs.registry import atomicity
from django_jobs.registry.options import JobOptions
from django_jobs.registry.parameters import bind, positional_counts, signature_of
from django_jobs.texts.printable import printable

if TYPE_CHECKING:
    from collections.abc import Callable

logger = logging.getLogger(__name__)

# How other libraries pass a function's arguments.
_CONTAINERS = frozenset({"args", "kwargs"})
# The options that `using` takes, which a call would hand to the function.
_OURS = _CONTAINERS | {field.name for field in fields(JobOptions)}


@functools.lru_cache(maxsize=1024)
def hidden_positions(func: Callable[..., Any], sensitive: frozenset[str]) -> tuple[int, ...]:
    """Return the positions of the parameters whose arguments pages and logs do not show.

    Those that `sensitive` names, and those that Django would hide among settings by their names.
    """
    signature = signature_of(func)
    if signature is None:
        return ()
    is_secret = SafeExceptionReporterFilter.hidden_settings.search
    return tuple(
        position
        for position, parameter in enumerate(signature.parameters.values())
        if parameter.kind in {parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD}
        and (parameter.name in sensitive or is_secret(parameter.name))
    )


def stored_options(
    options: JobOptions,
    func: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    *,
    bound: int = 0,
) -> dict[str, Any] | None:
    """Return what a run keeps of its options, with the positions of arguments that are not shown.

    Args:
        options: All that hold for the call.
        func: The function.
        args: For the function, by position.
        kwargs: For the function.
        bound: How many parameters come before these arguments, and are filled by others.

    Raises:
        TypeError: The text of an argument that a key is made of may differ from process to process; or
            `atomic` is for an `async def` function.
        ValueError: A key cannot be made of these arguments; or `atomic` is for a database without runs.
    """
    if options.atomic:
        options.check_function(func)
        atomicity.check_database(atomicity.data_alias(options.atomic))
    named = None
    if options.keys:
        options.check_function(func)
        named = bind(func, (*[None] * bound, *args), kwargs)
    stored = options.stored(named)
    hidden = hidden_positions(func, frozenset(options.sensitive or ()))
    positions = [position - bound for position in hidden if 0 <= position - bound < len(args)]
    if positions:
        stored = stored or {}
        stored["sensitive"] = [*stored.get("sensitive", ()), *positions]
    return stored


def stored_arguments(args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
    """Return arguments as they are stored.

    Raises:
        InvalidArgument: One of them cannot be stored.
        ValueError: They are larger than MAX_PAYLOAD_BYTES.
    """
    payload = codec.dump_arguments(args, kwargs)
    limit = jobs_settings().MAX_PAYLOAD_BYTES
    # A character is at most four bytes: most payloads need not be encoded to be measured.
    if len(payload) * 4 > limit and (size := len(payload.encode())) > limit:
        raise ValueError(
            f"the arguments have {size} bytes as JSON, more than MAX_PAYLOAD_BYTES ({limit}): "
            "store the data elsewhere and pass its path or id"
        )
    return payload


def check_arguments(
    path: str, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    """Refuse arguments that the function could not be called with.

    Raises:
        TypeError: As the call itself would, with the function's signature.
    """
    if not kwargs and len(args) in positional_counts(func):
        return
    signature = signature_of(func)
    if signature is None:
        return
    misplaced = _OURS.intersection(kwargs).difference(signature.parameters) if kwargs else None
    try:
        signature.bind(*args, **kwargs)
    except TypeError as error:
        hint = "".join(f"; {_hint(name)}" for name in sorted(misplaced or ()))
        raise TypeError(f"{path}{signature} cannot be called with these arguments: {error}{hint}") from None
    for name in misplaced or ():
        _warn_of(path, name)


@functools.lru_cache(maxsize=1024)
def _warn_of(path: str, name: str) -> None:
    """Say once that a function with `**kwargs` is given what looks like a word of ours."""
    logger.warning(
        "%s takes any keyword, so it is called with %s=...; %s", printable(path), name, printable(_hint(name))
    )


def _hint(name: str) -> str:
    if name in _CONTAINERS:
        return "the function's own arguments follow it as in a call: (func, 1, 2, name=3)"
    return f"{name} is an option: write using({name}=...) before the call"
