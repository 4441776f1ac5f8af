"""A job that is the only one of its key, and what it handles."""

import random

from django.db import transaction

from django_jobs import Retry, Unique, job
from tests.probes.models import Mark


@job(unique=Unique("{key}", until="started"), retry=Retry(max_attempts=100, delay=0.02))
def handle(key):
    """Handle all events of a key, which are rows, that are committed by now; sometimes only at a later attempt."""
    with transaction.atomic():
        for pk in list(Mark.objects.filter(text=key).values_list("pk", flat=True)):
            Mark.objects.filter(pk=pk).delete()
        if random.random() < 0.05:
            raise RuntimeError("not this time")
