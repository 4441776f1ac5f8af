"""What a job is about: any object of the project's, by its model and primary key."""

from __future__ import annotations

import re
from typing import Any

from django.db.models import Model

#: Characters of a reference, which a column holds.
MAX_ABOUT_LENGTH = 255
_REFERENCE = re.compile(r"[a-z_]\w*\.[a-z_]\w*:.+", re.DOTALL)


def reference(value: Model | str) -> str:
    """Return an object as "app_label.model:pk"; a text that is one already as it is.

    Raises:
        TypeError: It is neither a model instance nor a text.
        ValueError: It is not saved, or the text is no reference, or it is too long.
    """
    if isinstance(value, Model):
        if value.pk is None:
            raise ValueError(f"about is a {type(value).__name__} without a primary key: save it first")
        # Proxies of a model share its rows.
        value = f"{value._meta.concrete_model._meta.label_lower}:{value.pk}"  # type: ignore[union-attr]
    elif not isinstance(value, str):
        raise TypeError(f"about must be a saved model instance, not {type(value).__name__}")
    elif not _REFERENCE.fullmatch(value):
        raise ValueError(f'about must be a model instance or "app_label.model:pk", not {value!r}')
    if len(value) > MAX_ABOUT_LENGTH or "\x00" in value:
        raise ValueError(
            f"about must have at most {MAX_ABOUT_LENGTH} characters and no NUL, not {value!r:.100}"
        )
    return value


def check(key: str, value: Any) -> None:
    """Refuse what no job can be about; see `reference`."""
    reference(value)
