from datetime import timedelta
from types import SimpleNamespace

import pytest
from django.test import override_settings
from django.utils import timezone

from django_jobs import triggers
from django_jobs.operations import health, process_problems
from django_jobs.storage import projects
from django_jobs.storage.queues import obstacle
from django_jobs.worker.service import Service

pytestmark = pytest.mark.django_db


def codes(**options):
    return [problem["code"] for problem in health.report(**options)["problems"]]


def text(code):
    (problem,) = [problem for problem in health.report()["problems"] if problem["code"] == code]
    return problem["text"]


@pytest.fixture
def well(make_worker):
    """A live worker with a clock."""
    return make_worker(has_clock=True)


def ago(**delta):
    return timezone.now() - timedelta(**delta)


def test_a_live_worker_with_a_clock_and_nothing_late_is_well(well, make_run, make_job):
    make_run()
    make_run(run_after=timezone.now() + timedelta(hours=1))
    make_run(status="RUNNING", worker_id=well.pk)
    make_job()

    report = health.report()

    assert report["problems"] == []
    assert report["jobs"] == {"scheduled": 1, "paused": 0, "broken": 0}
    assert report["running"] == 1
    (worker,) = report["workers"]
    assert (worker["id"], worker["state"], worker["running"]) == (well.pk, "alive", 1)
    (queue,) = report["queues"]
    assert (queue["name"], queue["due"], queue["later"], queue["held"]) == ("default", 1, 1, 0)
    assert 0 <= queue["oldest_seconds"] < 60


def test_no_worker_and_no_clock_are_problems(make_job):
    make_job()

    assert codes() == ["no_worker", "no_clock"]
    assert "1 job waits for one" in text("no_clock")


@pytest.mark.parametrize(
    "fields",
    [{"stopped_at": timezone.now()}, {"lease_expires_at": timezone.now() - timedelta(days=1)}],
    ids=["stopped", "its lease ended"],
)
def test_a_worker_that_is_gone_does_not_count(fields, make_worker):
    make_worker(has_clock=True, **fields)

    assert codes() == ["no_worker", "no_clock"]


def test_a_clock_in_a_process_without_a_worker_has_no_row_and_need_not_have(make_worker):
    make_worker(has_clock=False)

    assert codes() == ["no_clock"]
    assert codes(needs_clock=False) == []


def test_a_run_that_is_due_for_longer_than_the_limit_is_a_problem(well, make_run):
    make_run(run_after=ago(minutes=4), queue_name="mail")
    assert codes() == []

    make_run(run_after=ago(minutes=6), queue_name="mail")

    assert codes() == ["overdue_runs"]
    assert text("overdue_runs").startswith("queue mail: 2 runs are due, the oldest for 0:06:0")
    assert codes(overdue=timedelta(minutes=7)) == []


def test_it_is_said_when_no_worker_serves_the_queue_of_an_overdue_run(make_worker, make_run):
    make_worker(has_clock=True, queues=["mail"])
    make_run(run_after=ago(minutes=6), queue_name="mail")
    make_run(run_after=ago(minutes=6), queue_name="reports")

    reasons = [problem["text"].rpartition(": ")[2] for problem in health.report()["problems"]]

    assert reasons == ["all threads may be busy", "no live worker serves it"]


def test_what_waits_in_a_paused_queue_is_not_overdue(well, make_run, manager):
    make_run(run_after=ago(hours=6), queue_name="mail")
    manager.pause_queue("mail")
    manager.pause_queue("empty")

    report = health.report()

    assert report["problems"] == []
    assert [(queue["name"], queue["is_paused"], queue["due"]) for queue in report["queues"]] == [
        ("empty", True, 0),
        ("mail", True, 1),
    ]


def test_a_job_that_did_not_fire_in_time_is_a_problem(well, make_job):
    make_job(next_run_time=ago(minutes=6))
    make_job(next_run_time=None)

    assert codes() == ["overdue_jobs"]
    assert text("overdue_jobs").startswith("1 job has been due for more than 0:05:00")


def test_a_queue_says_why_its_runs_do_not_begin(make_worker, manager):
    assert obstacle("mail", using="default") == "unserved"
    make_worker(queues=["slow"])
    make_worker(lease_expires_at=ago(minutes=1))
    assert obstacle("mail", using="default") == "unserved"

    make_worker(queues=["slow", "mail"])
    assert obstacle("mail", using="default") == "busy"

    manager.pause_queue("mail")
    assert obstacle("mail", using="default") == "paused"


def test_late_runs_have_the_reason_as_a_word(well, make_run, make_worker):
    make_run(run_after=ago(minutes=6), queue_name="mail")
    assert [problem["reason"] for problem in health.report()["problems"]] == ["busy"]

    well.queues = ["slow"]
    well.save()
    assert [problem["reason"] for problem in health.report()["problems"]] == ["unserved"]


def test_broken_jobs_and_runs_are_problems_and_paused_ones_are_not(well, make_job, make_run):
    make_job(next_run_time=None)
    make_run(run_after=None)
    make_run(run_after=None, held_run_after=ago(minutes=6), error="ValueError: it is tried again")
    assert codes() == []

    make_job(broken_reason="cannot be read")
    make_run(run_after=None, error="BadPayload: no")

    assert codes() == ["broken_jobs", "broken_runs"]
    assert health.report()["jobs"]["broken"] == 1


def test_runs_of_workers_that_are_gone_are_a_problem(well, make_worker, make_run):
    make_run(status="RUNNING", worker_id=well.pk)
    assert codes() == []

    gone = make_worker(lease_expires_at=ago(seconds=1))
    make_run(status="RUNNING", worker_id=gone.pk)
    make_run(status="RUNNING", worker_id="without a row")

    assert codes() == ["lost_runs"]
    assert text("lost_runs").startswith("2 runs belong to workers that are gone")


def test_next_runs_that_a_clock_ahead_left_behind_are_a_problem(well, make_job):
    years = timezone.now() + timedelta(days=800)
    make_job(id="hourly", trigger=triggers.crontab("0 * * * *"), next_run_time=years.replace(minute=0))
    make_job(id="minute", next_run_time=years)
    make_job(id="chosen", next_run_time=years, overrides={"next_run_time": years.isoformat()})
    make_job(id="once", trigger=triggers.at(years), next_run_time=years)
    make_job(
        id="leap day",
        trigger=(leap := triggers.crontab("0 0 29 2 *")),
        next_run_time=triggers.first(leap, timezone.now()),
    )

    (problem,) = health.report()["problems"]

    assert (problem["code"], problem["count"]) == ("stray_jobs", 2)


@pytest.mark.parametrize("count", [1, 30])
def test_a_report_costs_the_same_number_of_queries_whatever_there_is(
    count, make_worker, make_run, make_job, django_assert_num_queries
):
    for number in range(count):
        worker = make_worker(has_clock=True)
        make_run(status="RUNNING", worker_id=worker.pk)
        make_run(queue_name=f"queue-{number}")
        make_job()

    with django_assert_num_queries(6):
        health.report()
    make_job(next_run_time=timezone.now() + timedelta(days=2), trigger=triggers.interval(86400 * 3))
    with django_assert_num_queries(7):
        health.report()


def test_a_worker_that_was_found_dead_lately_is_named_when_asked_for(make_worker):
    lost = make_worker(stopped_at=ago(hours=1), was_lost=True, version="1.2.3")
    make_worker(stopped_at=ago(days=2), was_lost=True)
    make_worker(stopped_at=ago(hours=1))

    assert health.report()["workers"] == []
    (named,) = health.report(lost_within=timedelta(days=1))["workers"]
    assert (named["id"], named["state"], named["version"]) == (lost.pk, "gone", "1.2.3")


def test_problems_say_how_many_and_of_which_queue(well, make_run, make_job):
    make_run(run_after=ago(hours=1), queue_name="mail"), make_run(run_after=ago(hours=1), queue_name="mail")
    make_job(broken_reason="cannot be read")
    make_run(run_after=None, error="cannot be read")

    found = {
        problem["code"]: (problem["count"], problem["queue_name"]) for problem in health.report()["problems"]
    }

    assert found == {"overdue_runs": (2, "mail"), "broken_jobs": (1, ""), "broken_runs": (1, "")}


def test_of_more_workers_than_are_named_none_is_taken_for_lost(make_worker, make_run, monkeypatch):
    monkeypatch.setattr(health, "MOST_WORKERS", 1)
    for _ in range(2):
        make_run(status="RUNNING", worker_id=make_worker(has_clock=True).pk)
    make_run(status="RUNNING", worker_id="nobody")

    (problem,) = health.report()["problems"]

    assert (problem["code"], problem["count"]) == ("lost_runs", 1)


def test_what_is_beyond_the_workers_that_are_named_counts_all_the_same(make_worker, monkeypatch):
    monkeypatch.setattr(health, "MOST_WORKERS", 1)
    make_worker(host="a", threads=2)
    make_worker(host="b", threads=3, has_clock=True)

    report = health.report()

    assert report["problems"] == []
    assert [worker["host"] for worker in report["workers"]] == ["a"]
    assert report["worker_totals"] == {"alive": 2, "late": 0, "gone": 0, "threads": 5, "clocks": 1}


@pytest.mark.parametrize(
    ("queues", "reason"),
    [
        ([], "no worker of Celery's is there, or has executed a run yet"),
        (["reports"], "no worker of Celery's is there, or has executed a run yet"),
        (["mail", "bulk"], "all of Celery's workers may be busy"),
    ],
)
def test_a_queue_of_celerys_is_served_by_celerys_workers_only(
    well, make_worker, make_run, settings, queues, reason
):
    settings.DJANGO_JOBS = {"ENGINES": {"mail": "celery", "bulk": "celery"}}
    make_worker(queues=queues)
    make_run(run_after=ago(minutes=6), queue_name="mail")

    assert text("overdue_runs").endswith(f": {reason}")


def problem(code):
    (found,) = [problem for problem in health.report()["problems"] if problem["code"] == code]
    return found


def test_what_a_live_worker_says_is_wrong_is_a_problem_named_once(make_worker, well):
    first = make_worker(host="a", details={"problems": ["the clock thread has ended"]})
    second = make_worker(host="b", details={"problems": ["the clock thread has ended", "another"]})
    make_worker(host="c", details={"problems": ["long ago"]}, lease_expires_at=ago(days=1))

    found = [
        (one["text"], one["count"]) for one in health.report()["problems"] if one["code"] == "failing_process"
    ]

    assert found == [
        (f"{first.pk} on a, {second.pk} on b: the clock thread has ended", 2),
        (f"{second.pk} on b: another", 1),
    ]
    assert health.report()["workers"][1]["problems"] == ["the clock thread has ended", "another"]


def test_hosts_whose_clock_is_off_are_one_problem(make_worker, well):
    make_worker(host="a", details={"clock_ahead": 12.0})
    make_worker(host="a", details={"clock_ahead": 12.0})
    make_worker(host="b", details={"clock_ahead": -3600.0})

    found = problem("clock_off")

    assert found["count"] == 2
    assert "a is 12 s ahead of the database's, b is 3600 s behind the database's" in found["text"]


def test_workers_of_another_project_are_a_problem_and_those_with_a_key_of_ours_are_none(
    make_worker, well, settings
):
    make_worker(details={"project": projects.own()})
    with override_settings(SECRET_KEY="the key until yesterday"):
        make_worker(details={"project": projects.own()})
    with override_settings(SECRET_KEY="the key of another project", ROOT_URLCONF="blog.urls"):
        make_worker(host="theirs", details={"project": projects.own()})
    settings.SECRET_KEY_FALLBACKS = ["the key until yesterday"]

    found = problem("other_project")

    assert found["count"] == 1
    assert "blog on theirs" in found["text"]


def test_a_process_that_cannot_start_says_so_where_health_is_asked_in_it(monkeypatch, well):
    service = Service()
    service.failure = "RuntimeError: can't start new thread"
    monkeypatch.setattr(process_problems, "get_job_manager", lambda: SimpleNamespace(service=service))

    assert text("failing_process") == "this process executes no jobs: RuntimeError: can't start new thread"
