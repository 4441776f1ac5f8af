import random
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from django_jobs import triggers

ZONES = [
    "America/New_York",
    "America/Santiago",  # at midnight
    "Africa/Casablanca",  # twice a year, around Ramadan
    "Asia/Beirut",  # at midnight
    "Atlantic/Azores",
    "Australia/Lord_Howe",  # by half an hour
    "Australia/Sydney",
    "Europe/Berlin",
    "Europe/London",
    "Pacific/Chatham",
]
DAY, MINUTE = timedelta(days=1), timedelta(minutes=1)
EVERY_HOUR = range(24)


def changes_of(zone):
    """Return the days of some years on which the offset of a zone changes, in UTC."""
    days = [datetime(2024, 1, 1, tzinfo=UTC) + DAY * number for number in range(365 * 4)]
    offsets = [day.astimezone(zone).utcoffset() for day in days]
    return [day for day, one, other in zip(days, offsets, offsets[1:], strict=False) if one != other]


class Expression:
    """A crontab expression at random, and what it means to somebody who tries each minute."""

    def __init__(self, chance):
        step = chance.choice([7, 15, 20, 30])
        minutes = sorted(chance.sample(range(60), chance.randint(1, 3)))
        self.minutes, minute = chance.choice(
            [([0], "0"), (minutes, ",".join(map(str, minutes))), (range(0, 60, step), f"*/{step}")]
        )
        hours = sorted(
            {chance.choice([0, 1, 2, 3, chance.randrange(24)]) for _ in range(chance.randint(1, 4))}
        )
        self.hours, hour = chance.choice(
            [
                (EVERY_HOUR, "*"),
                (hours, ",".join(map(str, hours))),
                (range(0, 24, 2), "*/2"),
                (range(4), "0-3"),
            ]
        )
        days = sorted(chance.sample(range(1, 32), chance.randint(5, 20)))
        weekdays = sorted(chance.sample(range(7), chance.randint(1, 6)))  # 0 is Sunday
        self.days = chance.choice([None, None, days])
        self.weekdays = chance.choice([None, None, weekdays])
        day, weekday = (",".join(map(str, of)) if of else "*" for of in (self.days, self.weekdays))
        self.text = f"{minute} {hour} {day} * {weekday}"

    def means(self, wall):
        by_day = self.days is None or wall.day in self.days
        by_weekday = self.weekdays is None or wall.isoweekday() % 7 in self.weekdays
        either = self.days is not None and self.weekdays is not None
        is_day = by_day or by_weekday if either else by_day and by_weekday
        return is_day and wall.hour in self.hours and wall.minute in self.minutes


def by_brute_force(expression, zone, begin, end, *, repeats):
    """Return the moments at which the clock on the wall shows what is meant, or would have shown it."""
    found = set()
    wall = (begin - DAY).replace(tzinfo=None)
    while wall < (end + DAY).replace(tzinfo=None):
        if expression.means(wall):
            both = [wall.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1)]
            seen = sorted(
                {one for one in both if one.astimezone(zone).replace(tzinfo=None) == wall} or {both[0]}
            )
            found.update(seen if repeats or expression.hours is EVERY_HOUR else seen[:1])
        wall += MINUTE
    return sorted(moment for moment in found if begin <= moment <= end)


def test_cron_fires_when_trying_each_minute_says_so_around_changes_of_the_clocks(soak_minutes, request, say):
    seed = request.config.getoption("--seed") or 13
    chance = random.Random(seed)
    changes = [(zone, day) for zone in map(ZoneInfo, ZONES) for day in changes_of(zone)]
    cases = 2400 if soak_minutes else 60

    for _ in range(cases):
        (zone, day), expression, repeats = chance.choice(changes), Expression(chance), chance.random() < 0.25
        begin, end = day - DAY + MINUTE * chance.randrange(1440), day + 2 * DAY
        expected = by_brute_force(expression, zone, begin, end, repeats=repeats)

        trigger = triggers.loads(triggers.dumps(triggers.crontab(expression.text, zone, repeats=repeats)))
        times, moment = [], triggers.first(trigger, begin)
        while moment is not None and moment.astimezone(UTC) <= end:
            times.append(moment.astimezone(UTC))
            moment = trigger.get_next_fire_time(moment, moment)

        assert times == expected, f"{expression.text} {zone} {begin} {repeats=} {seed=}"
    if soak_minutes:
        say(f"cron: {cases:,} cases around changes of the clocks as brute force has them")
