from argparse import ArgumentTypeError
from datetime import UTC, datetime, timedelta

import pytest

from django_jobs.management.actions import values


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("0.5", 0.5), ("90s", 90), ("30m", 1800), ("1h30m", 5400), ("7d", 604800), ("1.5h", 5400), ("2w", 1209600)],
)  # fmt: skip
def test_durations_are_seconds_or_numbers_with_units(text, seconds):
    assert values.duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["", "m", "3x", "1h30", "-5", "1 h", "1h 30m", "inf", "٣"])
def test_other_durations_are_refused(text):
    with pytest.raises(ArgumentTypeError, match="is not a valid duration; use 90s, 5m or 1h30m"):
        values.duration(text)


def test_a_time_has_its_zone():
    assert values.moment("2026-12-01 03:30+01:00") == datetime(2026, 12, 1, 2, 30, tzinfo=UTC)
    with pytest.raises(ArgumentTypeError, match="has no time zone"):
        values.moment("2026-12-01 03:30")


def test_arguments_are_json_and_those_with_a_name_are_keywords():
    args, kwargs = values.arguments(["1", '"a=1"', "null", "x=2", 'été={"a": [1]}'])

    assert args == [1, "a=1", None]
    assert kwargs == {"x": 2, "été": {"a": [1]}}
