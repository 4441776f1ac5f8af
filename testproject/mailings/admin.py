"""Admin page of recipients."""

from __future__ import annotations

from django.contrib import admin

from mailings.models import Recipient


@admin.register(Recipient)
class RecipientAdmin(admin.ModelAdmin):
    """Recipients by address."""

    list_display = ["email", "name", "subscribed"]
    list_filter = ["subscribed"]
    search_fields = ["email", "name"]
    ordering = ["email"]
