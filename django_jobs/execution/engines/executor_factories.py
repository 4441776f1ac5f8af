"""What a path in ENGINES is of: a callable that makes executors."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from django.utils.module_loading import import_string

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from concurrent.futures import Executor


def factory(path: str) -> Callable[..., Executor]:
    """Return what makes executors.

    Args:
        path: package.module:name, or with a dot.

    Raises:
        ImportError: There is nothing of that name.
    """
    made: Callable[..., Executor] = import_string(path.replace(":", "."))
    return made


def takes_max_workers(made: Any) -> bool:
    """Return whether something can be called as we call what makes executors."""
    try:
        inspect.signature(made).bind(max_workers=1)
    except TypeError:
        return False
    except ValueError:
        # It has no signature: nothing to say before it is called.
        return True
    return True


def complaints(paths: Iterable[str]) -> Iterator[str]:
    """Yield what is wrong with paths in ENGINES, each once."""
    for path in dict.fromkeys(paths):
        try:
            made = factory(path)
        except ImportError as error:
            yield f"{path}, which cannot be imported: {error}"
            continue
        if not callable(made):
            yield f"{path}, which cannot be called"
        elif not takes_max_workers(made):
            yield f"{path}, which takes no argument max_workers"
