import pytest

from django_jobs.models import Batch, Run
from django_jobs.operations import batches, listing
from tests.probes import parts

pytestmark = pytest.mark.django_db


def test_of_a_large_batch_what_failed_and_runs_comes_first_and_nothing_is_sorted(
    manager, django_assert_max_num_queries
):
    with manager.batch("large") as batch:
        handles = batch.add_many([(parts.give, [1])] * 20)
    ids = list(handles.run_ids)
    for status, index in {"FAILED": 19, "RUNNING": 18, "CANCELLED": 17}.items():
        Run.objects.filter(pk=ids[index]).update(status=status)
    Batch.objects.update(failed=1, cancelled=1)

    with django_assert_max_num_queries(6):
        nodes = batches.nodes_of(Batch.objects.get(), using="default", most=6)
    assert [node.run.pk for node in nodes] == [*ids[:3], *ids[17:]]


def test_runs_of_a_batch_are_listed(manager, make_job, make_run):
    make_job(id="with a schedule")
    make_run(job_id="plain")
    with manager.batch("listed") as batch:
        first = batch.add(parts.give, 1)
        after = batch.add(parts.give, first)

    page = listing.page(batch=batch.id)

    assert [entry["id"] for entry in page["entries"]] == [first, after]
    assert not listing.page(batch="batch:none")["entries"]
