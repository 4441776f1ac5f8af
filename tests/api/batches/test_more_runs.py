"""More runs like one of a batch: once more, with other arguments, and where they are added."""

import json
from datetime import timedelta

import pytest
from django.utils import timezone

from django_jobs.models import Batch, Dependency, Dependent, Run
from django_jobs.operations import retry_with_changes
from tests.probes import parts

pytestmark = pytest.mark.django_db


def run_of(handle):
    return Run.objects.get(pk=handle.run_id)


def change(run, *args):
    payload, _ = retry_with_changes.changed(run, json.dumps(args), "{}")
    return retry_with_changes.enqueue(run, payload)


def test_a_run_that_is_retried_with_changes_takes_the_place_of_the_failed_one(manager, jobs, tmp_path):
    (tmp_path / "there").touch()
    with manager.batch("mended", on_success=parts.give) as batch:
        failed = batch.add(parts.fail_unless, str(tmp_path / "missing"))
        after = batch.add(parts.give, [failed])
        skipped = after.then(parts.give)
        skipped_too = batch.add(parts.give, skipped, after_failure="skip")
    jobs.drain()
    assert manager.get_batch(batch.id)["status"] == "failed"

    changed = change(run_of(failed), str(tmp_path / "there"))

    info = manager.get_batch(batch.id)
    assert (info["status"], info["total"], info["unfinished"]) == ("running", 4, 4)
    assert [run_of(one).state for one in (failed, after, skipped)] == ["failed", "dependent", "dependent"]
    jobs.drain()
    assert manager.wait(skipped_too, 0) == ["there"]
    assert manager.wait(batch.id, 0)["successful"] == 4
    assert set(manager.get_batch(batch.id)["jobs"]) == {"success"}
    assert Run.objects.get(pk=changed).options["changed_from"] == failed.run_id
    # The old one is a run of its own: a retry of it tells the batch nothing.
    assert manager.retry_run(failed.run_id)
    jobs.drain()
    assert manager.get_batch(batch.id)["failed"] == 0


def test_a_run_with_changes_waits_for_what_the_failed_one_waited_for(manager, jobs):
    with manager.batch("mended") as batch:
        first = batch.add(parts.give, 1)
        failed = batch.add(parts.fail, first)
        batch.add(parts.give, 1, after=failed)
    jobs.drain()
    run = run_of(failed)
    reference = {"$type": "result", "value": 0}

    changed = change(run, reference)

    dependent = Dependent.objects.get(pk=changed)
    assert (dependent.waits, dependent.ended_by) == (0, None)
    assert not Dependent.objects.filter(pk=failed.run_id).exists()
    jobs.drain()
    # It fails as the one before did, and for the same reason.
    info = manager.get_batch(batch.id)
    assert (info["failed"], info["cancelled"], info["successful"]) == (1, 1, 1)


def test_one_more_run_like_a_successful_one_is_of_no_batch_and_is_given_the_same(manager, jobs):
    with manager.batch("done") as batch:
        after = batch.add(parts.give, batch.add(parts.give, 3))
    jobs.drain()

    changed = change(run_of(after), [{"$type": "result", "value": 0}])
    jobs.drain()
    assert json.loads(Run.objects.get(pk=changed).result) == [3]

    manager.run_job(after)
    jobs.drain()
    assert manager.wait(after, 0) == [3]
    assert manager.get_batch(batch.id)["total"] == Run.objects.filter(batch_id__isnull=False).count() == 2


def test_what_waits_for_others_runs_neither_now_nor_with_changes(manager, jobs):
    with manager.batch("waiting") as batch:
        first = batch.add(parts.give, 3)
        after = batch.add(parts.give, first)

    with pytest.raises(ValueError, match="waits for others of its batch"):
        manager.run_job(after)
    with pytest.raises(retry_with_changes.NotFitting, match="waits for others"):
        change(run_of(after), 1)
    assert Run.objects.count() == 2


def test_one_more_run_does_not_take_the_result_of_a_run_that_is_retried(manager, jobs):
    with manager.batch("again") as batch:
        failed = batch.add(parts.fail)
        after = batch.add(parts.name_of_error, failed, after_failure="run")
    jobs.drain()
    manager.retry_run(failed.run_id)
    manager.run_job(after)

    with pytest.raises(ValueError, match=f"run {failed.run_id}, whose result it is given, .* has not ended"):
        jobs.run(after)


@pytest.mark.django_db(transaction=True)
def test_runs_of_inline_queues_follow_each_other_without_a_worker(manager, settings):
    settings.DJANGO_JOBS = {**settings.DJANGO_JOBS, "ENGINES": {"here": "inline"}}
    with manager.using(queue_name="here").batch("here", on_end=parts.give) as batch:
        last = batch.add(parts.give, 1).then(parts.add).then(parts.add)
        batch.add(parts.give, 1, after=batch.add(parts.fail), after_failure="run")

    assert manager.wait(last, 0) == 3
    info = manager.get_batch(batch.id)
    assert (info["successful"], info["failed"]) == (4, 1)
    assert manager.wait(info["jobs"]["end"], 0) == batch.id


def test_pruning_takes_the_references_of_more_runs_along(manager, jobs):
    with manager.batch("old") as batch:
        after = batch.add(parts.give, batch.add(parts.give, 3))
    jobs.drain()
    manager.run_job(after)
    assert Dependency.objects.count() == 2
    Batch.objects.update(ended_at=timezone.now() - timedelta(days=9))

    manager.prune(keep_days=5, keep_runs_per_job=None)

    assert not Dependency.objects.exists()
