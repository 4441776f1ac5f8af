import json
from datetime import timedelta
from zoneinfo import ZoneInfo

import pytest
import sentry_sdk
from apscheduler.triggers.calendarinterval import CalendarIntervalTrigger
from apscheduler.triggers.combining import AndTrigger
from apscheduler.triggers.cron import CronTrigger
from apscheduler.triggers.interval import IntervalTrigger
from django.utils import timezone
from sentry_sdk.integrations.logging import LoggingIntegration
from sentry_sdk.transport import Transport

from django_jobs import Retry, triggers
from django_jobs.execution import instrumentation
from django_jobs.integrations import sentry, sentry_monitors
from django_jobs.integrations.sentry import DjangoJobsIntegration
from django_jobs.models import Job, Run, jobs_database
from django_jobs.storage import leases
from django_jobs.worker.inline import inline_worker
from tests.executed import execute_all


class Kept(Transport):
    """Keeps what would be sent."""

    def __init__(self, options=None):
        super().__init__(options)
        self.items = []

    def capture_envelope(self, envelope):
        self.items.extend((item.type, item.payload.json) for item in envelope.items)

    def of(self, kind):
        return [payload for of, payload in self.items if of == kind]


@pytest.fixture
def sent():
    """Return a function that sets Sentry up, and returns what it would send."""

    def init(*, integrations=None, **options):
        transport = Kept()
        sentry_sdk.init(
            dsn="https://key@sentry.invalid/1",
            transport=transport,
            traces_sample_rate=1.0,
            default_integrations=False,
            integrations=[DjangoJobsIntegration(**options)] if integrations is None else integrations,
        )
        return transport

    yield init

    sentry_sdk.get_client().close()
    # A client that is off, as before the first `init`.
    sentry_sdk.get_global_scope().set_client(None)
    instrumentation.remove_observer(sentry._observer)


@pytest.fixture(autouse=True)
def installed_anew():
    # `setup_once` is called once per process.
    DjangoJobsIntegration.setup_once()


@pytest.mark.django_db
def test_the_log_of_a_failure_is_no_second_event(sent, manager, probes):
    kept = sent(integrations=[DjangoJobsIntegration(), LoggingIntegration()])
    manager.add_immediate_job(probes.fail)
    execute_all()

    (event,) = kept.of("event")
    assert event["exception"]["values"][-1]["mechanism"]["type"] == "django_jobs"


@pytest.mark.django_db
def test_a_failed_run_is_one_event_with_its_job_in_tags(sent, manager, probes):
    kept = sent()
    manager.using(queue_name="mail").add_immediate_job(probes.fail, "no bank", job_id="charge")
    execute_all()

    (event,) = kept.of("event")
    (error,) = event["exception"]["values"]
    run = Run.objects.get()
    assert (error["type"], error["value"]) == ("ValueError", "no bank")
    assert error["mechanism"] == {"type": "django_jobs", "handled": False}
    assert event["level"] == "error"
    assert event["tags"] == {
        "django_jobs.job_id": "charge",
        "django_jobs.run_id": run.pk,
        "django_jobs.queue": "mail",
        "django_jobs.function": "tests.probes.jobs:fail",
    }
    assert event["contexts"]["job"]["attempt"] == 1
    (transaction,) = kept.of("transaction")
    assert transaction["transaction"] == "tests.probes.jobs:fail"
    assert transaction["contexts"]["trace"]["op"] == "queue.process"
    assert transaction["contexts"]["trace"]["status"] == "internal_error"
    assert event["contexts"]["trace"]["trace_id"] == transaction["contexts"]["trace"]["trace_id"]


@pytest.mark.django_db
@pytest.mark.parametrize(("capture_retried", "levels"), [(False, ["error"]), (True, ["warning", "error"])])
def test_an_attempt_that_is_tried_again_is_an_event_only_where_that_is_wanted(
    capture_retried, levels, sent, manager, probes
):
    kept = sent(capture_retried=capture_retried)
    manager.using(retry=Retry(max_attempts=2, delay=0)).add_immediate_job(probes.fail)
    execute_all()

    assert [event["level"] for event in kept.of("event")] == levels
    assert len(kept.of("transaction")) == 2


def test_runs_on_threads_and_on_the_loop_have_scopes_of_their_own(sent, serve, manager, probes, until):
    kept = sent()
    service = serve()
    for name in ("fail", "fail_async", "nothing"):
        manager.add_immediate_job(getattr(probes, name), job_id=name)
    until(lambda: len(kept.of("transaction")) == 3)
    assert service.worker.holdings.wait_empty(10)

    assert {event["tags"]["django_jobs.job_id"] for event in kept.of("event")} == {"fail", "fail_async"}
    statuses = {one["transaction"].partition(":")[2]: one["contexts"]["trace"]["status"] for one in kept.of("transaction")}  # fmt: skip
    assert statuses == {"fail": "internal_error", "fail_async": "internal_error", "nothing": "ok"}
    # What is said outside of runs has nothing of theirs.
    sentry_sdk.capture_message("afterwards")
    assert "tags" not in kept.of("event")[-1]


@pytest.mark.django_db
def test_a_run_goes_on_with_the_trace_of_the_request_that_added_it(sent, manager, probes):
    kept = sent()
    with sentry_sdk.start_transaction(op="http.server", name="GET /") as request:
        manager.add_immediate_job(probes.nothing)
    execute_all()

    of_request, of_run = kept.of("transaction")
    (publish,) = of_request["spans"]
    assert publish["op"] == "queue.publish"
    assert of_run["contexts"]["trace"]["trace_id"] == request.trace_id
    assert of_run["contexts"]["trace"]["parent_span_id"] == publish["span_id"]


@pytest.mark.django_db
def test_a_run_whose_worker_died_for_the_last_time_is_an_event(sent, make_run, make_worker):
    kept = sent()
    gone = make_worker(lease_expires_at=timezone.now() - timedelta(hours=1))
    make_run(job_id="killer", status="RUNNING", worker_id=gone.pk, rescues=0)
    make_run(job_id="victim", status="RUNNING", worker_id=gone.pk, rescues=3)

    rescued = leases.rescue(max_rescues=3, using=jobs_database())
    leases.report_rescues(rescued, using=jobs_database())

    (event,) = kept.of("event")
    assert event["message"] == "A run of job victim failed: its worker died 4 times"
    assert event["tags"]["django_jobs.job_id"] == "victim"


@pytest.mark.django_db
def test_without_a_dsn_nothing_is_stored_and_nothing_asked(sent, manager, probes):
    sent(monitor_recurring_jobs=True)
    sentry_sdk.init(dsn=None, default_integrations=False, integrations=[DjangoJobsIntegration()])
    manager.add_immediate_job(probes.fail)
    execute_all()

    assert Run.objects.get().options is None


@pytest.mark.django_db
def test_without_the_integration_nothing_is_sent_and_nothing_stored(sent, manager, probes):
    kept = sent(integrations=[])
    manager.add_immediate_job(probes.fail)
    execute_all()

    assert kept.items == []
    assert Run.objects.get().options is None


def fire(job_id):
    Job.objects.filter(pk=job_id).update(next_run_time=timezone.now() - timedelta(seconds=1))
    with inline_worker(jobs_database()) as worker:
        worker.fire()
        while run := worker.next_due():
            worker.execute(run)


@pytest.mark.django_db
def test_runs_of_recurring_jobs_check_in_with_their_schedule(sent, manager, probes):
    kept = sent(monitor_recurring_jobs=True)
    # Far from now: a time shortly before the next firing looks like that firing by older rules of its zone.
    hour = (timezone.now().astimezone(ZoneInfo("Europe/Paris")).hour + 12) % 24
    expression = f"30 {hour} * * mon-fri"
    manager.using(timeout=90).add_cron_job(
        probes.nothing, expression, job_id="nightly", timezone="Europe/Paris"
    )
    fire("nightly")
    manager.add_recurring_job(probes.fail, 300, job_id="failing")
    fire("failing")
    manager.add_immediate_job(probes.nothing)
    execute_all()

    begun, ended, begun_too, failed = kept.of("check_in")
    assert (begun["monitor_slug"], begun["status"], ended["status"]) == ("nightly", "in_progress", "ok")
    assert begun["monitor_config"] == {
        "schedule": {"type": "crontab", "value": expression},
        "timezone": "Europe/Paris",
        "max_runtime": 2,
    }
    assert begun["check_in_id"] == ended["check_in_id"] != failed["check_in_id"] == begun_too["check_in_id"]
    assert ended["duration"] >= 0
    assert failed["status"] == "error"
    assert begun_too["monitor_config"]["schedule"] == {"type": "interval", "value": 5, "unit": "minute"}


@pytest.mark.django_db
def test_a_retried_firing_checks_in_once(sent, manager, probes):
    kept = sent(monitor_recurring_jobs=True)
    manager.using(retry=Retry(max_attempts=2, delay=0)).add_recurring_job(
        probes.fail_until, 60, 2, job_id="often"
    )
    fire("often")

    assert [one["status"] for one in kept.of("check_in")] == ["in_progress", "ok"]


@pytest.mark.django_db
def test_monitors_are_off_unless_asked_for(sent, manager, probes, django_assert_num_queries):
    kept = sent()
    manager.add_recurring_job(probes.nothing, 60, job_id="often")
    fire("often")

    assert kept.of("check_in") == []


@pytest.mark.parametrize(
    ("job_id", "slug"),
    [
        ("nightly-report_2", "nightly-report_2"),
        ("reports.jobs:write", "reports-jobs-write-6f1cef9a"),
        ("x" * 60, None),
        ("夜", None),
    ],
)
def test_a_slug_is_the_id_where_that_can_be_one(job_id, slug):
    made = sentry_monitors.slug(job_id)

    assert made == slug or slug is None
    assert 0 < len(made) <= 50
    assert made == made.lower()
    assert set(made) <= set("abcdefghijklmnopqrstuvwxyz0123456789-_")
    assert made != sentry_monitors.slug(job_id + "y")


PARIS = ZoneInfo("Europe/Paris")


@pytest.mark.parametrize(
    ("trigger", "schedule"),
    [
        (triggers.crontab("*/5 * * * *"), "*/5 * * * *"),
        (triggers.crontab("0 9 1 * *", PARIS), "0 9 1 * *"),
        (triggers.crontab("0 9 * * 0"), "0 9 * * sun"),
        # Either of two days: crontab could say it, a combined trigger does not say what it was made of.
        (triggers.crontab("0 9 1 * 0"), None),
        (CronTrigger(day_of_week="0-4", hour=9, minute=0), "0 9 * * mon-fri"),
        # A crontab fires where one of them fits.
        (CronTrigger(day="1-7", day_of_week="mon", hour=9), None),
        (CronTrigger(day="*/2", day_of_week="mon", hour=9), None),
        (CronTrigger(day="1-7", day_of_week="0-6", hour=9), "0 9 1-7 * *"),
        (CronTrigger(day_of_week="*/2", hour=9), "0 9 * * mon,wed,fri,sun"),
        (CronTrigger(day_of_week="1-5/2,sun", hour=9), "0 9 * * tue,thu,sat,sun"),
        (CronTrigger(day_of_week="fri-sun", hour=9), "0 9 * * fri,sat,sun"),
        (CronTrigger(day="last", hour=9, minute=0), None),
        (triggers.crontab("0 9 15W * *"), None),
        (CronTrigger(second=30), None),
        (IntervalTrigger(seconds=30), None),
        (IntervalTrigger(seconds=90), ("interval", 2, "minute")),
        (IntervalTrigger(hours=2), ("interval", 120, "minute")),
        (CalendarIntervalTrigger(weeks=2), ("interval", 2, "week")),
        (CalendarIntervalTrigger(months=1, days=1), None),
        (AndTrigger([IntervalTrigger(hours=2), CronTrigger(day_of_week="mon")]), None),
    ],
)
def test_a_trigger_is_a_schedule_where_sentry_has_words_for_it(trigger, schedule):
    config = sentry_monitors.config(trigger)

    if schedule is None:
        assert config is None
    elif isinstance(schedule, str):
        assert config["schedule"] == {"type": "crontab", "value": schedule}
    else:
        assert tuple(config["schedule"].values()) == schedule
    assert config is None or config["timezone"] == str(trigger.timezone)


@pytest.mark.django_db(transaction=True)
def test_a_failure_in_a_child_process_is_sent_before_the_run_has_ended(runjobs, manager, probes, tmp_path):
    job_id = manager.using(queue_name="heavy").add_immediate_job(probes.fail, "in a child")
    worker = runjobs(
        "--drain",
        env={
            "TESTS_DJANGO_JOBS": json.dumps({"ENGINES": {"heavy": "processes"}}),
            "TESTS_APP": "tests.integrations.watched_app.WatchedConfig",
            "TESTS_SENTRY_FILE": str(tmp_path / "sent"),
        },
    )
    assert worker.wait(60) == 0, worker.log.read_text()

    sent = [json.loads(line) for line in (tmp_path / "sent").read_text().splitlines()]
    (event,) = [event for event in sent if "exception" in event]
    assert event["exception"]["values"][0]["value"] == "in a child"
    assert event["tags"]["django_jobs.job_id"] == job_id
