"""What probes leave behind: their own word on how often they were called."""

from django.db import models


class Mark(models.Model):
    """One call of a probe."""

    text = models.CharField(max_length=200)
    at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return self.text
