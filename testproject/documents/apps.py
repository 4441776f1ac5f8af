"""The documents app: files become text that can be searched."""

from django.apps import AppConfig


class DocumentsConfig(AppConfig):
    """Files, and the chunks of text read from them."""

    name = "documents"

    def ready(self) -> None:
        """Connect the receivers."""
        from documents import receivers  # noqa: F401 - they connect themselves
