from dataclasses import fields

from django_jobs import codec
from django_jobs.models import Job, Run
from django_jobs.registry.call_spec import CALL_COLUMNS, CallSpec, columns_of
from django_jobs.registry.options import NO_OPTIONS, JobOptions
from django_jobs.storage.records import CLAIMED_COLUMNS, INSERTED_COLUMNS, ClaimedRun
from tests.probes import jobs as probes

PATH = "tests.probes.jobs:log_in"


def test_what_a_call_is_made_of_are_columns_of_jobs_and_runs():
    for model in (Job, Run):
        assert set(CALL_COLUMNS) <= {field.name for field in model._meta.get_fields()}
    assert set(CALL_COLUMNS) <= set(INSERTED_COLUMNS)
    assert set(CALL_COLUMNS) <= set(CLAIMED_COLUMNS)
    assert [field.name for field in fields(ClaimedRun)] == list(CLAIMED_COLUMNS)


def test_a_call_is_signed_and_completed_by_defaults():
    call = CallSpec.of_call(PATH, probes.log_in, ("ada", "hunter2"), {}, NO_OPTIONS)

    assert (call.name, call.queue_name, call.priority) == ("log_in", "default", 0)
    assert call.signature == codec.sign(PATH, call.payload)
    assert call.options == {"sensitive": [1]}


def test_what_others_fill_is_not_counted_among_the_arguments():
    call = CallSpec.of_call(PATH, probes.log_in, ("hunter2",), {}, NO_OPTIONS, bound=1)

    assert call.options == {"sensitive": [0]}


def test_a_call_shows_no_arguments():
    call = CallSpec.of_call(PATH, probes.log_in, ("ada", "hunter2"), {}, JobOptions(name="Sign in"))

    assert "hunter2" not in repr(call)


def test_a_row_has_the_call_that_it_was_made_of(make_run):
    row = make_run(func=PATH, name="Sign in", priority=3, options={"tags": ["a"]})

    assert columns_of(row) == {
        "name": "Sign in",
        "func": PATH,
        "payload": row.payload,
        "signature": row.signature,
        "queue_name": "default",
        "priority": 3,
        "options": {"tags": ["a"]},
    }
