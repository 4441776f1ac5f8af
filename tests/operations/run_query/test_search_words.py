from datetime import UTC, datetime, timedelta

import pytest
import time_machine
from django.utils import timezone

from django_jobs import codec
from django_jobs.models import Run
from django_jobs.operations.run_query import PREFIXES, Criteria, terms
from django_jobs.operations.run_query.search_words import read


def criteria(text):
    return Criteria(**read(text, with_arguments=True))


def found(text):
    return set(criteria(text).apply(Run.objects.all()).values_list("pk", flat=True))


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("", Criteria()),
        ("   ", Criteria()),
        ("pay now", Criteria(text="pay now")),
        ("shop.orders:pay", Criteria(text="shop.orders:pay")),
        (
            "QUEUE:mail func:shop.mail worker:w1",
            Criteria(queue="mail", func_start="shop.mail", worker_id="w1"),
        ),
        ('error:"timed out" tag:import', Criteria(error="timed out", tag="import")),
        ("status:failed", Criteria(status="FAILED")),
        ("status:Waiting", Criteria(status="due")),
        ("status:nonsense", Criteria(text="status:nonsense")),
        ("arg:4711", Criteria(argument="4711")),
        ("arg.order.id:4711", Criteria(argument="order.id:4711")),
        ("job:nightly run:12", Criteria(job_id="nightly", named="12")),
        ("batch:5b0f2d", Criteria(batch="5b0f2d")),
        ("took:>5s attempt:>1", Criteria(took="5", attempts="1")),
        ("took:<250ms attempt:<3", Criteria(took="<0.25", attempts="<3")),
        ("took:2m", Criteria(took="120")),
        ("took:long attempt:1.5 queue:", Criteria(text="took:long attempt:1.5 queue:")),
    ],
)
def test_terms_become_criteria_and_come_back_from_json(text, wanted):
    assert criteria(text) == wanted
    assert Criteria.from_plain(wanted.plain()) == wanted


def test_every_prefix_that_is_offered_is_one():
    for prefix in PREFIXES:
        (term,) = terms(f"{prefix}:x")
        assert (term.prefix, term.value) == (prefix, "x")


def test_a_time_of_the_day_is_the_last_one_of_the_readers_zone():
    with timezone.override("Europe/Berlin"), time_machine.travel("2030-01-15T09:30:00+00:00", tick=False):
        assert criteria("after:10:00").ended_since == datetime(2030, 1, 15, 9, tzinfo=UTC)
        assert criteria("after:11:00").ended_since == datetime(2030, 1, 14, 10, tzinfo=UTC)
        assert criteria("before:2030-01-02").ended_until == datetime(2030, 1, 1, 23, tzinfo=UTC)
        assert criteria("after:25:00") == Criteria(text="after:25:00")


def test_arguments_are_found_by_value_and_by_name(make_run):
    def made(*args, **kwargs):
        return make_run(payload=codec.dump_arguments(args, kwargs)).pk

    number, text = made(order_id=4711), made(order_id="4711-b")
    nested, other = made({"order": {"id": 4711}}), made(order_id=47110)
    quoted = made('say "hi"', city="Köln")

    assert found("arg:4711") == {number, text, nested, other}
    assert found("arg.order_id:4711") == {number, text}
    assert found("arg.order.id:4711") == {nested}
    assert found("arg.city:Kö") == {quoted}
    assert found("arg:4712") == set()


def test_secrets_among_arguments_cannot_be_guessed(make_run):
    make_run(payload=codec.dump_arguments((), {"password": "hunter2", "name": "ann"}))
    make_run(payload=codec.dump_arguments((), {"pin": 1234}), options={"sensitive": ["pin"]})
    make_run(payload=codec.dump_arguments(({"deep": {"api_token": "hunter2"}},), {}))
    plain = make_run(payload=codec.dump_arguments((), {"animal": "hunter2"})).pk

    assert found("arg:hunter2") == {plain}
    assert found("arg.pin:1234") == set()
    assert found("arg:ann") == set()


def test_tags_attempts_and_durations_are_conditions(make_run):
    now = timezone.now()
    slow = make_run(status="FAILED", attempt=3, started_at=now - timedelta(seconds=9), finished_at=now,
                    options={"tags": ["import", "grün"]}).pk  # fmt: skip
    quick = make_run(status="SUCCESSFUL", started_at=now - timedelta(seconds=1), finished_at=now,
                     options={"tags": ["imports"]}).pk  # fmt: skip

    assert found("took:>5s") == found("attempt:>1") == found("tag:import") == found("tag:grün") == {slow}
    assert found("took:<5s") == found("attempt:<2") == {quick}
    assert found("tag:impor") == set()
