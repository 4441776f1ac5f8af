"""Arguments and results to JSON and back, and their signatures. Nothing is ever pickled."""

from __future__ import annotations

from django_jobs.codec.display import display_arguments, plain
from django_jobs.codec.payloads import dump_arguments, dumps, load_arguments, loads
from django_jobs.codec.registry import register
from django_jobs.codec.signatures import sign, verify
from django_jobs.codec.tags import TAG, VALUE
from django_jobs.codec.text import storable

__all__ = [
    "TAG",
    "VALUE",
    "display_arguments",
    "dump_arguments",
    "dumps",
    "load_arguments",
    "loads",
    "plain",
    "register",
    "sign",
    "storable",
    "verify",
]
