"""Why a queue is paused, and until when."""

from __future__ import annotations

from datetime import datetime, timedelta

from django import forms
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

# Minutes, as the form has them.
_LENGTHS = (
    ("", gettext_lazy("until somebody resumes it")),
    ("15", gettext_lazy("for 15 minutes")),
    ("60", gettext_lazy("for an hour")),
    ("240", gettext_lazy("for 4 hours")),
    ("1440", gettext_lazy("for a day")),
)


class PauseForm(forms.Form):
    """What somebody who pauses a queue says of it; nothing has to be said."""

    reason = forms.CharField(label=gettext_lazy("Reason"), required=False, max_length=500)
    length = forms.ChoiceField(label=gettext_lazy("How long"), required=False, choices=_LENGTHS)
    until = forms.DateTimeField(
        label=gettext_lazy("Or until"),
        required=False,
        widget=forms.DateTimeInput(attrs={"type": "datetime-local"}),
    )

    def clean_until(self) -> datetime | None:
        """Refuse what is past."""
        until: datetime | None = self.cleaned_data["until"]
        if until is not None and until <= timezone.now():
            raise forms.ValidationError(_("This time is past."))
        return until

    @property
    def ends_at(self) -> datetime | None:
        """When it is served again; None for not by itself."""
        until: datetime | None = self.cleaned_data["until"]
        if until is None and self.cleaned_data["length"]:
            return timezone.now() + timedelta(minutes=int(self.cleaned_data["length"]))
        return until
