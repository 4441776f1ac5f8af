"""The parameters of a function, and a call's arguments by their names."""

from __future__ import annotations

import functools
import inspect
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


@functools.lru_cache(maxsize=1024)
def signature_of(func: Callable[..., Any]) -> inspect.Signature | None:
    """Return the parameters of a function, or None where nobody knows them."""
    try:
        return inspect.signature(func)
    except (TypeError, ValueError):
        # Some functions written in C do not say; their own call will.
        return None


@functools.lru_cache(maxsize=1024)
def positional_counts(func: Callable[..., Any]) -> range:
    """Return with how many arguments by position, and none by name, a function can be called.

    None where nobody knows its parameters. `Signature.bind` says the same, at ten times the price.
    """
    least = most = 0
    signature = signature_of(func)
    for parameter in signature.parameters.values() if signature else ():
        is_required = parameter.default is parameter.empty
        if parameter.kind in {parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD}:
            most += 1
            least += is_required
        elif parameter.kind is parameter.VAR_POSITIONAL:
            most = sys.maxsize
        elif parameter.kind is parameter.KEYWORD_ONLY and is_required:
            return range(0)
    return range(least, most + 1) if signature else range(0)


def bind(func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """Return arguments that the function takes, by the names of its parameters, with their defaults.

    Of a function whose parameters nobody knows, none.

    Raises:
        TypeError: The function does not take them.
    """
    signature = signature_of(func)
    if signature is None:
        return {}
    call = signature.bind(*args, **kwargs)
    call.apply_defaults()
    return call.arguments
