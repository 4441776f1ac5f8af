import json
from datetime import date
from decimal import Decimal

import pytest

from django_jobs import codec
from django_jobs.exceptions import BadPayload
from django_jobs.models import Run, Status
from django_jobs.operations import retry_with_changes
from django_jobs.testing import drain_jobs
from tests.probes.models import Mark

STARS = retry_with_changes.HIDDEN


@pytest.fixture
def make_call(make_run):
    """Return a factory of failed runs of `add(a, b=2, *, c=0)`, or another function, with some arguments."""

    def make(*args, func="tests.probes.jobs:add", options=None, **kwargs):
        return make_run(
            func=func, status=Status.FAILED, payload=codec.dump_arguments(args, kwargs), options=options
        )

    return make


def changed(run, args, kwargs):
    payload, names = retry_with_changes.changed(run, json.dumps(args), json.dumps(kwargs))
    return *codec.load_arguments(payload), names


def test_arguments_come_as_json_and_go_back_unchanged(make_call):
    run = make_call(1, date(2030, 1, 2), c=Decimal("1.50"))

    args, kwargs = retry_with_changes.editable(run)

    assert json.loads(args) == [1, {"$type": "date", "value": "2030-01-02"}]
    assert retry_with_changes.changed(run, args, kwargs) == (run.payload, [])


def test_changed_arguments_are_named(make_call):
    run = make_call(1, 2, c=3)

    assert changed(run, [1, {"$type": "date", "value": "2030-01-02"}], {"c": 4}) == (
        (1, date(2030, 1, 2)),
        {"c": 4},
        ["2", "c"],
    )
    assert changed(run, [1], {})[2] == ["2", "c"]


@pytest.mark.parametrize(
    ("args", "kwargs", "reason"),
    [
        ("[1", "{}", "this is not JSON"),
        ("{}", "{}", r"expected \[...\], not dict"),
        ("[1]", "[]", r"expected \{...\}, not list"),
        ("[1, 2, 3]", "{}", "too many positional arguments"),
        ("[]", '{"d": 1}', "cannot be called with these arguments"),
        ('[{"$type": "date", "value": "soon"}]', "{}", "a stored date cannot be read"),
        ('[{"$type": "spaceship", "value": 1}]', "{}", "unknown type tag 'spaceship'"),
        ('[{"$type": "model", "value": ["probes.mark", 99, null]}]', "{}", "no longer exists"),
        (
            '[{"$type": "enum", "value": ["antigravity:X", "A", 1]}]',
            "{}",
            "does not know the enum antigravity:X",
        ),
        ("[NaN]", "{}", "NaN is not JSON"),
        ("[" * 5000, "{}", "this is not JSON"),
    ],
)
def test_what_no_run_can_be_made_of_is_refused_with_the_reason(make_call, args, kwargs, reason):
    with pytest.raises(retry_with_changes.NotFitting, match=reason):
        retry_with_changes.changed(make_call(1), args, kwargs)


def test_arguments_that_are_too_large_are_refused(make_call, settings):
    settings.DJANGO_JOBS = {"MAX_PAYLOAD_BYTES": 200}

    with pytest.raises(retry_with_changes.NotFitting, match="MAX_PAYLOAD_BYTES"):
        retry_with_changes.changed(make_call(1), json.dumps(["x" * 300]), "{}")


def test_modules_that_a_person_names_are_not_imported(make_call):
    import sys

    with pytest.raises(retry_with_changes.NotFitting):
        retry_with_changes.changed(make_call(1), '[{"$type": "enum", "value": ["this:X", "A", 1]}]', "{}")

    assert "this" not in sys.modules


def test_who_asked_for_all_that_match_cannot_be_changed(make_call):
    run = make_call("delete", {}, 7, 1, func="django_jobs.bulk:act_on_matching")

    with pytest.raises(retry_with_changes.NotFitting, match="say who asked for it"):
        changed(run, ["delete", {}, 7, 2], {})


def test_secrets_are_asterisks_and_keep_their_value_where_those_are_left(make_call):
    run = make_call(
        "sesame",
        {"password": "hunter2", "user": "me", 1: {"token": "t"}},
        c=[{"api_key": "k"}],
        options={"sensitive": [0]},
    )

    args, kwargs = retry_with_changes.editable(run)

    assert "sesame" not in args
    assert "hunter2" not in args
    assert '"t"' not in args
    assert '"k"' not in kwargs
    edited = args.replace('"me"', '"you"')
    values = codec.load_arguments(retry_with_changes.changed(run, edited, kwargs)[0])
    assert values == (
        ("sesame", {"password": "hunter2", "user": "you", 1: {"token": "t"}}),
        {"c": [{"api_key": "k"}]},
    )


def test_a_secret_can_be_replaced(make_call):
    run = make_call("sesame", options={"sensitive": [0]})

    assert changed(run, ["open"], {})[0] == ("open",)


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [
        ([STARS, 2], {}),
        ([[{"token": STARS}]], {}),
        ([[{"token": STARS}, {"token": STARS}, {"token": STARS}]], {}),
        ([1], {"c": STARS}),
        ([1], {"c": {"password": STARS}}),
    ],
)
def test_asterisks_that_stand_for_nothing_certain_are_refused(make_call, args, kwargs):
    run = make_call([{"token": "a"}, {"token": "b"}])

    with pytest.raises(retry_with_changes.NotFitting, match="only asterisks"):
        retry_with_changes.changed(run, json.dumps(args), json.dumps(kwargs))


def test_a_new_run_is_added_and_executed_and_the_old_one_stays(make_call):
    run = make_call(1, options={"timeout": 5.0})
    before = Run.objects.filter(pk=run.pk).values().get()
    payload, _ = retry_with_changes.changed(run, "[40]", '{"c": 1}')

    pk = retry_with_changes.enqueue(run, payload)
    drain_jobs()

    new = Run.objects.get(pk=pk)
    assert new.status == Status.SUCCESSFUL
    assert codec.loads(new.result) == 43
    assert new.job_id == run.job_id
    assert new.options == {"timeout": 5.0, "changed_from": run.pk}
    assert Run.objects.filter(pk=run.pk).values().get() == before


def test_positions_of_secrets_are_found_anew(make_call):
    run = make_call(user="me", password="hunter2", func="tests.probes.jobs:log_in")
    payload, _ = retry_with_changes.changed(run, '["me", "new"]', "{}")

    new = Run.objects.get(pk=retry_with_changes.enqueue(run, payload))

    assert new.options["sensitive"] == [1]


def test_a_new_run_has_the_tags_of_the_old_one(make_call):
    run = make_call(1, options={"tags": ["import"]})

    new = Run.objects.get(pk=retry_with_changes.enqueue(run, retry_with_changes.changed(run, "[2]", "{}")[0]))

    assert new.tags == ["import"]


def test_models_are_kept(make_call):
    mark = Mark.objects.create(text="x")
    run = make_call(mark)

    assert changed(run, json.loads(retry_with_changes.editable(run)[0]), {"c": 1})[0] == (mark,)


@pytest.mark.django_db
def test_a_task_that_takes_its_context_is_retried_with_changes():
    from tests.probes import tasks

    result = tasks.say_context.enqueue("a")
    drain_jobs()
    old = Run.objects.get(job_id=result.id)

    payload, names = retry_with_changes.changed(old, '["b"]', "{}")
    new = Run.objects.get(pk=retry_with_changes.enqueue(old, payload))

    assert names == ["1"]
    assert new.options["task"]["enqueued_at"] > old.options["task"]["enqueued_at"]
    (executed,) = drain_jobs()
    assert (executed.status, executed.result) == ("SUCCESSFUL", ["b", 1])


@pytest.mark.django_db
def test_a_changed_run_keeps_no_trace_of_the_old_one(make_call):
    run = make_call(1, options={"tags": ["kept"], "opentelemetry": {"traceparent": "old"}})

    payload, _ = retry_with_changes.changed(run, "[2]", "{}")
    new = Run.objects.get(pk=retry_with_changes.enqueue(run, payload))

    assert new.options == {"tags": ["kept"], "changed_from": run.pk}


def test_nothing_is_signed_for_a_row_whose_own_signature_is_forged(make_call):
    planted = make_call(1)
    Run.objects.filter(pk=planted.pk).update(func="tests.probes.jobs:give")
    planted.refresh_from_db()

    with pytest.raises(BadPayload, match="does not match"):
        retry_with_changes.editable(planted)
    with pytest.raises(retry_with_changes.NotFitting, match="does not match"):
        retry_with_changes.changed(planted, "[1]", "{}")
    with pytest.raises(BadPayload, match="does not match"):
        retry_with_changes.enqueue(planted, codec.dump_arguments((1,), {}))

    assert Run.objects.get() == planted


def test_a_row_that_a_fallback_key_signed_can_be_retried_with_changes(make_call, settings):
    run = make_call(1)
    settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
    settings.SECRET_KEY = "the key after it"

    payload, names = retry_with_changes.changed(run, "[2]", "{}")

    assert names == ["1"]
    new = Run.objects.get(pk=retry_with_changes.enqueue(run, payload))
    codec.verify(new.func, new.payload, new.signature)
