from datetime import UTC, datetime, timedelta

import pytest
from django.utils import timezone, translation

from django_jobs.admin.shared import times

NOON = datetime(2026, 3, 5, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "now"),
        (0.9, "now"),
        (1, "in 1 second"),
        (-1, "1 second ago"),
        (89, "in 89 seconds"),
        (90, "in 2 minutes"),
        (300, "in 5 minutes"),
        (-89 * 60, "89 minutes ago"),
        (90 * 60, "in 2 hours"),
        (-3600 * 30, "30 hours ago"),
        (86400 * 2, "in 2 days"),
        (-86400 * 59, "59 days ago"),
        (86400 * 61, "in 2 months"),
        (-86400 * 800, "2 years ago"),
    ],
)
def test_a_moment_is_said_by_its_distance(seconds, words):
    assert times.words(NOON + timedelta(seconds=seconds), NOON) == words


def test_the_latest_moment_there_is_has_words_too():
    assert times.words(datetime.max.replace(tzinfo=UTC), NOON) == "in 7974 years"


def test_the_exact_time_is_in_the_zone_of_the_page_and_machine_readable():
    with timezone.override("Europe/Berlin"):
        shown = times.relative(NOON, NOON - timedelta(minutes=5))

    assert shown == (
        '<time class="jobs-moment" datetime="2026-03-05T12:00:00+00:00" '
        'title="March 5, 2026, 13:00:00 CET">in 5 minutes</time>'
    )


def test_the_exact_time_is_written_as_the_language_does():
    with translation.override("de"):
        assert times.exact(NOON).startswith("5. März 2026, ")


def test_both_ways_are_shown_together():
    with timezone.override("UTC"):
        shown = times.both(NOON, NOON)

    assert "2026-03-05 12:00:00</time>" in shown
    assert "now" in shown


def test_no_moment_is_a_dash():
    assert times.relative(None) == times.both(None) == "-"
