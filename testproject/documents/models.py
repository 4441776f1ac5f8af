"""Documents, and the chunks that their text is cut into."""

from __future__ import annotations

from django.db import models


class Document(models.Model):
    """One ingested file, as it was when it was last read."""

    class Kind(models.TextChoices):
        """What the file is, which decides how it is read."""

        TEXT = "text"
        MARKDOWN = "markdown"
        CSV = "csv", "CSV"
        PDF = "pdf", "PDF"

    title = models.CharField(max_length=255)
    # 255: the most that every database can keep unique.
    source_path = models.CharField(max_length=255, unique=True, help_text="Absolute, links resolved.")
    kind = models.CharField(max_length=16, choices=Kind)
    sha256 = models.CharField("SHA-256", max_length=64, help_text="Of the file's bytes, in hexadecimal.")
    size_bytes = models.PositiveBigIntegerField()
    text_length = models.PositiveIntegerField(help_text="Characters of text read from the file.")
    ingested_at = models.DateTimeField()

    def __str__(self) -> str:
        return self.title


class Chunk(models.Model):
    """A few paragraphs of a document, small enough to search and quote."""

    document = models.ForeignKey(Document, on_delete=models.CASCADE, related_name="chunks")
    position = models.PositiveIntegerField(help_text="Counted from 0 within the document.")
    text = models.TextField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["document", "position"], name="unique_chunk_position"),
        ]

    def __str__(self) -> str:
        return f"{self.document_id}/{self.position}"
