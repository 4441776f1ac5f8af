"""A call as it is kept: what a job, its runs and their rows have in common, a column each."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from django_jobs import codec
from django_jobs.models import DEFAULT_QUEUE_NAME
from django_jobs.registry.arguments import stored_arguments, stored_options

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self

    from django_jobs.models import Job, Run
    from django_jobs.registry.options import JobOptions


@dataclass(slots=True)
class CallSpec:
    """What to call and how. Its fields are columns of `models.Call`, with the same names.

    Not frozen: a new run's options are completed before it is inserted.
    """

    name: str
    func: str
    # Neither is shown: arguments may hold secrets, and receivers of signals write runs to logs.
    payload: str = field(repr=False)
    signature: str = field(repr=False)
    queue_name: str
    priority: int
    options: dict[str, Any] | None

    @classmethod
    def of_call(
        cls,
        path: str,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        chosen: JobOptions,
        *,
        bound: int = 0,
        **more: Any,
    ) -> Self:
        """Return a call of a function, signed.

        Args:
            path: Of the function, which may be called.
            function: The function.
            args: For the function, which takes them.
            kwargs: For the function.
            chosen: All options that hold for this call, those from `@job` among them.
            bound: How many of the function's first parameters others fill.
            **more: Other fields, of a subclass.

        Raises:
            InvalidArgument: An argument cannot be stored.
            ValueError: The arguments are larger than MAX_PAYLOAD_BYTES, or no key can be made of them.
        """
        payload = stored_arguments(args, kwargs)
        return cls(
            name=chosen.name or path.rpartition(":")[2],
            func=path,
            payload=payload,
            signature=codec.sign(path, payload),
            queue_name=chosen.queue_name or DEFAULT_QUEUE_NAME,
            priority=chosen.priority or 0,
            options=stored_options(chosen, function, args, kwargs, bound=bound),
            **more,
        )


CALL_COLUMNS = tuple(one.name for one in fields(CallSpec))
_values_of = attrgetter(*CALL_COLUMNS)


def values_of(call: CallSpec | Job | Run) -> tuple[Any, ...]:
    """Return the values of `CALL_COLUMNS`."""
    values: tuple[Any, ...] = _values_of(call)
    return values


def columns_of(call: CallSpec | Job | Run) -> dict[str, Any]:
    """Return the values of `CALL_COLUMNS` by name."""
    return dict(zip(CALL_COLUMNS, values_of(call), strict=True))
