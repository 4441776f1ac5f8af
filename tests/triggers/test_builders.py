from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from apscheduler.triggers.interval import IntervalTrigger

from django_jobs import triggers

BERLIN = ZoneInfo("Europe/Berlin")
NOW = datetime(2026, 11, 24, 4, tzinfo=UTC)
NEW_YEAR = datetime(2027, 1, 1, tzinfo=UTC)
THREE = datetime(2026, 1, 1, 3, tzinfo=UTC)


def firings(trigger, count=6, since=NOW):
    """Return firings of a trigger as its row keeps it."""
    trigger = triggers.loads(triggers.dumps(trigger))
    found, moment = [], triggers.first(trigger, since)
    while moment is not None and len(found) < count:
        found.append(moment)
        local = triggers.local(trigger, moment)
        moment = trigger.get_next_fire_time(local, local)
    return found


def shown(trigger, count=6, since=NOW):
    return [f"{moment:%m-%d %H:%M}" for moment in firings(trigger, count, since)]


def test_an_interval_counts_from_its_start_which_may_be_in_the_past():
    six_hours = triggers.interval(timedelta(hours=6), start=THREE)

    assert shown(six_hours, 3) == ["11-24 09:00", "11-24 15:00", "11-24 21:00"]
    assert triggers.describe(six_hours) == "every 6 hours, from 2026-01-01 03:00 UTC"


def test_an_interval_fires_first_at_a_start_that_is_to_come():
    assert firings(triggers.interval(3600, start=NEW_YEAR), 2) == [NEW_YEAR, NEW_YEAR + timedelta(hours=1)]


def test_a_start_of_an_interval_is_part_of_its_rule():
    weekly = triggers.interval(timedelta(weeks=1), start=THREE, jitter=60)
    rule = triggers.rule(weekly)

    assert triggers.rule(triggers.by_rule(rule, NOW)) == rule
    assert rule["start"] == "2026-01-01T03:00:00+00:00[UTC]" or rule["start"].startswith(
        "2026-01-01T03:00:00"
    )


@pytest.mark.parametrize(
    ("length", "anchor", "expected", "words"),
    [
        (
            timedelta(hours=6),
            "03:00",
            ["11-24 09:00", "11-24 15:00", "11-24 21:00", "11-25 03:00"],
            "at 03:00, 09:00, 15:00 and 21:00 every day",
        ),
        (
            timedelta(hours=6),
            time(21, 30),
            ["11-24 09:30", "11-24 15:30", "11-24 21:30", "11-25 03:30"],
            "at 03:30, 09:30, 15:30 and 21:30 every day",
        ),
        (
            7200,
            "01:00",
            ["11-24 05:00", "11-24 07:00", "11-24 09:00", "11-24 11:00"],
            "every 2 hours from 01:00 to 23:00 every day",
        ),
        (
            timedelta(minutes=20),
            "00:05",
            ["11-24 04:05", "11-24 04:25", "11-24 04:45", "11-24 05:05"],
            "at minutes 5, 25 and 45 of every hour",
        ),
        (3600, "10:15", ["11-24 04:15", "11-24 05:15", "11-24 06:15", "11-24 07:15"],
         "at minute 15 of every hour"),
        (60, "00:00", ["11-24 04:00", "11-24 04:01", "11-24 04:02", "11-24 04:03"], "every minute"),
        (86400, "03:00", ["11-25 03:00", "11-26 03:00", "11-27 03:00", "11-28 03:00"], "at 03:00 every day"),
    ],
)  # fmt: skip
def test_an_anchor_says_the_time_of_day_that_an_interval_counts_from(length, anchor, expected, words):
    trigger = triggers.anchored(length, anchor)

    assert shown(trigger, 4) == expected
    assert triggers.describe(trigger) == words


def test_an_anchor_goes_by_the_clock_on_the_wall_in_summer_and_in_winter():
    trigger = triggers.anchored(timedelta(hours=12), "03:00", "Europe/Berlin")

    before = shown(trigger, 2, datetime(2027, 3, 27, 12, tzinfo=BERLIN))
    after = shown(trigger, 2, datetime(2027, 3, 28, 12, tzinfo=BERLIN))

    assert (before, after) == (["03-27 15:00", "03-28 03:00"], ["03-28 15:00", "03-29 03:00"])


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: triggers.anchored(timedelta(minutes=45), "03:00"), "divides an hour or a day"),
        (lambda: triggers.anchored(timedelta(hours=5), "03:00"), "and 5:00:00 does not: pass start="),
        (lambda: triggers.anchored(timedelta(days=2), "03:00"), "and 2 days, 0:00:00 does not"),
        (lambda: triggers.anchored(0.5, "03:00"), "and 0:00:00.5"),
        (lambda: triggers.anchored(3600, "3 o'clock"), 'as "03:00"'),
        (lambda: triggers.anchored(3600, time(3, tzinfo=UTC)), "without a time zone"),
        (lambda: triggers.anchored(3600, "03:00:30"), "whole minute"),
        (lambda: triggers.anchored(3600, "03:00", "Mars/Base"), "Mars/Base"),
        (lambda: triggers.interval(60, jitter=60), "less than the interval"),
        (lambda: triggers.interval(60, jitter=-1), "and not -1"),
        (lambda: triggers.interval(60, start=datetime(2026, 1, 1)), r"make_aware\(start\)"),  # noqa: DTZ001 - refused
        (lambda: triggers.interval(60, start=NEW_YEAR, end=THREE), "the end, 2026-01-01T03:00:00"),
        (lambda: triggers.interval(60, times=5), "counted from the start"),
        (lambda: triggers.interval(60, times=0, start=THREE), "from 1 to 10,000, not 0"),
        (lambda: triggers.crontab("@daily", times=10_001, start=THREE), "from 1 to 10,000"),
        (lambda: triggers.crontab("@daily", end=datetime.min.replace(tzinfo=BERLIN)), "out of the calendar"),
        (lambda: triggers.calendar(start=date(2026, 1, 1)), "months=1"),
        (lambda: triggers.calendar(start=date(2026, 1, 1), months=-1), "0 or more"),
        (lambda: triggers.calendar(start=date(2026, 1, 1), years=101), "longer than 100 years"),
        (lambda: triggers.calendar(start=date(2026, 1, 1), days=1, at="25:00"), "at must be a time"),
        (lambda: triggers.calendar(start=date(2026, 1, 2), days=1, end=date(2026, 1, 1)), "before the start"),
        (lambda: triggers.calendar(start=date(2026, 1, 2), days=1, jitter=float("nan")), "and not nan"),
    ],
)
def test_a_limit_out_of_range_is_refused_with_the_way_out(make, words):
    with pytest.raises(ValueError, match=words):
        make()


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: triggers.interval(60, start="2026-01-01"), "start must be an aware datetime or a date"),
        (lambda: triggers.interval(60, start=THREE, times=2.5), "whole number, not 2.5"),
        (lambda: triggers.interval(60, start=THREE, times=True), "whole number, not True"),
        (lambda: triggers.anchored(3600, 3), "anchor must be a time"),
        (lambda: triggers.calendar(start=THREE, days=1), "start must be a date without a time"),
        (lambda: triggers.calendar(start=date(2026, 1, 1), days=1.5), "days must be a whole number"),
        (lambda: triggers.crontab("@daily", end="never"), "end must be an aware datetime or a date"),
    ],
)
def test_a_limit_of_another_type_is_a_type_error(make, words):
    with pytest.raises(TypeError, match=words):
        make()


@pytest.mark.parametrize(
    ("trigger", "expected", "words"),
    [
        (
            triggers.calendar(months=1, start=date(2026, 1, 1), at="06:00", timezone=BERLIN),
            ["12-01 06:00", "01-01 06:00", "02-01 06:00"],
            "every month on day 1 at 06:00 (Europe/Berlin)",
        ),
        (
            triggers.calendar(months=1, start=date(2026, 10, 31)),
            ["12-31 00:00", "01-31 00:00", "03-31 00:00"],
            "every month on day 31 at 00:00",
        ),
        (
            triggers.calendar(weeks=2, start=date(2026, 11, 24), at=time(3, 30)),
            ["12-08 03:30", "12-22 03:30", "01-05 03:30"],
            "every 2 weeks on Tuesday at 03:30, from 2026-11-24",
        ),
        (
            triggers.calendar(days=3, start=date(2026, 11, 24), at="12:00", end=date(2026, 11, 28)),
            ["11-24 12:00", "11-27 12:00"],
            "every 3 days at 12:00, from 2026-11-24, until 2026-11-28",
        ),
        (
            triggers.calendar(years=1, start=date(2026, 5, 9), times=2),
            ["05-09 00:00"],
            "every year on 9 May at 00:00, until 2027-05-09",
        ),
    ],
)
def test_a_calendar_interval_counts_from_its_first_day(trigger, expected, words):
    since = NOW if trigger.weeks != 2 else NOW + timedelta(days=1)

    assert shown(trigger, 3, since) == expected
    assert triggers.describe(trigger) == words


@pytest.mark.parametrize(
    "make",
    [
        lambda **limits: triggers.interval(5400, **limits),
        lambda **limits: triggers.crontab("30 3 * * mon-fri", BERLIN, **limits),
        lambda **limits: triggers.crontab("0 3 1 * mon", BERLIN, **limits),
        lambda **limits: triggers.anchored(timedelta(hours=6), "03:00", BERLIN, **limits),
    ],
    ids=["interval", "cron", "either day", "anchor"],
)
def test_times_are_the_first_so_many_after_the_start(make):
    unlimited = firings(make(start=THREE), 10, THREE)

    assert firings(make(start=THREE, times=7), 10, THREE) == unlimited[:7]
    assert firings(make(start=THREE, times=7, end=unlimited[3]), 10, THREE) == unlimited[:4]
    assert len(firings(make(start=THREE, times=7, jitter=600), 10, THREE)) == 7
    assert firings(make(start=THREE, times=7), 10, NOW) == [], "they are counted from the start, not from now"


@pytest.mark.parametrize(
    "make",
    [
        lambda **limits: triggers.interval(86400, **limits),
        lambda **limits: triggers.crontab("0 9 * * *", **limits),
        lambda **limits: triggers.anchored(86400, "09:00", **limits),
    ],
    ids=["interval", "cron", "anchor"],
)
def test_dates_as_limits_are_whole_days(make):
    trigger = make(start=date(2027, 2, 1), end=date(2027, 2, 3))

    assert [moment.day for moment in firings(trigger)] == [1, 2, 3]


def test_a_start_of_a_cron_trigger_is_said_until_it_has_come():
    trigger = triggers.crontab("0 9 * * *", start=date(2126, 1, 1), end=date(2126, 12, 31), jitter=30)

    assert triggers.describe(trigger) == (
        "at 09:00 every day, from 2126-01-01 00:00 UTC, until 2126-12-31 23:59:59 UTC, up to 30 seconds later"
    )


def test_jitter_of_an_expression_that_means_either_day_is_said_once():
    trigger = triggers.crontab("0 3 1 * mon", jitter=timedelta(minutes=1))

    assert triggers.describe(trigger) == (
        "at 03:00 on day 1 of the month or at 03:00 on Monday, up to 60 seconds later"
    )
    assert all(timedelta(0) <= moment - moment.replace(minute=0, second=0, microsecond=0) <= timedelta(minutes=1)
               for moment in firings(trigger, 20))  # fmt: skip


def test_a_repeated_time_that_fires_twice_is_said():
    said = "at 02:30 every day (Europe/Berlin), twice where the clocks repeat a time"

    assert triggers.describe(triggers.crontab("30 2 * * *", BERLIN, repeats=True)) == said
    assert triggers.describe(triggers.crontab("30 2 * * *", repeats=True)) == "at 02:30 every day"


def test_jitter_takes_no_first_firing_beyond_the_end():
    trigger = triggers.interval(3600, start=NEW_YEAR, end=NEW_YEAR, jitter=600)

    assert firings(trigger) == [NEW_YEAR]


def test_a_version_that_knows_apschedulers_triggers_only_can_read_all_of_them():
    for trigger in (
        triggers.interval(3600, start=THREE, times=5, jitter=9),
        triggers.anchored(timedelta(hours=6), "03:00", BERLIN, end=NEW_YEAR),
        triggers.crontab("0 3 1 * mon", BERLIN, start=THREE, jitter=5),
        triggers.calendar(months=1, start=date(2026, 1, 1), jitter=5),
    ):
        parts = triggers.rule(trigger).get("triggers", [triggers.rule(trigger)])
        assert {name for part in parts for name in part} <= {
            "type", "seconds", "start", "end", "timezone", "jitter", "fields",
            "years", "months", "weeks", "days", "hour", "minute", "second",
        }  # fmt: skip


def test_what_is_not_storable_is_refused_and_what_has_ended_is_not():
    ended = triggers.interval(3600, start=THREE, end=THREE)

    assert triggers.rule(triggers.storable(ended)) == triggers.rule(ended)
    with pytest.raises(ValueError, match="never fires"):
        triggers.check(ended)
    with pytest.raises(ValueError, match="too short"):
        triggers.storable(IntervalTrigger(seconds=-5, timezone=UTC))
