import pytest


@pytest.fixture
def feed(transactional_db):
    """A follower of the test's database; its thread ends with the test."""
    from django_jobs.live.feed import Feed

    made = Feed()
    yield made
    made.stop()
