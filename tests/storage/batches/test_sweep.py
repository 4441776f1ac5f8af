from datetime import timedelta

import pytest
from django.utils import timezone

from django_jobs.models import Batch, Dependency, Dependent, Run
from django_jobs.storage.batches.sweep import sweep, sweep_in_turn
from tests.probes import parts

pytestmark = pytest.mark.django_db

USING = {"using": "default"}


def test_a_sweep_finds_nothing_where_all_goes_well(manager, jobs, caplog):
    with manager.batch("well") as batch:
        batch.add(parts.give, batch.add(parts.give, 1))
    assert sweep(**USING, still=timedelta(0)) == 0
    jobs.drain()
    assert sweep(**USING, still=timedelta(0)) == 0
    assert "batch=" not in caplog.text


def test_a_sweep_releases_what_waits_for_nothing(manager, jobs, caplog):
    with manager.batch("miscounted") as batch:
        after = batch.add(parts.give, batch.add(parts.give, 1))
    Dependent.objects.update(waits=5)
    jobs.drain()
    assert Run.objects.get(pk=after.run_id).state == "dependent"

    assert sweep(**USING) == 1

    jobs.drain()
    assert manager.wait(batch.id, 0)["successful"] == 2
    assert f"batch={batch.id} (miscounted): runs that wait for nothing were released" in caplog.text


def test_a_sweep_cancels_what_waits_for_a_run_that_a_person_failed(manager, jobs):
    with manager.batch("edited") as batch:
        first = batch.add(parts.give, 1)
        after = batch.add(parts.give, first)
    Run.objects.filter(pk=first.run_id).update(status="FAILED", error="by hand", run_after=None)

    assert sweep(**USING) == 1
    assert Run.objects.get(pk=after.run_id).status == "CANCELLED"
    # Its own end was told to nobody.
    assert sweep(**USING, still=timedelta(0)) == 1
    assert manager.get_batch(batch.id)["status"] == "failed"


def test_a_sweep_ends_a_batch_whose_counts_are_wrong(manager, jobs):
    with manager.batch("miscounted", on_end=parts.give) as batch:
        batch.add(parts.give, 1)
    Batch.objects.update(total=7)
    jobs.drain()
    assert sweep(**USING) == 0
    Batch.objects.update(changed_at=timezone.now() - timedelta(hours=1))

    assert sweep(**USING) == 1
    assert (manager.get_batch(batch.id)["status"], len(jobs.drain())) == ("successful", 1)


def test_a_sweep_goes_on_with_a_cancel_that_was_killed(manager):
    with manager.batch("half") as batch:
        batch.add_many([(parts.give, [1])] * 3)
    Batch.objects.update(cancelled_at=timezone.now())

    assert sweep(**USING) == 1
    assert manager.get_batch(batch.id)["cancelled"] == 3


def test_one_process_sweeps_for_all_and_none_where_no_batch_is_open(manager, django_assert_num_queries):
    from threading import Event

    with django_assert_num_queries(1):
        assert sweep_in_turn("default", Event()) == 0
    manager.batch("open").add(parts.give, 1)
    Run.objects.update(waits_for="dependency", run_after=None)
    run = Run.objects.get()
    Batch.objects.update(has_dependencies=True)
    Dependent.objects.create(run_id=run.pk, batch_id=run.batch_id, waits=1, after_failure="cancel")

    assert [sweep_in_turn("default", Event()) for _ in range(2)] == [1, 0]


def test_a_batch_is_pruned_whole_and_not_before_it_has_ended(manager, jobs):
    with manager.batch("old") as old:
        old.add(parts.give, old.add(parts.give, 1))
    young = manager.batch("open")
    young.add(parts.give, 1)
    jobs.drain()
    Run.objects.update(
        finished_at=timezone.now() - timedelta(days=9), enqueued_at=timezone.now() - timedelta(days=9)
    )
    assert manager.prune(keep_days=5, keep_runs_per_job=1).runs == 0
    Batch.objects.filter(key=old.id).update(ended_at=timezone.now() - timedelta(days=9))

    dry = manager.prune(keep_days=5, keep_runs_per_job=None, dry_run=True)
    pruned = manager.prune(keep_days=5, keep_runs_per_job=None)

    assert (dry.runs, dry.batches) == (pruned.runs, pruned.batches) == (2, 1)
    assert [Run.objects.count(), Batch.objects.count()] == [1, 1]
    assert not Dependency.objects.exists()
    assert not Dependent.objects.exists()
