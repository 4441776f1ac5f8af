"""Tasks as runs of batches."""

from datetime import timedelta

import pytest
from django.test import override_settings

from django_jobs.models import Run
from django_jobs.tasks import JobsBackend
from tests.probes import parts

pytestmark = pytest.mark.django_db


def finished(heard):
    return {result.id: result for name, _, result, _ in heard if name == "finished"}


def test_a_task_of_a_batch_is_a_task_with_its_own_queue_and_options(manager, jobs, tasks):
    with manager.batch("tasks") as batch:
        urgent = batch.add(tasks.give.using(priority=7, queue_name="special"), (1, 2))
        named = batch.add(tasks.with_policy, "secret")
        chosen = batch.using(queue_name="slow", priority=-5, timeout=60).add(tasks.with_policy, "secret")

    rows = [Run.objects.get(pk=handle.run_id) for handle in (urgent, named, chosen)]
    assert [(row.queue_name, row.priority) for row in rows] == [("special", 7), ("default", 0), ("slow", -5)]
    assert [row.name for row in rows] == ["give", "the named one", "the named one"]
    assert [row.options.get("timeout") for row in rows] == [None, 5, 60]

    jobs.drain()
    result = tasks.give.get_result(urgent)
    assert (result.status, result.args, result.return_value) == ("SUCCESSFUL", [[1, 2]], [1, 2])
    assert manager.get_batch(batch.id)["status"] == "successful"


def test_a_task_takes_its_context_and_the_results_of_others(manager, jobs, tasks, heard):
    with manager.batch("given") as batch:
        word = batch.add(parts.give, "a word")
        told = batch.add(tasks.say_context, word)
        deep = told.then(tasks.give)
        last = batch.add(tasks.look_around, "seen", {"of": [deep]}, kind=(1,))
    jobs.drain()

    assert manager.wait(told, 0) == manager.wait(deep, 0) == ["a word", 1]
    seen = manager.wait(last, 0)
    assert (seen["id"], seen["attempt"]) == (str(last), 2)
    # What it is given is not what it was enqueued with.
    assert (seen["args"], seen["kwargs"]) == (["seen", {"of": [None]}], {"kind": [1]})
    assert finished(heard)[str(told)].args == [None]


def test_the_signals_of_the_framework_are_sent_for_tasks_of_a_batch(manager, jobs, tasks, heard):
    with manager.batch("signals", on_end=tasks.give) as batch:
        handles = batch.add_many([(tasks.give, [1]), tasks.give, (parts.give, [2])])
    jobs.drain()

    for handle in handles[:2]:
        of_one = [(name, sender, result.status) for name, sender, result, _ in heard if result.id == handle]
        assert of_one == [
            ("enqueued", JobsBackend, "READY"),
            ("started", JobsBackend, "RUNNING"),
            ("finished", JobsBackend, "SUCCESSFUL"),
        ]
    ended = manager.get_batch(batch.id)["jobs"]["end"]
    assert finished(heard)[ended].return_value == batch.id
    assert len(finished(heard)) == 3


def test_a_chain_of_tasks(manager, jobs, tasks):
    last = manager.chain((tasks.give, [[1, 2]]), tasks.give)
    jobs.drain()

    assert manager.wait(last, 0) == [1, 2]
    assert last.batch.name == "give"


def test_a_task_that_cannot_be_part_of_a_batch_is_refused(manager, tasks, framework):
    batch = manager.batch("refused")

    with pytest.raises(ValueError, match="has run_after, and runs of a batch begin when"):
        batch.add(tasks.give.using(run_after=timedelta(hours=1)))
    with pytest.raises(TypeError, match="unique by a key or debounced"):
        batch.add(tasks.once, "x")
    with pytest.raises(TypeError, match="Unsupported type"):
        batch.add(tasks.give, {"at": timedelta(1)})
    with pytest.raises(TypeError, match="missing a required argument: 'text'"):
        batch.add(tasks.say_context)
    own = framework.base.__name__.removesuffix(".base")
    other = {"BACKEND": "django_jobs.tasks.JobsBackend"}, {"BACKEND": f"{own}.backends.dummy.DummyBackend"}
    with (
        override_settings(TASKS=dict(zip(("default", "dummy"), other, strict=True))),
        pytest.raises(TypeError, match=r"of the backend 'dummy' \(DummyBackend\)"),
    ):
        batch.add(tasks.give.using(backend="dummy"))
    assert not Run.objects.exists()
