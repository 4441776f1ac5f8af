"""Who receives the newsletter."""

from __future__ import annotations

from django.db import models


class Recipient(models.Model):
    """One address."""

    email = models.EmailField(unique=True)
    name = models.CharField(max_length=100)
    subscribed = models.BooleanField(default=True, help_text="Cleared for those who want no more mail.")

    def __str__(self) -> str:
        return f"{self.name} <{self.email}>"
