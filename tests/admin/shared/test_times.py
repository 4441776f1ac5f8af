from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

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


def test_times_of_a_log_are_those_of_the_page():
    log = "2030-01-15T09:30:00.123+00:00 begun\nat 2030-01-15T09:30:00.123+00:00\n2030-07-15T22:30:00.000+00:00 done"

    with timezone.override("Europe/Berlin"):
        assert times.in_text(log).splitlines() == [
            "2030-01-15 10:30:00.123 begun",
            "at 2030-01-15T09:30:00.123+00:00",
            "2030-07-16 00:30:00.000 done",
        ]


def test_a_moment_is_shown_by_the_clocks_of_the_job_as_well_where_they_differ():
    at = datetime(2030, 1, 15, 14, 30, tzinfo=UTC)

    with timezone.override("Europe/Berlin"):
        assert "09:30:00 America/New_York" in times.in_zones(at, ZoneInfo("America/New_York"))
        assert times.in_zones(at, ZoneInfo("Europe/Paris")) == times.both(at)
        assert times.in_zones(at, None) == times.both(at)
        assert times.plain(at) == "2030-01-15 15:30:00 CET"
