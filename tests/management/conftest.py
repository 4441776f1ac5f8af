import io

import pytest
from django.core.management import call_command


class Said:
    """What a command wrote."""

    def __init__(self):
        self.out, self.err = io.StringIO(), io.StringIO()

    @property
    def lines(self):
        return self.out.getvalue().splitlines()

    def __contains__(self, text):
        return text in self.out.getvalue()


@pytest.fixture
def jobs(db):
    """Return a function that calls `manage.py jobs` and returns what it wrote."""

    def call(*arguments):
        said = Said()
        call.last = said
        call_command("jobs", *arguments, stdout=said.out, stderr=said.err)
        return said

    return call
