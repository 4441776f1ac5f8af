"""Arguments and results to JSON and back, and their signatures. Nothing is ever pickled."""

from __future__ import annotations

from django_jobs.codec.decoding import referred
from django_jobs.codec.display import display_arguments, plain, redact
from django_jobs.codec.payloads import dump_arguments, dumps, has_references, load_arguments, loads
from django_jobs.codec.registry import register
from django_jobs.codec.signatures import sign, verify
from django_jobs.codec.tags import REMOVED, TAG, VALUE, Reference
from django_jobs.codec.text import storable

__all__ = [
    "REMOVED",
    "TAG",
    "VALUE",
    "Reference",
    "display_arguments",
    "dump_arguments",
    "dumps",
    "has_references",
    "load_arguments",
    "loads",
    "plain",
    "redact",
    "referred",
    "register",
    "sign",
    "storable",
    "verify",
]
