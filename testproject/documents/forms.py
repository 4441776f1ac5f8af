"""What a person may have ingested: samples, and files of their own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django import forms
from django.core.exceptions import ValidationError

from documents.reading import KINDS
from documents.views import SAMPLES_DIR

MOST_FILES = 20
MOST_BYTES = 10 * 1024 * 1024  # of each; whatever is larger can be put into var/inbox


class ManyFilesInput(forms.ClearableFileInput):
    """A field for several files at once."""

    allow_multiple_selected = True


class ManyFilesField(forms.FileField):
    """Several uploaded files."""

    widget = ManyFilesInput

    def clean(self, data: Any, initial: Any = None) -> list[Any]:
        """Check each."""
        files = [super(ManyFilesField, self).clean(file, initial) for file in data or []]
        if len(files) > MOST_FILES:
            raise ValidationError(f"At most {MOST_FILES} files at a time.")
        for file in files:
            if Path(file.name).suffix.lower() not in KINDS:
                raise ValidationError(f"{file.name}: only {', '.join(KINDS)} can be read.")
            if file.size > MOST_BYTES:
                raise ValidationError(f"{file.name} is larger than {MOST_BYTES // 1024 // 1024} MB.")
        return files


class DocumentsForm(forms.Form):
    """Samples to choose, and files to upload."""

    samples = forms.MultipleChoiceField(required=False, widget=forms.CheckboxSelectMultiple)
    files = ManyFilesField(required=False, widget=ManyFilesInput({"accept": ",".join(KINDS)}))

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        names = sorted(path.name for path in SAMPLES_DIR.iterdir() if path.suffix in KINDS)
        self.fields["samples"].choices = [(name, name) for name in names]

    def clean(self) -> dict[str, Any]:
        """Ask for something."""
        cleaned = super().clean() or {}
        if not self.errors and not cleaned.get("samples") and not cleaned.get("files"):
            raise ValidationError("Choose a sample, or a file of your own.")
        return cleaned
