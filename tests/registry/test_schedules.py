import sys
from datetime import UTC, date, datetime, timedelta

import pytest
from apscheduler.triggers.interval import IntervalTrigger

from django_jobs import checks, cron, recurring, triggers
from django_jobs.registry import functions, schedules
from tests.probes import jobs as probes


def greet(name, *, loud=False):
    return f"{name}{'!' if loud else ''}"


def test_schedules_can_be_stacked_and_leave_the_function_as_it_is():
    decorated = recurring(hours=1, minutes=30, args=["Ada"], job_id="often")(
        cron("0 3 * * mon", timezone="Europe/Berlin", kwargs={"name": "Bob"}, priority=4)(greet)
    )

    assert decorated is greet
    often, weekly = sorted(schedules.declarations(), key=lambda one: one.job_id)
    assert (often.job_id, often.args, triggers.describe(often.trigger)) == (
        "often",
        ("Ada",),
        "every 1 hour 30 minutes",
    )
    assert (weekly.job_id, weekly.kwargs, weekly.options.priority) == (
        "tests.registry.test_schedules:greet",
        {"name": "Bob"},
        4,
    )
    assert triggers.describe(weekly.trigger) == "at 03:00 on Monday (Europe/Berlin)"


def test_a_schedule_makes_its_function_a_job():
    def scheduled():
        pass

    scheduled.__qualname__ = "scheduled"
    recurring(days=1)(scheduled)

    assert functions.is_allowed("tests.registry.test_schedules:scheduled")
    assert callable(scheduled.enqueue)


def test_a_module_that_is_loaded_anew_replaces_its_declarations():
    def first():
        pass

    def second():
        pass

    first.__qualname__ = second.__qualname__ = "loaded"
    recurring(days=1, job_id="a")(recurring(days=1, job_id="b")(first))
    recurring(days=2, job_id="b")(second)

    assert [(one.job_id, one.func) for one in schedules.declarations()] == [("b", second)]


@pytest.mark.parametrize(
    ("declare", "error", "message"),
    [
        (lambda: recurring(greet), TypeError, r"as in @recurring\(minutes=30\)"),
        (lambda: recurring()(greet), ValueError, r"as in @recurring\(minutes=30\)"),
        (lambda: recurring(minutes=-1)(greet), ValueError, "interval"),
        (lambda: recurring(minutes="30")(greet), TypeError, "minutes"),
        (lambda: cron(greet), TypeError, r'as in @cron\("30 3'),
        (lambda: cron("30 24 * * *")(greet), ValueError, "hour"),
        (lambda: cron("0 3 * * *", timezone="Mars/Base")(greet), ValueError, "Mars/Base"),
        (lambda: recurring(minutes=1)(greet), TypeError, "missing a required argument: 'name'"),
        (lambda: recurring(minutes=1, args="Ada")(greet), TypeError, "list or tuple"),
        (lambda: recurring(minutes=1, kwargs=["Ada"])(greet), TypeError, "dict"),
        (lambda: recurring(minutes=1, args=[1], job_id="")(greet), ValueError, "1 to 255"),
        (lambda: recurring(minutes=1, args=[1], colour=1)(greet), TypeError, "no option 'colour'"),
        (lambda: recurring(minutes=1, args=[1], priority=101)(greet), ValueError, "-100 to 100"),
        (lambda: recurring(minutes=1, args=[1], on_conflict="skip")(greet), TypeError, "no meaning"),
        (lambda: recurring(minutes=1, timezone="Europe/Berlin"), TypeError, "belongs to the anchor"),
        (lambda: recurring(minutes=7, anchor="03:00"), ValueError, "divides an hour or a day"),
        (lambda: recurring(minutes=1, times=5), ValueError, "pass start="),
        (lambda: recurring(triggers.interval(60), hours=1), TypeError, "leave out the interval"),
        (lambda: recurring(triggers.interval(60), jitter=1), TypeError, "leave out jitter"),
        (lambda: recurring(triggers.at(timedelta(days=1))), ValueError, "use add_scheduled_job"),
        (lambda: recurring(IntervalTrigger(seconds=-1)), ValueError, "too short"),
        (lambda: cron("@daily", start="tomorrow"), TypeError, "aware datetime or a date"),
        (lambda: recurring(minutes=1)(lambda: None), ValueError, "move it to a module's top level"),
    ],
)
def test_a_wrong_declaration_says_how_to_mend_it(declare, error, message):
    with pytest.raises(error, match=message):
        declare()

    assert schedules.declarations() == []


def test_one_id_for_two_schedules_of_a_function_is_refused():
    with pytest.raises(ValueError, match="give each an id of its own"):
        recurring(minutes=1, args=[1])(cron("@daily", args=[2])(greet))


def test_an_id_that_two_functions_declare_is_an_error_of_check(forgotten):
    recurring(minutes=1, job_id="same")(probes.nothing)
    recurring(minutes=2, job_id="same", args=[1])(greet)

    (message,) = checks.check_declarations()

    assert message.id == "django_jobs.E009"
    assert "tests.probes.jobs:nothing, tests.registry.test_schedules:greet" in message.msg
    assert [one.func for one in schedules.declarations()] == [probes.nothing]


def hidden():
    pass


def test_a_declaration_is_checked_again_when_its_module_is_whole(monkeypatch):
    monkeypatch.setattr(functions, "_resolved", {})
    recurring(minutes=1, job_id="hidden")(hidden)

    # As a decorator that replaces it does, after the function was declared.
    monkeypatch.setattr(sys.modules[__name__], "hidden", lambda: None)
    with pytest.raises(
        ValueError, match=r"'hidden' is declared wrongly.*Put @job, @recurring and @cron above"
    ):
        schedules.check_declarations()


def test_arguments_that_cannot_be_stored_are_refused_at_start():
    recurring(minutes=1, job_id="odd", args=[object()])(greet)

    with pytest.raises(TypeError, match="'odd' is declared wrongly"):
        schedules.check_declarations()


def words_of(decorator):
    decorator(greet)
    (declared,) = schedules.declarations()
    return triggers.describe(declared.trigger)


@pytest.mark.parametrize(
    ("declare", "words"),
    [
        (
            lambda: recurring(hours=6, start=datetime(2026, 1, 1, 3, tzinfo=UTC), jitter=60, args=["Ada"]),
            "every 6 hours, from 2026-01-01 03:00 UTC, up to 60 seconds later",
        ),
        (
            lambda: recurring(hours=6, anchor="03:00", timezone="Europe/Berlin", args=["Ada"]),
            "at 03:00, 09:00, 15:00 and 21:00 every day (Europe/Berlin)",
        ),
        (
            lambda: recurring(days=1, start=date(2126, 1, 1), times=3, args=["Ada"]),
            "every day, from 2126-01-01 00:00 UTC, until 2126-01-03 00:00 UTC",
        ),
        (
            lambda: recurring(triggers.calendar(months=1, start=date(2026, 1, 1), at="06:00"), args=["Ada"]),
            "every month on day 1 at 06:00",
        ),
        (
            lambda: cron("30 2 * * *", timezone="Europe/Berlin", repeats=True, jitter=5, args=["Ada"]),
            "at 02:30 every day (Europe/Berlin), twice where the clocks repeat a time, up to 5 seconds later",
        ),
        (
            lambda: cron("0 9 * * *", end=date(2026, 12, 31), args=["Ada"]),
            "at 09:00 every day, until 2026-12-31 23:59:59 UTC",
        ),
    ],
)
def test_a_declaration_says_when_it_begins_and_ends_and_how_much_later_it_fires(declare, words):
    assert words_of(declare()) == words


def test_an_anchor_without_a_time_zone_goes_by_the_zone_of_cron_expressions(settings):
    settings.DJANGO_JOBS = {"CRON_TIME_ZONE": "Europe/Berlin"}
    recurring(hours=12, anchor="03:00", args=["Ada"])(greet)

    (declared,) = schedules.declarations()

    assert declared.has_default_zone
    assert triggers.describe(declared.trigger) == "at 03:00 and 15:00 every day (Europe/Berlin)"


def test_a_schedule_is_declared_in_the_environments_that_it_names_only(registry, settings):
    cron("0 3 * * *", environments=["production"], job_id="mail", args=["Ada"])(greet)
    recurring(hours=1, job_id="anywhere", args=["Ada"])(greet)

    def declared():
        return [one.job_id for one in schedules.declarations()]

    assert declared() == ["anywhere"]
    settings.DJANGO_JOBS = {"ENVIRONMENT": "staging"}
    assert declared() == ["anywhere"]
    settings.DJANGO_JOBS = {"ENVIRONMENT": "production"}
    assert declared() == ["anywhere", "mail"]


@pytest.mark.parametrize("names", ["production", [], [""], [1]])
def test_wrong_environments_are_refused(registry, names):
    with pytest.raises(TypeError, match="environments must be names"):
        cron("0 3 * * *", environments=names)(greet)
