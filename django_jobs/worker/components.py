"""Components of a process that other rooms register: each is started and stopped with its service."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from django_jobs.storage.components import Component

# Given the alias of the database and the served queues (empty: all); None where there is nothing to do.
Factory: TypeAlias = "Callable[[str, Sequence[str]], Component | None]"

_factories: list[Factory] = []


def register(factory: Factory) -> None:
    """Have each service of this process start what a factory makes."""
    if factory not in _factories:
        _factories.append(factory)


def make(using: str, queues: Sequence[str]) -> list[Component]:
    """Return the registered components that a service of some queues needs."""
    made = [factory(using, queues) for factory in _factories]
    return [component for component in made if component is not None]
