import json

import pytest
from django.core.management import CommandError

from django_jobs.models import Run
from django_jobs.testing import drain_jobs
from tests.probes import parts


@pytest.fixture
def failed(manager):
    with manager.batch("nightly") as batch:
        batch.add(parts.give, batch.add(parts.fail))
    drain_jobs()
    return batch


def test_batches_are_listed_newest_first(jobs, manager, failed):
    with manager.batch("young") as young:
        young.add(parts.give, 1)

    lines = jobs("batch", "list").lines
    assert [line.split()[:3] for line in lines[1:]] == [
        ["running", young.id, "young"],
        ["failed", failed.id, "nightly"],
    ]
    assert json.loads(jobs("batch", "list", "--status", "failed", "--json").out.getvalue())[0]["failed"] == 1
    assert jobs("batch", "list", "--status", "open").lines[-1] == "No batches."


def test_a_batch_is_shown_with_what_its_runs_wait_for(jobs, failed):
    first, second = Run.objects.order_by("pk")
    said = jobs("batch", "show", failed.id)

    assert f"run {first.pk} (fail), which it waits for, is FAILED" in said
    row = next(line for line in said.lines if line.startswith("cancelled") and str(second.pk) in line)
    assert row.split()[1:4] == [str(second.pk), "give", str(first.pk)]
    assert "1 more; --limit shows more." in jobs("batch", "show", failed.id, "--limit", "1")
    shown = json.loads(jobs("batch", "show", failed.id, "--json").out.getvalue())
    assert [run["after"] for run in shown["runs"]] == [[], [first.pk]]


def test_batches_are_retried_and_cancelled(jobs, manager, failed):
    assert jobs("batch", "retry", failed.id).lines == [f"Ready again: batch {failed.id}."]
    assert manager.get_batch(failed.id)["unfinished"] == 2
    assert jobs("batch", "cancel", failed.id).lines == [f"Cancelled batch {failed.id}."]
    assert manager.get_batch(failed.id)["status"] == "cancelled"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["show", "batch:none"], "there is no batch"),
        (["show"], "takes the id of one batch"),
        (["list", "x"], "takes no ids"),
        (["cancel", "batch:none"], "there is no such batch, or it has ended"),
        (["retry", "batch:none"], "none of it failed"),
        (["cancel"], "no ids were given"),
    ],
)
def test_what_cannot_be_done_with_batches_is_said(jobs, arguments, message):
    with pytest.raises(CommandError, match=message):
        jobs("batch", *arguments)
