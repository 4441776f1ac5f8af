"""Django's ModelAdmin, with its type."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin

if TYPE_CHECKING:
    StockModelAdmin = admin.ModelAdmin[Any]
else:
    # Django 5.2's cannot be subscripted at run time.
    StockModelAdmin = admin.ModelAdmin

__all__ = ["StockModelAdmin"]
