import re
from datetime import UTC, date, datetime

import pytest
import time_machine

from django_jobs import triggers
from django_jobs.admin.jobs import calendar
from tests.admin.pages import text_of

URL = "/admin/django_jobs/job/calendar/"
NOW = datetime(2026, 12, 1, 12, 30, tzinfo=UTC)


@pytest.fixture(autouse=True)
def noon():
    with time_machine.travel(NOW, tick=False):
        yield


@pytest.fixture
def at(make_job):
    """Return a function that adds a job of a crontab expression, in a zone."""

    def add(name, expression, zone="UTC", **fields):
        trigger = triggers.crontab(expression, zone)
        return make_job(id=name, trigger=trigger, next_run_time=triggers.first(trigger, NOW), **fields)

    return add


def hours(client, **query):
    """Return what the page says: of each hour with firings its jobs with their times."""
    context = client.get(URL, query).context
    return {
        hour["label"]: [(re.sub("<[^>]+>", "", line["job"]), line["times"]) for line in hour["lines"]]
        for hour in context["hours"]
        if hour["lines"]
    }


def test_it_answers_what_fires_between_two_and_four_at_night(root, at):
    at("backup", "15 2 * * *"), at("report", "0,30 3 * * *"), at("late", "0 4 * * *"), at("day", "0 14 * * *")
    at("berlin", "30 3 * * *", "Europe/Berlin")
    at("sundays", "0 3 * * sun")

    found = hours(root, day="2026-12-02", **{"from": "2", "until": "4"})

    assert found == {
        "02:00": [("backup", ["02:15"]), ("berlin", ["02:30"])],
        "03:00": [("report", ["03:00", "03:30"])],
    }


def test_of_today_it_shows_what_is_still_to_come(root, at, list_url):
    at("passed", "0 9 * * *"), at("now", "30 12 * * *"), at("evening", "0 20 * * *")
    at("paused", "0 21 * * *").delete()

    response = root.get(URL)

    assert hours(root) == {"12:00": [("now", ["12:30"])], "20:00": [("evening", ["20:00"])]}
    assert next(hour["label"] for hour in response.context["hours"]) == "12:00"
    assert "What ran on this day" in text_of(response)


def test_hours_that_are_over_are_those_of_tomorrow_unless_today_was_asked_for(root, at):
    at("backup", "15 2 * * *")
    night = {"from": "2", "until": "4"}

    assert hours(root, **night) == {"02:00": [("backup", ["02:15"])]}
    assert root.get(URL, night).context["day"] == date(2026, 12, 2)
    today = root.get(URL, {"day": "2026-12-01", **night})
    assert today.context["day"] == date(2026, 12, 1)
    assert "These hours of today are over." in text_of(today)
    assert '<a href="?day=2026-12-02&amp;from=2&amp;until=4">The same hours' in text_of(today)


def test_it_says_when_nothing_fires_in_the_chosen_hours(root, at):
    at("backup", "15 2 * * *")

    page = text_of(root.get(URL, {"day": "2026-12-02", "from": "5", "until": "6"}))

    assert "Nothing fires in these hours." in page
    assert "05:00" not in page


def test_a_next_run_that_a_person_chose_counts(root, at, make_job):
    trigger = triggers.crontab("0 6 * * *", "UTC")
    make_job(id="moved", trigger=trigger, next_run_time=datetime(2026, 12, 2, 8, 15, tzinfo=UTC))

    assert hours(root, day="2026-12-02") == {"08:00": [("moved", ["08:15"])]}
    assert hours(root, day="2026-12-03") == {"06:00": [("moved", ["06:00"])]}


def test_what_fires_all_the_time_is_named_once_and_many_times_of_an_hour_are_cut(root, at):
    at("poll", "* * * * *"), at("often", "*/6 3 * * *")

    page = root.get(URL, {"day": "2026-12-02"})

    assert "1 job fires every 5 minutes or more often, and is not listed below" in text_of(page)
    (hour,) = [hour for hour in page.context["hours"] if hour["lines"]]
    assert (hour["count"], hour["lines"][0]["more"]) == ("10", 4)


@pytest.mark.parametrize("day", ["2026-11-30", "2026-02-30", "nonsense", "9999-01-01", ""])
def test_another_day_than_one_of_the_next_year_is_today(root, db, day):
    assert root.get(URL, {"day": day, "from": "x", "until": "-1"}).context["day"] == NOW.date()


def test_it_looks_at_a_bounded_number_of_jobs_and_firings(root, at, monkeypatch, django_assert_num_queries):
    for number in range(4):
        at(f"job-{number}", f"{number * 10} * * * *")
    root.get(URL)
    with django_assert_num_queries(3):
        assert not root.get(URL).context["is_cut"]
    monkeypatch.setattr(calendar, "MOST_FIRINGS", 20)
    assert root.get(URL).context["is_cut"]
    monkeypatch.setattr(calendar, "MOST_FIRINGS", 2000)
    monkeypatch.setattr(calendar, "MOST_JOBS", 3)
    assert "There are more" in text_of(root.get(URL))


def test_it_is_for_those_who_may_view_jobs(client_of, client):
    assert client_of("view_job").get(URL).status_code == 200
    assert client_of("view_run").get(URL).status_code == 403
    assert client.get(URL).status_code == 302


def test_a_day_on_which_the_clocks_change_has_each_firing_once(root, at, settings):
    settings.TIME_ZONE = "Europe/Berlin"
    with time_machine.travel(datetime(2026, 10, 24, 12, tzinfo=UTC), tick=False):
        trigger = triggers.interval(1800)
        begin = datetime(2026, 10, 24, 13, tzinfo=UTC)
        job = at("x", "0 0 1 1 *")
        job.job_state, job.next_run_time = triggers.dumps(trigger), begin
        job.save()

        found = hours(root, day="2026-10-25")

    assert sum(len(lines[0][1]) for lines in found.values()) == 50
