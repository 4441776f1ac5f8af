from datetime import UTC, datetime

import pytest
from django.utils import timezone

from django_jobs.models import Run
from django_jobs.operations.run_query import Criteria, bounds_of, from_address, run_number

NOW = timezone.now()


def chosen(criteria):
    return set(criteria.apply(Run.objects.all()).values_list("pk", flat=True))


def test_criteria_come_back_from_json_as_it_was(db):
    criteria = Criteria(status="FAILED", queue="mail", error="x", since=NOW, until=NOW)

    assert Criteria.from_plain(criteria.plain()) == criteria
    assert Criteria().plain() == {}
    with pytest.raises(ValueError, match="cannot be selected by 'qeue'"):
        Criteria.from_plain({"qeue": "mail"})


def test_a_lone_word_is_a_job_or_a_number_before_it_is_a_part_of_something(make_run):
    run = make_run(job_id="a", func="b.c:d")

    assert chosen(Criteria().searching("a", using="default")) == {run.pk}
    assert chosen(Criteria().searching(str(run.pk), using="default")) == {run.pk}
    assert Criteria().searching(" b.c", using="default") == Criteria(text="b.c")
    assert Criteria().searching("  ", using="default") == Criteria()


@pytest.mark.parametrize("zone", ["UTC", "Pacific/Kiritimati", "America/Los_Angeles"])
@pytest.mark.parametrize(
    "time", ["0001-01-01T00:00", "0001-01-01T00:00+14:00", "9999-12-31T23:59", "9999-12-31T23:59-12:00"]
)
def test_a_time_at_the_end_of_its_range_is_a_bound_like_another(make_run, time, zone):
    run = make_run()
    is_past = time.startswith("0001")

    with timezone.override(zone):
        since, until = from_address({"from": time}), from_address({"until": time})

        assert chosen(since) == ({run.pk} if is_past else set())
        assert chosen(until) == (set() if is_past else {run.pk})
        for criteria in (since, until):
            bounds_of(criteria, using="default")
            assert Criteria.from_plain(criteria.plain()) == criteria


@pytest.mark.parametrize("text", ["", "yesterday", "2026-13-01T00:00", "2026-01-01T00:00+99:00", "\0"])
def test_a_time_that_is_none_is_left_out(text):
    assert from_address({"from": text, "until": text}) == Criteria()


def test_the_later_of_two_beginnings_counts():
    day = datetime(2030, 1, 1, tzinfo=UTC)

    assert from_address({"since": "week", "from": day.isoformat()}).since == day


@pytest.mark.parametrize("name", ["queue", "func", "worker_id", "job_id", "error"])
def test_a_character_that_no_database_stores_matches_nothing(make_run, name):
    make_run()

    assert chosen(from_address({name: "x\0"})) == set()


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("7", 7),
        ("9" * 18, 10**18 - 1),
        ("9" * 19, None),
        ("-1", None),
        ("", None),
        ("\u0667", None),
        ("1.0", None),
    ],
)
def test_only_what_a_database_can_compare_is_the_number_of_a_run(text, number):
    assert run_number(text) == number
