"""Runs that are executed in a test's own thread."""

from django_jobs.testing import drain_jobs


def execute_all():
    """Execute what is due, and fire nothing."""
    drain_jobs(fire=False)
