import pytest

from django_jobs.admin.shared import display


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (None, "-"),
        (0, "0 ms"),
        (0.0042, "4 ms"),
        (1, "1.0 s"),
        (59.94, "59.9 s"),
        (59.99, "1 min 0 s"),
        (3599, "59 min 59 s"),
        (3600, "1 h 0 min"),
        (90_000, "1 d 1 h"),
        (-5, "0 ms"),
    ],
)
def test_durations_are_shown_as_precisely_as_they_deserve(seconds, words):
    assert display.duration(seconds) == words


@pytest.mark.parametrize(
    ("seconds", "words"), [(59, "59.0 s"), (599, "9 min 59 s"), (1213, "20 min"), (3600, "1 h 0 min")]
)
def test_what_is_left_is_an_estimate_without_seconds_beside_many_minutes(seconds, words):
    assert display.left(seconds) == f"about {words} left"


def test_long_values_are_cut_with_a_mark():
    assert display.pretty("x" * 100_000).endswith("…")
    assert len(display.pretty("x" * 100_000)) == display.MAX_CHARACTERS + 1
