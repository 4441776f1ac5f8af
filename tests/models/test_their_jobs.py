"""A scheduler of django-apscheduler's works on the same table, and leaves our rows alone."""

from datetime import UTC, datetime, timedelta

import pytest
from apscheduler.jobstores.base import JobLookupError
from django_apscheduler.models import DjangoJob

from django_jobs.models import Job

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def store(old):
    return old._lookup_jobstore("default")


def test_its_store_deletes_none_of_our_jobs(old, store, manager, probes):
    manager.add_recurring_job(probes.nothing, 60, job_id="ours")
    Job.objects.update(next_run_time=datetime.now(UTC) - timedelta(seconds=5))
    old.add_job("tests.probes.jobs:nothing", "interval", hours=1, id="theirs")

    assert store.get_due_jobs(datetime.now(UTC)) == []
    assert [job.id for job in store.get_all_jobs()] == ["theirs"]
    assert store.get_next_run_time() > datetime.now(UTC)
    assert store.lookup_job("ours") is None
    with pytest.raises(JobLookupError):
        store.remove_job("ours")
    store.remove_job("theirs")
    store.remove_all_jobs()

    assert [job.pk for job in Job.objects.all()] == ["ours"]
    assert DjangoJob._base_manager.count() == 1
    assert manager.remove_job("ours")
    assert DjangoJob._base_manager.count() == 0
