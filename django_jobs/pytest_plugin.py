"""The pytest plugin: the fixture `jobs`.

pytest imports this in every project that has the package installed, before Django is set up.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from django_jobs.testing import CapturedJobs


@pytest.fixture
def jobs(db: None) -> Iterator[CapturedJobs]:
    """Capture the jobs that the test adds, to assert on them and to execute them; needs pytest-django.

    In a transaction that is rolled back, unless the test asks for `transactional_db` or marks so.
    """
    from django_jobs.testing import capture_jobs

    with capture_jobs() as captured:
        yield captured
