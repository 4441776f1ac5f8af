"""A project's own types, made storable."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from django_jobs.codec.decoding import DECODERS
from django_jobs.codec.encoding import ATOMS, CONTAINERS, LEAVES
from django_jobs.codec.tags import Custom, custom_by_tag, custom_by_type, name_of

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


def register(type_: type[T], tag: str, encode: Callable[[T], object], decode: Callable[[Any], T]) -> None:
    """Make instances of a type storable as arguments and results, in every process that reads them.

    Exactly this type: instances of its subclasses are not matched unless those are registered too.
    A registered type wins over what its base classes would mean. Registering it again under another
    tag keeps the old tag readable.

    Args:
        type_: The class.
        tag: Stored beside the value; must not change while values are stored.
        encode: Value to anything that `dumps` takes.
        decode: The reverse.

    Raises:
        ValueError: The tag belongs to another type, or the type needs no registration.
    """
    if not isinstance(type_, type):
        raise TypeError(f"expected a class to register, not {type_!r}")
    if not isinstance(tag, str) or not tag:
        raise ValueError(f"the tag of {type_.__qualname__} must be a non-empty string, not {tag!r}")
    if type_ in ATOMS or type_ in LEAVES or type_ in CONTAINERS:
        raise ValueError(f"{type_.__qualname__} is stored by django_jobs itself")
    if tag in DECODERS:
        raise ValueError(f"the tag {tag!r} is reserved by django_jobs; choose another one")
    known = custom_by_tag.get(tag)
    if known is not None and known.type is not type_:
        raise ValueError(f"the tag {tag!r} already belongs to {name_of(known.type)}; choose another one")
    custom_by_tag[tag] = custom_by_type[type_] = Custom(type_, tag, encode, decode)
