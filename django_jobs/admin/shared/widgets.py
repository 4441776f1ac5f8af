"""Widgets of Django's admin that say what they are to those who hear a page."""

from __future__ import annotations

from typing import Any

from django.contrib.admin.widgets import AdminSplitDateTime
from django.utils.translation import gettext_lazy as _


class SplitDateTime(AdminSplitDateTime):
    """Django's, with a name for each of its two inputs; before Django 6.0 they have none."""

    def __init__(self, attrs: dict[str, Any] | None = None) -> None:
        super().__init__(attrs)
        self.widgets[0].attrs["aria-label"] = _("Date")
        self.widgets[1].attrs["aria-label"] = _("Time")
