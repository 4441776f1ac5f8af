"""Admin pages of documents and chunks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.contrib import admin
from django.db.models import Count, QuerySet
from django.utils.text import Truncator

from django_jobs.admin import JobsPanel
from documents.jobs import read_again
from documents.models import Chunk, Document

if TYPE_CHECKING:
    from django.http import HttpRequest


@admin.register(Document)
class DocumentAdmin(JobsPanel, admin.ModelAdmin):
    """Documents with the number of their chunks, and what was done with each."""

    panel_jobs = [read_again]
    list_display = ["title", "kind", "size_bytes", "text_length", "chunk_count", "ingested_at"]
    list_filter = ["kind"]
    search_fields = ["title", "source_path"]
    ordering = ["title", "pk"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Document]:
        """Count chunks in the list's own query, not once per row."""
        return super().get_queryset(request).annotate(chunk_count=Count("chunks"))

    @admin.display(description="chunks", ordering="chunk_count")
    def chunk_count(self, document: Document) -> int:
        """Show what `get_queryset` counted."""
        return document.chunk_count


@admin.register(Chunk)
class ChunkAdmin(admin.ModelAdmin):
    """Chunks with their document's title."""

    list_display = ["document", "position", "beginning"]
    list_select_related = ["document"]
    search_fields = ["text", "document__title"]
    autocomplete_fields = ["document"]
    ordering = ["document_id", "position"]

    @admin.display
    def beginning(self, chunk: Chunk) -> str:
        """Show as much text as fits a row."""
        return Truncator(chunk.text).chars(80)
