"""What follows from a change of a chunk, wherever it is made."""

from __future__ import annotations

from typing import Any

from django.db.models.signals import post_delete, post_save
from django.dispatch import receiver

from documents.jobs import measure_document
from documents.models import Chunk


@receiver([post_save, post_delete], sender=Chunk)
def measure_soon(instance: Chunk, origin: Any = None, **_: Any) -> None:
    """Have the chunk's document measured, in the transaction of the change.

    Args:
        instance: The chunk.
        origin: What was deleted, an object or a query: with a document its chunks go, too.
    """
    if origin is None or getattr(origin, "model", type(origin)) is Chunk:
        measure_document.enqueue(instance.document)
