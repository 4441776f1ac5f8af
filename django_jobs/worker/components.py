"""Parts of a process that other rooms register: each is started and stopped with its service."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


class Component(Protocol):
    """A part that lives as long as the process works."""

    def start(self) -> None:
        """Begin, and return."""

    def stop(self) -> None:
        """End within a few seconds; called once."""

    def has_nothing_due(self) -> bool:
        """Return whether it has no work to do now, which `runjobs --drain` waits for."""


# Given the alias of the database and the served queues (empty: all); None where there is nothing to do.
Factory: TypeAlias = "Callable[[str, Sequence[str]], Component | None]"

_factories: list[Factory] = []


def register(factory: Factory) -> None:
    """Have each service of this process start what a factory makes."""
    if factory not in _factories:
        _factories.append(factory)


def make(using: str, queues: Sequence[str]) -> list[Component]:
    """Return the registered parts that a service of some queues needs."""
    made = [factory(using, queues) for factory in _factories]
    return [component for component in made if component is not None]
