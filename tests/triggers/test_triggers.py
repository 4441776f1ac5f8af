import itertools
import json
import math
import pickle
from calendar import monthrange
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from apscheduler.triggers.base import BaseTrigger
from apscheduler.triggers.calendarinterval import CalendarIntervalTrigger
from apscheduler.triggers.combining import AndTrigger, OrTrigger
from apscheduler.triggers.cron import CronTrigger
from apscheduler.triggers.date import DateTrigger
from apscheduler.triggers.interval import IntervalTrigger
from django.utils import translation
from django.utils.timezone import override

from django_jobs import triggers
from django_jobs.exceptions import UnknownTrigger
from django_jobs.triggers import storage, wall_clock

BERLIN = ZoneInfo("Europe/Berlin")
NEW_YORK = ZoneInfo("America/New_York")
LORD_HOWE = ZoneInfo("Australia/Lord_Howe")  # its summer time is half an hour
ZONES = (UTC, BERLIN, NEW_YORK, LORD_HOWE)
START = datetime(2026, 11, 25, tzinfo=UTC)
NOW = datetime(2026, 11, 24, 4, tzinfo=UTC)  # a Tuesday

# Zones, and times a little before their clocks change, and before a leap day.
LEAP = datetime(2028, 2, 27, 12, tzinfo=UTC)
CHANGES = [
    (NEW_YORK, datetime(2026, 3, 7, 12, tzinfo=UTC)),
    (NEW_YORK, datetime(2026, 10, 31, 12, tzinfo=UTC)),
    (NEW_YORK, LEAP),
    (BERLIN, datetime(2026, 3, 28, 12, tzinfo=UTC)),
    (BERLIN, datetime(2026, 10, 24, 12, tzinfo=UTC)),
    (BERLIN, LEAP),
    (LORD_HOWE, datetime(2026, 4, 4, 1, tzinfo=UTC)),
    (LORD_HOWE, datetime(2026, 10, 3, 1, tzinfo=UTC)),
    (UTC, datetime(2026, 10, 24, 12, tzinfo=UTC)),
    (UTC, LEAP),
]


class Nameless(tzinfo):
    def utcoffset(self, moment):
        return timedelta(hours=1)

    def dst(self, moment):
        return timedelta(0)

    def tzname(self, moment):
        return "nameless"


class LocalZone(Nameless):
    key = "local"


class Odd(IntervalTrigger):
    pass


def fire_times(trigger, start=NOW, count=50):
    times, previous, now = [], None, start
    while len(times) < count:
        previous = trigger.get_next_fire_time(previous, now)
        if previous is None:
            break
        times.append(previous)
        # Two datetimes of one zone are compared by their wall time, which a clock set back repeats.
        now = max(now, previous.astimezone(UTC))
    return times


def utc_times(trigger, start=NOW, count=5):
    return [f"{moment.astimezone(UTC):%Y-%m-%d %H:%M}" for moment in fire_times(trigger, start, count)]


def wall_times(trigger, start=NOW, count=5):
    return [f"{moment:%a %Y-%m-%d %H:%M}" for moment in fire_times(trigger, start, count)]


def cron(**fields):
    return CronTrigger(**{"timezone": UTC, **fields})


# JSON


ROUND_TRIPS = [
    triggers.at(NOW),
    triggers.at(datetime(2026, 11, 24, 3, 30, 15, 123456, tzinfo=timezone(timedelta(hours=5, minutes=30)))),
    triggers.at(datetime(2026, 10, 25, 2, 30, tzinfo=BERLIN, fold=0)),
    triggers.at(datetime(2026, 10, 25, 2, 30, tzinfo=BERLIN, fold=1)),
    triggers.at(datetime(2026, 10, 25, 2, 30, tzinfo=Nameless())),
    triggers.interval(0.5),
    triggers.interval(timedelta(days=36525)),
    IntervalTrigger(seconds=0.001, start_date=datetime(2026, 11, 24, 0, 0, 0, 7, tzinfo=UTC), timezone=UTC),
    IntervalTrigger(hours=7, start_date=NOW, end_date=NOW + timedelta(days=3), timezone=BERLIN),
    IntervalTrigger(weeks=1, start_date=datetime(2026, 1, 1, tzinfo=NEW_YORK), timezone=LORD_HOWE),
    cron(),
    cron(second="*/7"),
    cron(year="2026-2030", month="jan-mar,dec", day="1st mon,last", hour="5-23/3", minute="5/10"),
    cron(week="*/2", day_of_week="mon-wed,sun", hour=3),
    cron(hour=3, start_date=datetime(2027, 1, 1, tzinfo=BERLIN), end_date=datetime(2027, 2, 1, tzinfo=UTC)),
    cron(minute=15, timezone=timezone(timedelta(hours=-3, minutes=-30))),
    cron(minute=15, timezone=timezone(timedelta(hours=1, seconds=7))),
    cron(day=29, month=2, timezone=BERLIN),
    CalendarIntervalTrigger(months=1, start_date=date(2026, 1, 31), hour=3, minute=30, timezone=BERLIN),
    CalendarIntervalTrigger(years=1, start_date=date(2024, 2, 29), timezone=UTC),
    CalendarIntervalTrigger(
        weeks=2, days=1, second=7, start_date=date(2026, 3, 1), hour=2, timezone=NEW_YORK
    ),
    CalendarIntervalTrigger(
        days=1, start_date=date(2026, 3, 1), end_date=date(2026, 4, 10), timezone=LORD_HOWE
    ),
    triggers.check(
        OrTrigger([cron(hour=3), OrTrigger([cron(day_of_week="sun", hour=2, timezone=BERLIN), cron(day=1)])])
    ),
    triggers.check(OrTrigger([triggers.at(NOW), triggers.interval(60)])),
    triggers.check(AndTrigger([cron(hour=3)])),
]


@pytest.mark.parametrize("number", range(len(ROUND_TRIPS)))
def test_a_trigger_comes_back_with_the_same_fire_times(number):
    trigger = ROUND_TRIPS[number]

    back = triggers.loads(memoryview(triggers.dumps(trigger)))

    assert isinstance(back, type(trigger))
    # APScheduler's calendar interval begins with its start, whatever time it is.
    start = date_time(2024, 1, 1) if isinstance(trigger, CalendarIntervalTrigger) else NOW
    times, expected = fire_times(back, start), fire_times(trigger, start)
    assert times == expected
    assert [moment.utcoffset() for moment in times] == [moment.utcoffset() for moment in expected]
    assert storage.encode(back) == storage.encode(trigger)
    assert triggers.describe(back) == triggers.describe(trigger)


@pytest.mark.parametrize(("zone", "start"), CHANGES, ids=str)
@pytest.mark.parametrize(
    "expression", ["30 2 * * *", "45 1 * * *", "15 * * * *", "*/20 * * * *", "0 0 29 2 *", "30 2 1 * sun"]
)
def test_a_cron_trigger_comes_back_across_clock_changes_and_leap_days(start, zone, expression):
    trigger = triggers.crontab(expression, zone)

    times = fire_times(storage.decode(storage.encode(trigger)), start)

    assert times == fire_times(trigger, start)
    assert all(a.astimezone(UTC) < b.astimezone(UTC) for a, b in pairwise(times))


@pytest.mark.parametrize("zone", ZONES, ids=str)
@pytest.mark.parametrize("units", [{"days": 1}, {"weeks": 1}, {"months": 1}], ids=str)
def test_a_calendar_trigger_fires_when_apschedulers_does_where_no_clock_skips_it(zone, units):
    trigger = CalendarIntervalTrigger(
        **units, hour=12, minute=15, start_date=date(2026, 1, 29), timezone=zone
    )

    back = storage.decode(storage.encode(trigger))

    assert fire_times(back, date_time(2026, 1, 29), 400) == fire_times(trigger, date_time(2026, 1, 29), 400)


def date_time(*day):
    return datetime(*day, tzinfo=UTC)


@pytest.mark.parametrize(
    ("units", "start", "expected"),
    [
        ({"days": 1}, date(2026, 3, 28), ["2026-03-28 02:30", "2026-03-29 03:30", "2026-03-30 02:30"]),
        ({"weeks": 1}, date(2026, 3, 22), ["2026-03-22 02:30", "2026-03-29 03:30", "2026-04-05 02:30"]),
        ({"months": 1}, date(2026, 2, 28), ["2026-02-28 02:30", "2026-03-28 02:30", "2026-04-28 02:30"]),
        ({"months": 1}, date(2026, 1, 29), ["2026-01-29 02:30", "2026-03-29 03:30", "2026-04-29 02:30"]),
        ({"years": 1}, date(2025, 3, 29), ["2025-03-29 02:30", "2026-03-29 03:30", "2027-03-29 02:30"]),
        (
            {"months": 1, "days": 1},
            date(2026, 1, 27),
            ["2026-01-27 02:30", "2026-02-28 02:30", "2026-03-29 03:30"],
        ),
    ],
)
def test_a_calendar_interval_leaves_out_no_day_whose_hour_the_clocks_skip(units, start, expected):
    trigger = as_stored(
        CalendarIntervalTrigger(**units, hour=2, minute=30, start_date=start, timezone=BERLIN)
    )

    times = fire_times(trigger, datetime.combine(start, time(), BERLIN), 3)

    assert [f"{moment:%Y-%m-%d %H:%M}" for moment in times] == expected


def test_a_calendar_interval_whose_hour_the_clocks_repeat_fires_once():
    trigger = as_stored(
        CalendarIntervalTrigger(days=1, hour=2, minute=30, start_date=date(2026, 10, 24), timezone=BERLIN)
    )

    assert utc_times(trigger, date_time(2026, 10, 24), 3) == [
        "2026-10-24 00:30",
        "2026-10-25 00:30",
        "2026-10-26 01:30",
    ]


def test_jitter_moves_no_date_of_a_calendar_interval():
    trigger = as_stored(
        CalendarIntervalTrigger(
            months=1, hour=23, minute=59, start_date=date(2026, 1, 31), timezone=UTC, jitter=7200
        )
    )

    times = fire_times(trigger, date_time(2026, 1, 1), 14)

    meant = [day for month in range(24) if (day := date_time(2026 + month // 12, month % 12 + 1, 1))]
    last_days = [day + timedelta(days=30, hours=23, minutes=59) for day in meant]
    expected = [day for day in last_days if day.day == 31]
    assert all(
        timedelta(0) <= moment - of <= timedelta(hours=2) for moment, of in zip(times, expected, strict=True)
    )


def test_jitter_takes_no_firing_from_an_interval():
    trigger = as_stored(IntervalTrigger(hours=1, start_date=NOW, timezone=UTC, jitter=900))

    times = fire_times(trigger, NOW, 168)

    for number, moment in enumerate(times):
        assert timedelta(0) <= moment - (NOW + timedelta(hours=number)) <= timedelta(minutes=15)


def test_jitter_leads_an_interval_not_beyond_its_end():
    end = NOW + timedelta(hours=2)
    trigger = as_stored(IntervalTrigger(hours=1, start_date=NOW, end_date=end, timezone=UTC, jitter=1800))

    times = fire_times(trigger, NOW, 10)

    assert len(times) == 3
    assert times[-1] <= end


def test_a_calendar_interval_whose_steps_depend_on_each_other_counts_from_its_start():
    mixed = CalendarIntervalTrigger(months=1, days=3, start_date=date(2026, 1, 30), timezone=UTC)

    ours, theirs = as_stored(mixed), mixed

    assert fire_times(ours, date_time(2026, 1, 1), 60) == fire_times(theirs, date_time(2026, 1, 1), 60)
    later = fire_times(theirs, date_time(2026, 1, 1), 60)[40]
    assert triggers.first(ours, later) == later


def test_a_calendar_interval_ends_with_the_calendar():
    yearly = as_stored(CalendarIntervalTrigger(years=1, start_date=date(2026, 1, 1), timezone=UTC))

    assert triggers.first(yearly, date_time(9999, 6, 1)) is None


def test_jitter_and_limits_come_back():
    trigger = CronTrigger(hour=3, jitter=30, timezone=UTC)
    combined = OrTrigger([IntervalTrigger(seconds=5, jitter=1.5, timezone=UTC), trigger], jitter=7)

    back = triggers.loads(triggers.dumps(combined))

    assert [back.jitter, *[part.jitter for part in back.triggers]] == [7, 1.5, 30]


def test_a_zone_name_stays_a_zone_and_utc_stays_utc():
    assert storage.decode(storage.encode(cron(timezone=BERLIN))).timezone is BERLIN
    assert storage.decode(storage.encode(cron(timezone=UTC))).timezone is UTC


def test_the_stored_form_is_json_that_can_be_read():
    moment = datetime(2026, 11, 24, 3, 30, tzinfo=BERLIN)

    assert json.loads(triggers.dumps(triggers.at(moment))) == {
        "version": 1,
        "type": "date",
        "at": "2026-11-24T03:30:00+01:00[Europe/Berlin]",
    }


@pytest.mark.parametrize(
    "trigger",
    [Odd(seconds=5, timezone=UTC), object(), None, OrTrigger([Odd(seconds=5, timezone=UTC)])],
    ids=lambda trigger: type(trigger).__name__,
)
def test_a_trigger_of_another_class_is_refused_by_name(trigger):
    with pytest.raises(
        UnknownTrigger, match="cannot be stored as a trigger; use one of DateTrigger, IntervalTrigger"
    ):
        storage.encode(trigger)


@pytest.mark.parametrize("zone", [Nameless(), LocalZone()])
def test_a_zone_without_a_name_is_refused_with_the_way_out(zone):
    with pytest.raises(UnknownTrigger, match=r"use zoneinfo\.ZoneInfo\('Area/City'\)"):
        storage.encode(cron(hour=3, timezone=zone))


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (pickle.dumps({"trigger": 1}), "is a pickle, which is never read"),
        (b"", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"[]", "expected a trigger of type"),
        (b'{"version":2,"type":"date"}', "version 2, this process reads 1"),
        (b'{"type":"date"}', "version None"),
        (b'{"version":1}', "expected a trigger of type"),
        (b'{"version":1,"type":["date"]}', "expected a trigger of type"),
        (b'{"version":1,"type":"odd"}', "expected a trigger of type date, interval, cron, calendar, and, or"),
        (b'{"version":1,"type":"date"}', "date trigger has no usable 'at'"),
        (b'{"version":1,"type":"date","at":null}', "cannot be read"),
        (b'{"version":1,"type":"date","at":"soon"}', "cannot be read"),
        (b'{"version":1,"type":"date","at":7}', "cannot be read"),
        (b'{"version":1,"type":"date","at":"2026-11-24T03:30:00"}', "naive"),
        (b'{"version":1,"type":"date","at":"2026-11-24T03:30:00+00:00[Mars/Base]"}', "Mars/Base"),
        (b'{"version":1,"type":"date","at":"2026-11-24T03:30:00+00:00[../../etc/passwd]"}', "cannot be read"),
        (b'{"version":1,"type":"interval","seconds":0,"start":null,"timezone":"UTC"}', "length of 0 seconds"),
        (
            b'{"version":1,"type":"interval","seconds":-5,"start":null,"timezone":"UTC"}',
            "length of -5 seconds",
        ),
        (b'{"version":1,"type":"interval","seconds":NaN,"start":null,"timezone":"UTC"}', "cannot be read"),
        (b'{"version":1,"type":"interval","seconds":5,"start":null,"timezone":"UTC"}', "cannot be read"),
        (b'{"version":1,"type":"cron","fields":{"hour":"25"},"timezone":"UTC"}', "cannot be read"),
        (b'{"version":1,"type":"cron","fields":{"jitter":"2"},"timezone":"UTC"}', "unknown fields"),
        (b'{"version":1,"type":"cron","fields":[],"timezone":"UTC"}', "cannot be read"),
        (b'{"version":1,"type":"cron","fields":{},"timezone":"Mars/Base"}', "'Mars/Base' is not known"),
        (b'{"version":1,"type":"cron","fields":{},"timezone":7}', "cannot be read"),
        (b'{"version":1,"type":"cron","fields":{},"timezone":"UTC","jitter":"x"}', "jitter of 'x'"),
        (b'{"version":1,"type":"calendar","years":"x"}', "where a count belongs"),
        (b'{"version":1,"type":"or","triggers":7}', "cannot be read"),
        (b'{"version":1,"type":"or","triggers":[{"type":"odd"}]}', "expected a trigger of type"),
    ],
)
def test_a_stored_trigger_that_cannot_be_read_says_why(raw, words):
    with pytest.raises(UnknownTrigger, match=words):
        triggers.loads(raw)


def test_a_stored_trigger_nested_deeper_than_python_follows_is_refused():
    state = b'{"version":1,"type":"or","triggers":['

    with pytest.raises(UnknownTrigger):
        triggers.loads(b"[" * 100_000)
    with pytest.raises(UnknownTrigger):
        triggers.loads(state * 5000 + b"]}" * 5000)


def test_a_pickle_is_not_executed():
    class Bomb:
        def __reduce__(self):
            return pytest.fail, ("it was unpickled",)

    with pytest.raises(UnknownTrigger):
        triggers.loads(pickle.dumps(Bomb()))


# Making


def test_an_interval_starts_one_interval_from_now(time_machine):
    time_machine.move_to(NOW, tick=False)

    trigger = triggers.interval(90)

    assert fire_times(trigger, NOW, 2) == [NOW + timedelta(seconds=90), NOW + timedelta(seconds=180)]
    assert trigger.timezone is UTC


@pytest.mark.parametrize("seconds", [0.001, 0.5, 1, 10**9, timedelta(minutes=5)])
def test_an_interval_keeps_its_length(seconds):
    length = seconds if isinstance(seconds, timedelta) else timedelta(seconds=seconds)

    assert triggers.interval(seconds).interval == length


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "an interval of 0 seconds is too short: it must be at least 0.001 seconds"),
        (-5, "an interval of -5 seconds is too short"),
        (0.0009, "too short"),
        (timedelta(0), "too short"),
        (timedelta(microseconds=999), "too short"),
        (-math.inf, "too short"),
        (math.nan, "NaN"),
        (math.inf, "longer than 100 years"),
        (10**40, "longer than 100 years"),
        (timedelta.max, "longer than 100 years"),
        (True, "must be a number of seconds, not True"),
    ],
)
def test_an_interval_out_of_range_is_refused(seconds, words):
    with pytest.raises(ValueError, match=words):
        triggers.interval(seconds)


@pytest.mark.parametrize("seconds", ["60", None])
def test_an_interval_that_is_no_number_is_refused(seconds):
    with pytest.raises(TypeError, match="number of seconds"):
        triggers.interval(seconds)


def test_a_moment_keeps_its_zone():
    moment = datetime(2026, 7, 1, 12, tzinfo=BERLIN)

    assert triggers.at(moment).run_date is moment


def test_a_naive_moment_is_refused_with_the_way_out():
    with pytest.raises(ValueError, match=r"is naive.*django\.utils\.timezone\.make_aware\(run_at\)"):
        triggers.at(NOW.replace(tzinfo=None))


@pytest.mark.parametrize("value", [date(2026, 1, 1), "2026-01-01T00:00Z", 7, None], ids=repr)
def test_a_moment_that_is_no_datetime_is_refused(value):
    with pytest.raises(TypeError, match="expected an aware datetime"):
        triggers.at(value)


# Crontab


@pytest.mark.parametrize(
    ("field", "days"),
    [
        ("0", "Sun"), ("7", "Sun"), ("1", "Mon"), ("6", "Sat"), ("sun", "Sun"), ("SAT", "Sat"), ("Mon", "Mon"),
        ("1-5", "Mon Tue Wed Thu Fri"), ("5-7", "Fri Sat Sun"), ("fri-sun", "Fri Sat Sun"),
        ("0-2", "Mon Tue Sun"), ("sun-tue", "Mon Tue Sun"), ("*/2", "Tue Thu Sat Sun"),
        ("1-5/2", "Mon Wed Fri"), ("1/2", "Mon Wed Fri"), ("0,7", "Sun"), ("mon,3,fri", "Mon Wed Fri"),
        ("0-7", "Mon Tue Wed Thu Fri Sat Sun"), ("0-6", "Mon Tue Wed Thu Fri Sat Sun"),
        ("*", "Mon Tue Wed Thu Fri Sat Sun"), ("7/2", "Sun"), ("5-7/2", "Fri Sun"),
    ],
)  # fmt: skip
def test_weekdays_mean_what_cron_means_by_them(field, days):
    week = wall_times(triggers.crontab(f"0 3 * * {field}"), datetime(2026, 11, 23, tzinfo=UTC), 7)

    assert " ".join(time[:3] for time in week if time[4:14] <= "2026-11-29") == days


@pytest.mark.parametrize(
    ("expression", "times"),
    [
        ("30 3 * * *", ["2026-11-25 03:30", "2026-11-26 03:30"]),
        ("*/25 * * * *", ["2026-11-24 04:00", "2026-11-24 04:25", "2026-11-24 04:50", "2026-11-24 05:00"]),
        ("*/45 4 * * *", ["2026-11-24 04:00", "2026-11-24 04:45", "2026-11-25 04:00"]),
        ("*/60 4 * * *", ["2026-11-24 04:00", "2026-11-25 04:00"]),
        ("0-0/5 * * * *", ["2026-11-24 04:00", "2026-11-24 05:00"]),
        ("50/5 * * * *", ["2026-11-24 04:50", "2026-11-24 04:55", "2026-11-24 05:50"]),
        ("5,5,1-2 4 * * *", ["2026-11-24 04:01", "2026-11-24 04:02", "2026-11-24 04:05", "2026-11-25 04:01"]),
        ("0 0 1 jan,JUL *", ["2027-01-01 00:00", "2027-07-01 00:00"]),
        ("0 0 31 * *", ["2026-12-31 00:00", "2027-01-31 00:00", "2027-03-31 00:00"]),
        ("0 0 29 2 *", ["2028-02-29 00:00", "2032-02-29 00:00"]),
        ("0 0 1 */6 *", ["2027-01-01 00:00", "2027-07-01 00:00"]),
        (" 0\t0  1 1 * ", ["2027-01-01 00:00"]),
        ("@hourly", ["2026-11-24 04:00", "2026-11-24 05:00"]),
        ("@daily", ["2026-11-25 00:00", "2026-11-26 00:00"]),
        ("@Midnight", ["2026-11-25 00:00"]),
        ("@weekly", ["2026-11-29 00:00", "2026-12-06 00:00"]),
        ("@monthly", ["2026-12-01 00:00", "2027-01-01 00:00"]),
        ("@yearly", ["2027-01-01 00:00"]),
        ("@annually", ["2027-01-01 00:00"]),
    ],
)
def test_an_expression_fires_when_cron_would(expression, times):
    assert utc_times(triggers.crontab(expression), count=len(times)) == times


def test_a_restricted_day_of_month_or_a_restricted_weekday_is_enough():
    trigger = triggers.crontab("0 3 1,15 * mon")

    assert wall_times(trigger, count=6) == [
        "Mon 2026-11-30 03:00",
        "Tue 2026-12-01 03:00",
        "Mon 2026-12-07 03:00",
        "Mon 2026-12-14 03:00",
        "Tue 2026-12-15 03:00",
        "Mon 2026-12-21 03:00",
    ]


def test_a_day_that_both_fields_mean_fires_once():
    trigger = triggers.crontab("0 3 7 12 mon")  # a Monday

    assert wall_times(trigger, datetime(2026, 12, 6, tzinfo=UTC), 2) == [
        "Mon 2026-12-07 03:00",
        "Mon 2026-12-14 03:00",
    ]


@pytest.mark.parametrize("expression", ["0 3 */10 * mon", "0 3 1,11,21,31 * */8,1"])
def test_fields_that_start_with_a_star_must_both_match(expression):
    trigger = triggers.crontab(expression)

    assert all(time.day in {1, 11, 21, 31} for time in fire_times(trigger, count=9))
    assert isinstance(trigger, CronTrigger)


def test_a_date_that_never_comes_leaves_the_weekdays():
    trigger = triggers.crontab("0 3 30 2 mon")

    assert isinstance(trigger, CronTrigger)
    assert wall_times(trigger, count=1) == ["Mon 2027-02-01 03:00"]


@pytest.mark.parametrize("expression", ["0 0 30 2 *", "0 0 31 4,jun,9,11 *", "0 0 30-31 feb */2"])
def test_a_date_that_never_comes_is_refused(expression):
    with pytest.raises(ValueError, match="never fires"):
        triggers.crontab(expression)


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("61 3 * * *", "'61 3 * * *': minute 61 is outside 0-59"),
        ("* 24 * * *", "'* 24 * * *': hour 24 is outside 0-23"),
        ("* * 0 * *", "'* * 0 * *': day of month 0 is outside 1-31"),
        ("* * 1-32 * *", "'* * 1-32 * *': day of month 32 is outside 1-31"),
        ("* * * 13 *", "'* * * 13 *': month 13 is outside 1-12"),
        ("* * * * 8", "'* * * * 8': day of week 8 is outside 0-7"),
        ("* * * * fun", "'* * * * fun': day of week 'fun' is not 0-7 or sun-sat"),
        ("* * * may-foo *", "'* * * may-foo *': month 'foo' is not 1-12 or jan-dec"),
        ("mon * * * *", "'mon * * * *': minute 'mon' is not 0-59"),
        ("*/0 * * * *", "'*/0 * * * *': minute '*/0' has a step that is not 1 or more"),
        ("*/ * * * *", "'*/ * * * *': minute '*/' has a step that is not 1 or more"),
        ("*/-5 * * * *", "'*/-5 * * * *': minute '*/-5' has a step that is not 1 or more"),
        ("1, * * * *", "'1, * * * *': minute '' is not a value, a range or *"),
        ("-5 * * * *", "'-5 * * * *': minute '-5' is not a value, a range or *"),
        ("1-2-3 * * * *", "'1-2-3 * * * *': minute '1-2-3' is not a value, a range or *"),
        ("٣ * * * *", "'٣ * * * *': minute '٣' is not a value, a range or *"),
        ("* * L-1 * *", "'* * L-1 * *': day of month 'L' is not 1-31"),
        ("* 22-4 * * *", "'* 22-4 * * *': hour range 22-4 runs backwards; write 22-23,0-4"),
        (
            "* * * * fri-mon",
            "'* * * * fri-mon': day of week range fri-mon runs backwards; write fri-sat,sun-mon",
        ),
        ("", "'': expected 5 fields (minute, hour, day of month, month, day of week), not 0"),
        ("* * * *", "not 4"),
        ("0 0 3 * * *", "not 6; seconds are not part of crontab"),
        ("@reboot", "'@reboot' is not supported"),
        ("@fortnightly", "'@fortnightly' is not a crontab nickname; there are @hourly"),
    ],
)
def test_a_wrong_expression_is_refused_by_field_and_range(expression, message):
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - compared below, as it is full of brackets
        triggers.crontab(expression)

    assert message in str(caught.value)


@pytest.mark.parametrize("zone", ["Mars/Base", "", "../etc/passwd", "+25:00"])
def test_an_unknown_zone_is_refused_by_name(zone):
    with pytest.raises(ValueError, match=r"zone|offset|isoformat"):
        triggers.crontab("0 3 * * *", zone)


@pytest.mark.parametrize("zone", ["Europe/Berlin", BERLIN])
def test_an_expression_is_read_in_its_zone(zone):
    trigger = triggers.crontab("0 3 * * *", zone)

    assert utc_times(trigger, datetime(2026, 10, 24, tzinfo=UTC), 3) == [
        "2026-10-24 01:00",
        "2026-10-25 02:00",
        "2026-10-26 02:00",
    ]


def test_a_time_that_the_clocks_skip_fires_when_it_would_have_been():
    trigger = triggers.crontab("30 2 * * *", BERLIN)

    assert utc_times(trigger, datetime(2026, 3, 28, 12, tzinfo=UTC), 2) == [
        "2026-03-29 01:30",
        "2026-03-30 00:30",
    ]


def test_a_time_that_the_clocks_repeat_fires_once():
    trigger = as_stored(triggers.crontab("30 1 * * *", NEW_YORK))

    assert utc_times(trigger, datetime(2026, 10, 31, 12, tzinfo=UTC), 2) == [
        "2026-11-01 05:30",
        "2026-11-02 06:30",
    ]


def test_a_time_that_the_clocks_repeat_fires_twice_where_that_is_chosen():
    trigger = as_stored(triggers.crontab("30 1 * * *", NEW_YORK, repeats=True))

    assert utc_times(trigger, datetime(2026, 10, 31, 12, tzinfo=UTC), 3) == [
        "2026-11-01 05:30",
        "2026-11-01 06:30",
        "2026-11-02 06:30",
    ]


def test_what_fires_in_each_hour_fires_in_the_repeated_one():
    trigger = as_stored(triggers.crontab("30 * * * *", NEW_YORK))

    assert utc_times(trigger, datetime(2026, 11, 1, 5, tzinfo=UTC), 3) == [
        "2026-11-01 05:30",
        "2026-11-01 06:30",
        "2026-11-01 07:30",
    ]


def test_a_daily_job_that_is_asked_in_the_repeated_hour_is_due_on_the_next_day():
    trigger = as_stored(triggers.crontab("30 1 * * *", NEW_YORK))

    assert triggers.first(trigger, datetime(2026, 11, 1, 6, 10, tzinfo=UTC)) == datetime(
        2026, 11, 2, 6, 30, tzinfo=UTC
    )


SPECIAL_DAYS = {
    "0 6 L * *": lambda day, last: day.day == last,
    "0 6 LW * *": lambda day, last: day == max(d for d in month_of(day) if d.weekday() < 5),
    "0 6 15W * *": lambda day, last: day == nearest_weekday(day, 15),
    "0 6 1W * *": lambda day, last: day == nearest_weekday(day, 1),
    "0 6 31W * *": lambda day, last: last == 31 and day == nearest_weekday(day, 31),
    "0 6 * * fri#2": lambda day, last: day.weekday() == 4 and 8 <= day.day <= 14,
    "0 6 * * mon#5": lambda day, last: day.weekday() == 0 and day.day > 28,
    "0 6 * * 7L": lambda day, last: day.weekday() == 6 and day.day > last - 7,
    "0 6 1,L * *": lambda day, last: day.day in {1, last},
    "0 6 L * mon": lambda day, last: day.day == last or day.weekday() == 0,
    "0 6 * * mon,fri#2": lambda day, last: day.weekday() == 0 or (day.weekday() == 4 and 8 <= day.day <= 14),
    "0 6 L * wed,fri#2": lambda day, last: (
        day.day == last or day.weekday() == 2 or (day.weekday() == 4 and 8 <= day.day <= 14)
    ),
    "0 6 L 2,6 *": lambda day, last: day.day == last and day.month in {2, 6},
}


def month_of(day):
    return [date(day.year, day.month, number) for number in range(1, monthrange(day.year, day.month)[1] + 1)]


def nearest_weekday(day, number):
    days = [d for d in month_of(day) if d.weekday() < 5]
    return min(days, key=lambda d: (abs(d.day - number), d.day))


@pytest.mark.parametrize("expression", SPECIAL_DAYS)
def test_letters_for_days_fire_when_they_say(expression):
    days = [date(2027, 1, 1) + timedelta(days=number) for number in range(365 * 4 + 1)]
    expected = [day for day in days if SPECIAL_DAYS[expression](day, monthrange(day.year, day.month)[1])]

    trigger = as_stored(triggers.crontab(expression))

    assert [moment.date() for moment in fire_times(trigger, date_time(2027, 1, 1), len(expected))] == expected


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("0 6 * * fri#6", "1st to 5th"),
        ("0 6 * * fri#0", "1st to 5th"),
        ("0 6 * * xyz#1", "day of week 'xyz'"),
        ("0 6 0W * *", "from 1 to 31"),
        ("0 6 32W * *", "from 1 to 31"),
        ("0 6 31W 2,4 *", "never fires"),
        ("0 6 L-3 * *", "day of month 'L'"),
        ("0 6 * * L", "day of week 'L'"),
        ("0 6 */2 * fri#1", "cannot be combined"),
        ("L 6 * * *", "minute 'L'"),
    ],
)
def test_letters_for_days_where_they_mean_nothing_are_refused(expression, words):
    with pytest.raises(ValueError, match=words):
        triggers.crontab(expression)


# Clocks that change


CHANGING = [
    "America/New_York",
    "America/Santiago",  # at midnight
    "Australia/Lord_Howe",
    "Australia/Sydney",
    "Europe/Berlin",
    "Europe/London",
]
ALL_DAY = range(24)
# Minutes, hours and days that an expression means.
MEANT = {
    "@daily": ([0], [0], lambda day: True),
    "@weekly": ([0], [0], lambda day: day.weekday() == 6),
    "@monthly": ([0], [0], lambda day: day.day == 1),
    "30 0 * * *": ([30], [0], lambda day: True),
    "0 0 * * mon": ([0], [0], lambda day: day.weekday() == 0),
    "0 0 1 * mon": ([0], [0], lambda day: day.day == 1 or day.weekday() == 0),
    "15 1,2,3 * * *": ([15], [1, 2, 3], lambda day: True),
    "20,40 2 * * *": ([20, 40], [2], lambda day: True),
    "45 2 * 3,4,9-11 sun": ([45], [2], lambda day: day.month in {3, 4, 9, 10, 11} and day.weekday() == 6),
    "10 0,23 * * *": ([10], [0, 23], lambda day: True),
    "59 23 * * sat": ([59], [23], lambda day: day.weekday() == 5),
    "0 * * * *": ([0], ALL_DAY, lambda day: True),
    "*/20 * * * sun,mon": ([0, 20, 40], ALL_DAY, lambda day: day.weekday() in {6, 0}),
}


def moments_of(wall, zone):
    """When a clock shows a time; if it never does, when it would have if it had not been put forward."""
    moments = [wall.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1)]
    return sorted({m for m in moments if m.astimezone(zone).replace(tzinfo=None) == wall} or {moments[0]})


def offset_at(day, zone):
    return datetime.combine(day, time(), zone).utcoffset()


def spans_to_look_at(zone, soak_minutes):
    """Days of two years: three on each side of each change of the clocks, and a month without one; or all."""
    year = date(2026, 1, 1)
    if soak_minutes:
        return [(year, year + timedelta(days=729))]
    days = [year + timedelta(days=number) for number in range(729)]
    changes = [day for day in days if offset_at(day, zone) != offset_at(day + timedelta(days=1), zone)]
    around = [(day - timedelta(days=3), day + timedelta(days=3)) for day in changes]
    return [*around, (date(2026, 6, 1), date(2026, 6, 30))]


@pytest.mark.parametrize(
    ("expression", "repeats"),
    [
        *((expression, False) for expression in MEANT),
        *((expression, True) for expression in ("30 0 * * *", "15 1,2,3 * * *", "20,40 2 * * *")),
    ],
)
@pytest.mark.parametrize("name", CHANGING)
def test_cron_fires_at_all_times_that_the_wall_clock_shows_when_clocks_change_and_when_not(
    name, expression, repeats, soak_minutes
):
    zone = ZoneInfo(name)
    minutes, hours, is_meant = MEANT[expression]
    trigger = as_stored(triggers.crontab(expression, zone, repeats=repeats))
    spans = spans_to_look_at(zone, soak_minutes)
    assert soak_minutes or len(spans) == 5

    for first, last in spans:
        # From the firing before to the one after: a month's goes over a change from far away.
        while not is_meant(first):
            first -= timedelta(days=1)
        while not is_meant(last):
            last += timedelta(days=1)
        days = [first + timedelta(days=number) for number in range((last - first).days + 1)]
        expected = sorted(
            {
                moment
                for day in filter(is_meant, days)
                for hour in hours
                for minute in minutes
                for moment in moments_of(datetime.combine(day, time(hour, minute)), zone)[
                    : 2 if repeats or hours is ALL_DAY else 1
                ]
            }
        )
        times, _ = one_by_one(trigger, triggers.first(trigger, expected[0]), expected[-1])

        assert [moment.astimezone(UTC) for moment in times] == expected


@pytest.mark.parametrize(
    ("expression", "zone", "day", "expected"),
    [
        ("@daily", "Europe/Berlin", (2026, 3, 29), ["Sun 2026-03-29 00:00", "Mon 2026-03-30 00:00"]),
        ("@daily", "America/Santiago", (2026, 9, 5), ["Sat 2026-09-05 00:00", "Sun 2026-09-06 01:00"]),
        ("0 0 * * mon", "Europe/Berlin", (2026, 3, 29), ["Mon 2026-03-30 00:00", "Mon 2026-04-06 00:00"]),
        ("@monthly", "Europe/London", (2026, 3, 1), ["Sun 2026-03-01 00:00", "Wed 2026-04-01 00:00"]),
        (
            "15 2 * * *",
            "Australia/Lord_Howe",
            (2026, 10, 4),
            ["Sun 2026-10-04 02:45", "Mon 2026-10-05 02:15"],
        ),
        ("@daily", "Pacific/Apia", (2011, 12, 29), ["Thu 2011-12-29 00:00", "Sat 2011-12-31 00:00"]),
    ],
)
def test_clocks_that_go_forward_leave_out_no_firing(expression, zone, day, expected):
    trigger = triggers.crontab(expression, zone)

    assert wall_times(trigger, datetime(*day, tzinfo=ZoneInfo(zone)), 2) == expected


def test_a_skipped_time_is_one_firing_with_what_is_due_then_anyway():
    trigger = triggers.crontab("30 2,3 * * *", BERLIN)

    assert wall_times(trigger, datetime(2026, 3, 29, tzinfo=BERLIN), 3) == [
        "Sun 2026-03-29 03:30",
        "Mon 2026-03-30 02:30",
        "Mon 2026-03-30 03:30",
    ]


def test_apschedulers_cron_trigger_leaves_nothing_out_once_it_was_stored():
    trigger = triggers.check(CronTrigger(hour=0, second="30", timezone=BERLIN))

    assert wall_times(trigger, datetime(2026, 3, 29, 12, tzinfo=BERLIN), 2) == [
        "Mon 2026-03-30 00:00",
        "Mon 2026-03-30 00:01",
    ]
    assert triggers.dumps(trigger) == triggers.dumps(CronTrigger(hour=0, second="30", timezone=BERLIN))


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"second": "*/7"},
        {
            "year": "2026-2030",
            "month": "jan-mar,dec",
            "day": "1st mon,last",
            "hour": "5-23/3",
            "minute": "5/10",
        },
        {"week": "*/2", "day_of_week": "mon-wed,sun", "hour": 3},
        {"week": 53},
        {"day": "5th fri", "minute": 59, "second": 59},
        {"day": 31, "month": "feb-apr"},
        {"day": 29, "month": 2},
        {"year": 2027},
        {"year": 2025},
        {"hour": 3, "start_date": NOW + timedelta(days=40), "end_date": NOW + timedelta(days=44)},
    ],
    ids=str,
)
def test_in_utc_cron_fires_when_apschedulers_does(fields):
    theirs = cron(**fields)

    assert fire_times(as_stored(theirs)) == fire_times(theirs)


def test_cron_ends_with_the_calendar():
    trigger = triggers.crontab("0 0 * * *", BERLIN)

    assert triggers.first(trigger, datetime(9999, 12, 31, 12, tzinfo=UTC)) is None


# Catching up


def one_by_one(trigger, moment, now):
    times = []
    while moment is not None and moment.astimezone(UTC) <= now.astimezone(UTC):
        times.append(moment)
        moment = trigger.get_next_fire_time(moment, now)
    return times, moment


@pytest.mark.parametrize(("zone", "start"), CHANGES, ids=str)
@pytest.mark.parametrize(
    "make",
    [
        lambda zone: triggers.interval(1800),
        lambda zone: triggers.interval(0.7 * 3600),
        lambda zone: IntervalTrigger(hours=1, timezone=zone),
        lambda zone: IntervalTrigger(
            hours=1, start_date=CHANGES[0][1], end_date=datetime(2026, 10, 25, 3, tzinfo=UTC), timezone=zone
        ),
        lambda zone: triggers.crontab("*/20 * * * *", zone),
        lambda zone: triggers.crontab("30 1 * * *", zone),
        lambda zone: triggers.crontab("30 2 * * *", zone),
        lambda zone: triggers.crontab("0 12 28-31 * fri", zone),
        lambda zone: triggers.crontab("15 0 29 2 *", zone),
        lambda zone: CalendarIntervalTrigger(days=1, hour=2, minute=30, timezone=zone),
        lambda zone: triggers.check(OrTrigger([CronTrigger(hour=2, timezone=zone), CronTrigger(minute=7)])),
    ],
    ids=[
        "half-hourly",
        "42 min",
        "hourly",
        "ended",
        "20 min",
        "1:30",
        "2:30",
        "fridays",
        "leap day",
        "days",
        "or",
    ],
)
def test_the_last_of_many_missed_firings_is_found_as_if_one_went_through_all(make, start, zone):
    trigger = make(zone)
    first = triggers.first(trigger, start)
    if first is None:
        assert start > datetime(2026, 10, 25, 3, tzinfo=UTC)
        return
    first = triggers.local(trigger, first.astimezone(UTC))
    following = trigger.get_next_fire_time(first, first)
    is_rare = following is None or following.astimezone(UTC) - first.astimezone(UTC) > timedelta(hours=3)
    for hours in (0, 0.5, 1, 13, 26, 50, 24 * (31 if is_rare else 8)):
        now = first.astimezone(UTC) + timedelta(hours=hours)
        times, following = one_by_one(trigger, first, now)

        assert triggers.due(trigger, first, now, coalesce=False, limit=5000) == (times, following)
        assert triggers.due(trigger, first, now, coalesce=True) == (times[-1:], following)


def test_a_year_of_missed_minutes_is_caught_up_with_in_few_steps():
    calls = []

    class Counting(CronTrigger):
        def get_next_fire_time(self, previous_fire_time, now):
            calls.append(previous_fire_time)
            return super().get_next_fire_time(previous_fire_time, now)

    trigger = Counting(minute="*", timezone=BERLIN)

    (last,), following = triggers.due(
        trigger, NOW.astimezone(BERLIN), NOW + timedelta(days=365), coalesce=True
    )

    assert (last, following) == (NOW + timedelta(days=365), NOW + timedelta(days=365, minutes=1))
    assert len(calls) < 10


# Combining


def as_stored(trigger):
    return storage.decode(storage.encode(trigger))


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    ("trigger", "expected"),
    [
        (
            AndTrigger([cron(day="1-7", hour=3), cron(day_of_week="mon", hour=3)]),
            ["2026-12-07T03:00", "2027-01-04T03:00", "2027-02-01T03:00", "2027-03-01T03:00"],
        ),
        (
            AndTrigger(
                [
                    CalendarIntervalTrigger(weeks=2, hour=3, start_date=date(2026, 11, 23), timezone=UTC),
                    cron(day="1-7", hour=3),
                ]
            ),
            ["2026-12-07T03:00", "2027-01-04T03:00", "2027-02-01T03:00", "2027-03-01T03:00"],
        ),
        (
            OrTrigger([IntervalTrigger(seconds=7200, start_date=START, timezone=UTC), cron(hour=3)]),
            ["2026-11-25T00:00", "2026-11-25T02:00", "2026-11-25T03:00", "2026-11-25T04:00"],
        ),
        (
            OrTrigger(
                [
                    IntervalTrigger(seconds=7200, start_date=START, timezone=UTC),
                    IntervalTrigger(seconds=10800, start_date=START, timezone=UTC),
                ]
            ),
            ["2026-11-25T00:00", "2026-11-25T02:00", "2026-11-25T03:00", "2026-11-25T04:00"],
        ),
        (
            OrTrigger([triggers.at(START), triggers.at(START + timedelta(days=9)), cron(day=1, hour=0)]),
            ["2026-11-25T00:00", "2026-12-01T00:00", "2026-12-04T00:00", "2027-01-01T00:00"],
        ),
    ],
)
def test_combined_triggers_fire_when_their_parts_say_so(trigger, expected):
    combined, previous, times = as_stored(trigger), None, []
    for _ in expected:
        previous = combined.get_next_fire_time(previous, START)
        times.append(previous.astimezone(UTC).isoformat()[:16])

    assert times == expected


def test_a_combined_trigger_ends_with_its_last_part():
    combined = as_stored(OrTrigger([triggers.at(START), triggers.at(START + timedelta(days=9))]))

    assert combined.get_next_fire_time(START, START) == START + timedelta(days=9)
    assert combined.get_next_fire_time(START + timedelta(days=9), START) is None


def test_a_calendar_interval_begins_from_now_on():
    daily = CalendarIntervalTrigger(days=1, hour=3, start_date=date(2026, 11, 1), timezone=UTC)
    now = datetime(2026, 11, 24, 10, tzinfo=UTC)

    assert triggers.first(daily, now) == datetime(2026, 11, 25, 3, tzinfo=UTC)
    assert triggers.first(triggers.at(now - timedelta(days=1)), now) == now - timedelta(days=1)


# Checking


@pytest.mark.parametrize(
    "trigger",
    [
        triggers.at(datetime(2020, 1, 1, tzinfo=UTC)),
        triggers.interval(1),
        triggers.crontab("0 3 1 * mon"),
        CalendarIntervalTrigger(months=1, timezone=UTC),
        AndTrigger([cron(hour=3)]),
    ],
)
def test_a_trigger_that_fires_passes(trigger):
    triggers.check(trigger)


FAR = datetime.max.replace(tzinfo=timezone(timedelta(hours=-5)))


@pytest.mark.timeout(10)
@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: cron(hour=1, jitter=-5), "0 or more seconds"),
        (lambda: IntervalTrigger(seconds=5, jitter=-10, timezone=UTC), "0 or more seconds"),
        (lambda: OrTrigger([cron(hour=1)], jitter=-1), "0 or more seconds"),
        (lambda: cron(hour=1, jitter=math.nan), "0 or more seconds"),
        (lambda: cron(hour=1, jitter=1e18), "0 or more seconds"),
        (lambda: cron(hour=1, jitter="5"), "a number of seconds"),
        (lambda: DateTrigger(FAR), "out of the calendar"),
        (lambda: cron(hour=1, end_date=FAR), "out of the calendar"),
        (lambda: cron(hour=1, timezone=ZoneInfo("localtime")), "another one on each host"),
        (lambda: AndTrigger([cron(hour=1, timezone=ZoneInfo("localtime"))]), "another one on each host"),
    ],
    ids=["cron", "interval", "or", "nan", "huge", "text", "date", "end", "zone", "part"],
)
def test_values_out_of_range_are_refused_with_their_rule(make, words):
    with pytest.raises(ValueError, match=words):
        triggers.check(make())


def test_a_moment_out_of_the_calendar_is_refused():
    with pytest.raises(ValueError, match="out of the calendar"):
        triggers.at(FAR)


def test_a_zone_of_the_host_is_refused_by_name():
    with pytest.raises(ValueError, match="another one on each host"):
        triggers.crontab("0 3 * * *", "localtime")


@pytest.mark.parametrize("arguments", [(5,), (None,), ("@daily", 5)])
def test_an_expression_of_another_type_is_a_type_error_that_says_what_is_meant(arguments):
    with pytest.raises(TypeError, match=r"Europe/Berlin|a text"):
        triggers.crontab(*arguments)


def test_a_length_beyond_all_numbers_is_a_value_error():
    with pytest.raises(ValueError, match="longer than 100 years"):
        triggers.length_of(weeks=1e12)
    with pytest.raises(ValueError, match="longer than 100 years"):
        triggers.interval(10**400)


def test_a_stored_jitter_below_zero_is_not_read():
    raw = triggers.dumps(cron(hour=1, jitter=5)).replace(b'"jitter":5', b'"jitter":-5')

    with pytest.raises(UnknownTrigger, match="jitter"):
        triggers.loads(raw)


@pytest.mark.parametrize(
    "trigger",
    [
        cron(week=53, month=6),
        cron(month=2, day=30),
        cron(month=2, day=30, timezone=BERLIN),
        AndTrigger([cron(hour=3), cron(hour=4)]),
    ],
    ids=["week", "day", "zone", "and"],
)
def test_a_trigger_that_never_fires_is_refused_in_few_steps(trigger, monkeypatch):
    steps = itertools.count()
    carry = wall_clock._carry
    monkeypatch.setattr(wall_clock, "_carry", lambda *args: (next(steps), carry(*args))[1])

    with pytest.raises(ValueError, match="never fires"):
        triggers.check(trigger)

    assert next(steps) < 20_000


@pytest.mark.parametrize("weekday", ["mon", "tue", "wed", "thu", "fri", "sat", "sun"])
def test_the_rarest_day_there_is_is_found(weekday):
    trigger = as_stored(cron(month=2, day=29, day_of_week=weekday))

    for year in (2026, 2072, 2097, 2104):
        assert triggers.first(trigger, date_time(year, 1, 1)) is not None


@pytest.mark.timeout(10)
@pytest.mark.parametrize(
    ("trigger", "words"),
    [
        (OrTrigger([cron(year=2020), AndTrigger([cron(minute=0), cron(minute=1)])]), "never fires"),
        (AndTrigger([triggers.at(NOW), triggers.at(NOW + timedelta(days=9))]), "never fires"),
        (OrTrigger([]), "has no triggers"),
        (IntervalTrigger(seconds=-5, timezone=UTC), "too short"),
        (cron(year=2020), "this trigger never fires: cron"),
        (cron(day=30, month=2), "never fires"),
        (
            cron(hour=3, end_date=datetime(2020, 1, 1, tzinfo=UTC)),
            "never fires: at 03:00 every day, until 2020-01-01",
        ),
        (Odd(seconds=5, timezone=UTC), "cannot be stored"),
    ],
)
def test_a_trigger_that_would_never_fire_is_refused(trigger, words):
    with pytest.raises(ValueError, match=words):
        triggers.check(trigger)


@pytest.mark.parametrize(
    ("trigger", "once"),
    [(triggers.at(NOW), True), (triggers.interval(5), False), (triggers.crontab("@daily"), False)],
)
def test_only_a_moment_is_once(trigger, once):
    assert triggers.is_once(trigger) is once


def test_an_interval_declared_again_is_the_same_trigger(time_machine):
    time_machine.move_to(NOW)
    old = triggers.dumps(triggers.interval(60))
    time_machine.move_to(NOW + timedelta(seconds=7))

    assert triggers.same(memoryview(old), triggers.dumps(triggers.interval(60)))
    assert not triggers.same(old, triggers.dumps(triggers.interval(61)))


@pytest.mark.parametrize(
    ("old", "new", "same"),
    [
        (triggers.crontab("0 3 * * *"), triggers.crontab("00 3 * * *"), True),
        (triggers.crontab("0 3 * * *"), triggers.crontab("0 3 * * *", BERLIN), False),
        (triggers.at(NOW), triggers.at(NOW), True),
        (triggers.at(NOW), triggers.at(NOW + timedelta(seconds=1)), False),
        (cron(start_date=NOW), cron(), False),
    ],
)
def test_two_triggers_are_the_same_when_they_fire_alike(old, new, same):
    assert triggers.same(triggers.dumps(old), triggers.dumps(new)) is same


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (
            CalendarIntervalTrigger(months=1, start_date=date(2026, 1, 1), timezone=UTC),
            CalendarIntervalTrigger(months=1, start_date=date(2026, 1, 15), timezone=UTC),
        ),
        (
            IntervalTrigger(hours=6, start_date=datetime(2026, 1, 1, 3, tzinfo=UTC), timezone=UTC),
            IntervalTrigger(hours=6, start_date=datetime(2026, 1, 1, 4, tzinfo=UTC), timezone=UTC),
        ),
    ],
)
@pytest.mark.parametrize(
    "wrap",
    [lambda one: one, lambda one: triggers.check(OrTrigger([one, cron(hour=3)]))],
    ids=["alone", "in another"],
)
def test_another_start_makes_another_trigger(wrap, old, new):
    assert triggers.same(triggers.dumps(wrap(old)), triggers.dumps(wrap(old)))
    assert not triggers.same(triggers.dumps(wrap(old)), triggers.dumps(wrap(new)))


def test_a_start_that_is_left_open_is_no_other_start():
    monthly = CalendarIntervalTrigger(months=1, start_date=date(2026, 1, 1), timezone=UTC)
    six_hours = IntervalTrigger(hours=6, start_date=datetime(2026, 1, 1, 3, tzinfo=UTC), timezone=UTC)

    for said, open_ in [
        (monthly, CalendarIntervalTrigger(months=1, timezone=UTC)),
        (six_hours, IntervalTrigger(hours=6, timezone=UTC)),
        (six_hours, triggers.interval(6 * 3600)),
    ]:
        assert triggers.same(triggers.dumps(said), triggers.dumps(open_))
        assert not triggers.same(triggers.dumps(said), triggers.dumps(triggers.interval(60)))


def test_an_interval_of_a_frozen_whole_second_has_no_chosen_start(time_machine):
    time_machine.move_to(NOW, tick=False)
    raw = triggers.dumps(triggers.interval(60))

    assert triggers.rule(triggers.loads(raw))["start"] is None


@pytest.mark.parametrize(
    ("trigger", "next_run", "strays"),
    [
        (triggers.crontab("0 3 * * *"), datetime(2030, 1, 1, 3, tzinfo=UTC), True),
        (triggers.crontab("0 5 * * *"), datetime(2026, 11, 24, 5, tzinfo=UTC), False),
        (IntervalTrigger(hours=1, start_date=NOW, timezone=UTC), NOW + timedelta(minutes=59), False),
        (IntervalTrigger(hours=1, start_date=NOW, timezone=UTC), NOW + timedelta(hours=3), True),
        (cron(hour=5, jitter=1800), datetime(2026, 11, 24, 5, 29, tzinfo=UTC), False),
        (triggers.at(NOW + timedelta(days=9)), NOW + timedelta(days=99), False),
        (triggers.crontab("0 3 * * *"), NOW - timedelta(days=1), False),
    ],
)
def test_a_next_run_strays_that_is_later_than_the_trigger_gives_it(trigger, next_run, strays):
    assert triggers.strays(trigger, next_run, NOW) is strays


def test_a_next_run_moves_with_the_rules_of_its_zone():
    nine = as_stored(triggers.crontab("0 9 * * *", BERLIN))
    right = datetime(2026, 11, 25, 8, tzinfo=UTC)

    assert triggers.moved_to(nine, right - timedelta(hours=1)) == right, "it would fire again the same day"
    assert triggers.moved_to(nine, right) is None
    assert triggers.moved_to(nine, right + timedelta(hours=1)) is None, "it is late, and fires"
    assert triggers.moved_to(triggers.crontab("0 9 * * *"), right) is None


def test_a_trigger_that_cannot_be_read_is_not_the_same():
    assert not triggers.same(b"\x80", triggers.dumps(triggers.interval(5)))


def test_a_calendar_trigger_counts_from_the_date_in_its_own_zone():
    trigger = CalendarIntervalTrigger(days=1, minute=30, start_date=date(2026, 1, 2), timezone=BERLIN)
    stored = fire_times(trigger, count=1)[0].astimezone(UTC)

    assert trigger.get_next_fire_time(stored, NOW) == stored, "APScheduler would fire it twice"
    assert trigger.get_next_fire_time(triggers.local(trigger, stored), NOW) == stored + timedelta(days=1)


def test_a_trigger_without_a_zone_leaves_a_moment_as_it_is():
    assert triggers.local(triggers.at(NOW), NOW) is NOW


# Words


@pytest.mark.parametrize(
    ("trigger", "words"),
    [
        (triggers.at(datetime(2026, 11, 24, 3, 30, tzinfo=UTC)), "once at 2026-11-24 03:30 UTC"),
        (triggers.at(datetime(2026, 11, 24, 3, 30, 7, tzinfo=BERLIN)), "once at 2026-11-24 03:30:07 (Europe/Berlin)"),
        (triggers.at(NOW.astimezone(timezone(timedelta(hours=-2)))), "once at 2026-11-24 02:00 (-02:00)"),
        (triggers.at(NOW.astimezone(Nameless())), "once at 2026-11-24 05:00 (+01:00)"),
        (triggers.interval(1800), "every 30 minutes"),
        (triggers.interval(86400), "every day"),
        (triggers.interval(5400), "every 1 hour 30 minutes"),
        (triggers.interval(1), "every second"),
        (triggers.interval(0.5), "every 0.5 seconds"),
        (triggers.interval(90061.25), "every 1 day 1 hour 1 minute 1.25 seconds"),
        (triggers.interval(14 * 86400), "every 2 weeks"),
        (triggers.interval(10 * 86400), "every 10 days"),
        (IntervalTrigger(hours=1, timezone=BERLIN, end_date=NOW, jitter=5),
         "every hour, until 2026-11-24 04:00 UTC, up to 5 seconds later"),
        (triggers.crontab("30 3 * * 1-5"), "at 03:30 on weekdays"),
        (triggers.crontab("30 3 * * 1-5", BERLIN), "at 03:30 on weekdays (Europe/Berlin)"),
        (triggers.crontab("30 3 * * *", "+02:00"), "at 03:30 every day (+02:00)"),
        (triggers.crontab("0 9,17 * * sat,sun"), "at 09:00 and 17:00 on Saturday and Sunday"),
        (triggers.crontab("*/5 * * * *"), "every 5 minutes"),
        (triggers.crontab("* * * * *"), "every minute"),
        (triggers.crontab("*/5 * * * mon"), "every 5 minutes on Monday"),
        (triggers.crontab("*/30 * * * *"), "every 30 minutes"),
        (triggers.crontab("*/7 * * * *"), "cron */7 * * * *"),
        (triggers.crontab("15 * * * *"), "at minute 15 of every hour"),
        (triggers.crontab("15 * * * sun"), "at minute 15 of every hour on Sunday"),
        (triggers.crontab("@hourly"), "every hour"),
        (triggers.crontab("0 */2 * * *"), "every 2 hours"),
        (triggers.crontab("10 */2 * * *"), "every 2 hours at minute 10"),
        (triggers.crontab("@monthly"), "at 00:00 on day 1 of the month"),
        (triggers.crontab("@yearly"), "at 00:00 on day 1 of January"),
        (triggers.crontab("0 0 1,2,3,15 * *"), "at 00:00 on days 1 to 3 and 15 of the month"),
        (triggers.crontab("0 0 * 6-8 *"), "at 00:00 in June to August"),
        (triggers.crontab("0 0 * 6 mon"), "at 00:00 on Monday in June"),
        (triggers.crontab("0 3 1 * mon"), "at 03:00 on day 1 of the month or at 03:00 on Monday"),
        (triggers.crontab("15,45 9-17 * * 1-5"), "cron 15,45 9-17 * * mon-fri"),
        (triggers.crontab("30 3 * * sat,sun"), "at 03:30 on Saturday and Sunday"),
        (triggers.crontab("30 3 * * 1-4"), "at 03:30 on Monday to Thursday"),
        (triggers.crontab("*/15 9-17 * * 1-5"), "every 15 minutes from 09:00 to 17:45 on weekdays"),
        (triggers.crontab("5 8-18 * * *"), "every hour from 08:05 to 18:05 every day"),
        (triggers.crontab("5 1,2,8,9,10 * * *"), "cron 5 1,2,8-10 * * *"),
        (cron(day="last", hour=3), "at 03:00 on the last day of the month"),
        (triggers.crontab("0 6 L * *"), "at 06:00 on the last day of the month"),
        (triggers.crontab("0 6 1,L 6 *"), "at 06:00 on day 1 of the month or on the last day of the month in June"),
        (triggers.crontab("0 6 LW * *"), "at 06:00 on the last day from Monday to Friday of the month"),
        (triggers.crontab("0 6 15W * *"),
         "at 06:00 on the day from Monday to Friday nearest to day 15 of the month"),
        (triggers.crontab("0 6 * * fri#2"), "at 06:00 on the second Friday of the month"),
        (triggers.crontab("0 6 * * 0L"), "at 06:00 on the last Sunday of the month"),
        (triggers.crontab("0 6 L * mon"), "at 06:00 on the last day of the month or at 06:00 on Monday"),
        (cron(day="last", day_of_week="fri", hour=6),
         "at 06:00 on the last day of the month, but only on Friday"),
        (cron(day=13, day_of_week="fri"), "at 00:00 on day 13 of the month, but only on Friday"),
        (cron(day="1-7", day_of_week="mon", month=6, hour=6),
         "at 06:00 on days 1 to 7 of June, but only on Monday"),
        (cron(day=13, day_of_week="fri", minute="7,9", hour="1,2"),
         "cron [day='13', day_of_week='fri', hour='1,2', minute='7,9']"),
        (IntervalTrigger(hours=6, start_date=datetime(2026, 1, 1, 3, tzinfo=UTC), timezone=UTC),
         "every 6 hours, from 2026-01-01 03:00 UTC"),
        (cron(hour=3, start_date=datetime(2126, 1, 1, tzinfo=UTC)), "at 03:00 every day, from 2126-01-01 00:00 UTC"),
        (cron(hour=3, start_date=datetime(2026, 1, 1, tzinfo=UTC)), "at 03:00 every day"),
        (CalendarIntervalTrigger(months=1, start_date=date(2126, 1, 5), timezone=UTC),
         "every month on day 5 at 00:00, from 2126-01-05"),
        (cron(hour=3, second=5), "cron [hour='3', second='5']"),
        (cron(week=1, hour=3), "cron [week='1', hour='3']"),
        (CalendarIntervalTrigger(months=2, start_date=date(2026, 1, 1), hour=3, minute=30, timezone=UTC),
         "every 2 months on day 1 at 03:30, from 2026-01-01"),
        (CalendarIntervalTrigger(years=1, start_date=date(2026, 5, 9), second=7, timezone=BERLIN),
         "every year on 9 May at 00:00:07 (Europe/Berlin)"),
        (CalendarIntervalTrigger(weeks=2, start_date=date(2026, 11, 24), hour=3, timezone=UTC),
         "every 2 weeks on Tuesday at 03:00, from 2026-11-24"),
        (CalendarIntervalTrigger(days=3, start_date=NOW.date(), end_date=date(2027, 1, 1), timezone=UTC),
         "every 3 days at 00:00, from 2026-11-24, until 2027-01-01"),
        (AndTrigger([cron(hour=3), triggers.interval(60)]), "at 03:00 every day and every minute"),
    ],
)  # fmt: skip
def test_a_trigger_is_described_in_words(trigger, words):
    assert triggers.describe(trigger) == words


@pytest.mark.parametrize(
    ("trigger", "words"),
    [
        (triggers.crontab("30 3 * * *"), "at 03:30 every day (UTC)"),
        (triggers.crontab("30 3 * * *", BERLIN), "at 03:30 every day (Europe/Berlin)"),
        (triggers.at(datetime(2026, 11, 24, 3, 30, tzinfo=UTC)), "once at 2026-11-24 04:30 CET"),
        (triggers.interval(60), "every minute"),
    ],
)
def test_a_reader_in_another_zone_is_told_that_utc_is_meant(trigger, words):
    with override("Europe/Berlin"):
        assert triggers.describe(trigger) == words


@pytest.mark.parametrize(("zone", "hour"), [("UTC", 3), ("Europe/Berlin", 2)])
def test_one_setting_says_whose_clock_expressions_without_a_zone_speak_of(settings, zone, hour):
    settings.DJANGO_JOBS = {"CRON_TIME_ZONE": zone}

    first = triggers.first(triggers.crontab("0 3 * * *"), NOW)

    assert first.astimezone(UTC).hour == hour
    assert triggers.first(triggers.crontab("0 3 * * *", "UTC"), NOW).hour == 3


def test_a_trigger_of_another_class_describes_itself():
    class Never(BaseTrigger):
        def get_next_fire_time(self, previous_fire_time, now):
            return None

        def __str__(self):
            return "never"

    assert triggers.describe(Never()) == "never"


def test_a_trigger_is_described_in_the_language_of_the_reader():
    with translation.override("de"):
        words = triggers.describe(cron(hour=3, month="1-3"))

    assert "Januar" in words


def test_half_a_second_is_described_in_the_plural():
    assert triggers.describe(triggers.interval(0.5)) == "every 0.5 seconds"
