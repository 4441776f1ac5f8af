"""People are told what is wrong, and when it is well again."""

import hashlib
import hmac
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.core import mail
from django.db import OperationalError, connection, transaction
from django.utils import timezone

from django_jobs import Alert
from django_jobs.models import AlertState, Rollup, Run
from django_jobs.operations.alerts import channels, watch
from django_jobs.operations.alerts.send import send
from django_jobs.storage import claims, endings, leases, outcomes
from django_jobs.storage.records import Outcome

pytestmark = pytest.mark.django_db

SECRET = "an open secret of tests"
TRACEBACK = (
    'Traceback (most recent call last):\n  File "/srv/shop/jobs.py", line 12, in charge\nValueError: no'
)


@pytest.fixture(autouse=True)
def alerts(settings, monkeypatch):
    """Alerts by mail, as `AppConfig.ready` connects them."""
    settings.DJANGO_JOBS = {**settings.DJANGO_JOBS, "ALERTS": {"MAIL": ["ops@example.com"]}}
    monkeypatch.setattr(endings, "_when_failed", {"django_jobs.operations.alerts.failures.runs_failed"})


@pytest.fixture
def fail(make_run, make_worker):
    """Runs and fails so many runs of a function, in one batch."""
    make_worker(id="w", queues=["none"])

    def fail(count=1, func="shop.jobs:charge", error="ValueError: no", status="FAILED", **fields):
        runs = [make_run(func=func, queue_name="q", **fields) for _ in range(count)]
        begun = [claims.claim_one(run.pk, "w", using="default") for run in runs]
        now = timezone.now()
        text = TRACEBACK if error.startswith("ValueError") else ""
        end = Outcome(status, now, now, error=error, traceback=text, exception=error.partition(":")[0])
        assert len(outcomes.finish([(run, end) for run in begun], using="default")) == count

    return fail


def messages():
    return Run.objects.filter(func="django_jobs.alerts:send")


def deliver():
    """Execute what is to be sent, whenever that is due."""
    sent = []
    for run in messages().filter(status="READY").order_by("pk"):
        arguments = json.loads(run.payload)
        args = arguments["args"] if isinstance(arguments, dict) else arguments[0]
        Run.objects.filter(pk=run.pk).update(status="SUCCESSFUL")
        sent.append(send(*args))
    return sent


def test_ten_thousand_equal_failures_are_one_mail_with_their_count(fail):
    fail(200)
    fail(300)
    assert messages().count() == 1

    assert deliver() == ["shop.jobs:charge failed 500 times"]

    (sent,) = mail.outbox
    assert sent.to == ["ops@example.com"]
    assert "ValueError: no" in sent.body
    assert f"manage.py jobs show --run {Run.objects.filter(func='shop.jobs:charge').last().pk}" in sent.body


def test_later_failures_are_told_with_the_next_mail_an_hour_later(fail):
    fail(3)
    deliver()
    fail(2)
    fail(5)
    (again,) = messages().filter(status="READY")
    assert again.run_after - AlertState.objects.get().told_at >= timedelta(hours=1)
    assert deliver() == ["shop.jobs:charge failed 7 times"]


def test_failures_are_grouped_by_exception_and_place(fail):
    fail()
    fail(error="KeyError: 'x'")
    fail(func="shop.jobs:other")
    assert AlertState.objects.count() == messages().count() == 3


def test_a_run_that_is_tried_again_is_no_failure(fail):
    fail(status="READY")
    assert not messages().exists()


def test_a_job_says_after_how_many_failures_it_is_told(fail):
    options = {"alert": {"after": 3, "once_per": 60}}
    fail(2, options=options)
    assert not messages().exists()
    fail(options=options)
    assert deliver() == ["shop.jobs:charge failed 3 times"]


def test_of_a_schedule_only_failures_in_a_row_count(fail):
    said = {"job_id": "nightly", "kind": "recurring", "options": {"alert": {"after": 2, "once_per": 60}}}
    fail(**said)
    fail(status="SUCCESSFUL", error="", **said)
    fail(**said)
    assert not messages().exists()
    fail(**said)
    assert messages().count() == 1


def test_a_job_can_be_left_out(fail):
    fail(options={"alert": {"after": 0, "once_per": 60}})
    assert not AlertState.objects.exists()


def test_a_lost_run_is_told_of(make_run, make_worker):
    make_worker(id="dead", stopped_at=timezone.now())
    make_run(status="RUNNING", worker_id="dead", options={"at_most_once": True})
    leases.rescue(max_rescues=3, using="default")
    assert messages().count() == 1


def test_an_alert_is_never_about_itself(fail):
    fail(func="django_jobs.alerts:send")
    assert not AlertState.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_the_message_commits_or_rolls_back_with_the_outcome(fail, monkeypatch):
    with transaction.atomic():
        fail()
        transaction.set_rollback(True)
    assert not messages().exists()
    assert not AlertState.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_two_processes_that_fail_at_the_same_time_add_one_message(fail):
    barrier = threading.Barrier(4)

    def one():
        try:
            barrier.wait(timeout=20)
            while True:
                try:
                    return fail(5)
                except OperationalError:
                    # MariaDB's word for two that wait for each other; who writes outcomes tries again as well.
                    if connection.vendor != "mysql":
                        raise
        finally:
            connection.close()

    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(one) for _ in range(4)]:
            done.result(timeout=60)
    assert messages().count() == 1
    assert AlertState.objects.get().count == 20


def test_it_is_tried_again_while_the_mail_server_is_down(fail, monkeypatch):
    def refuse(*args):
        raise ConnectionRefusedError("no mail server answers")

    fail(3)
    with monkeypatch.context() as down:
        down.setattr(channels, "send_mail", refuse)
        with pytest.raises(OSError, match="ConnectionRefusedError"):
            deliver()
    assert AlertState.objects.get().told_at is None
    policy = messages().get().options["retry"]
    assert policy["max_attempts"] == 60
    Run.objects.filter(func="django_jobs.alerts:send").update(status="READY")
    assert deliver() == ["shop.jobs:charge failed 3 times"]


def succeeded(func, at):
    Rollup.objects.create(
        size_seconds=60, begins_at=at.replace(second=0, microsecond=0), func=func, queue_name="q",
        outcome="SUCCESSFUL", runs=1,
    )  # fmt: skip


def test_who_was_told_of_a_failure_is_told_that_it_succeeded_again(fail, make_worker):
    make_worker(id="all", has_clock=True)
    fail(3)
    deliver()
    later = timezone.now() + timedelta(minutes=2)
    succeeded("shop.jobs:charge", later)
    assert watch.watch_in_turn("default")

    assert deliver() == ["shop.jobs:charge succeeded again"]
    assert not AlertState.objects.exists()


def test_who_was_told_nothing_is_not_told_that_it_succeeded_again(fail, make_worker):
    make_worker(id="all", has_clock=True)
    fail(2, options={"alert": {"after": 3, "once_per": 60}})
    succeeded("shop.jobs:charge", timezone.now() + timedelta(minutes=2))
    watch.watch_in_turn("default")
    assert not AlertState.objects.exists()
    assert not messages().exists()


def look(monkeypatch, seconds):
    """Watch as if it were so much later."""
    from django_jobs.models import MaintenanceTask

    AlertState.objects.update(opened_at=timezone.now() - timedelta(seconds=seconds))
    MaintenanceTask.objects.update(due_at=timezone.now() - timedelta(seconds=1))
    return watch.watch_in_turn("default")


def test_one_process_watches_for_all(make_worker):
    make_worker(id="all", has_clock=True)
    assert watch.watch_in_turn("default")
    assert not watch.watch_in_turn("default")


def test_when_all_workers_are_dead_the_process_that_looks_says_it_itself(monkeypatch):
    watch.watch_in_turn("default")
    assert mail.outbox == [], "a restart is no incident"
    look(monkeypatch, 40)

    subjects = [sent.subject for sent in mail.outbox]
    assert any("no worker is alive" in subject for subject in subjects)
    count = len(mail.outbox)
    look(monkeypatch, 80)
    assert len(mail.outbox) == count, "said once"


def test_a_problem_that_is_solved_is_said_to_be(monkeypatch, make_worker):
    watch.watch_in_turn("default")
    look(monkeypatch, 40)
    make_worker(id="w", has_clock=True)
    look(monkeypatch, 80)
    assert "solved: no_worker" in deliver()
    assert not AlertState.objects.exists()


@pytest.mark.parametrize(
    ("options", "fields", "words"),
    [
        ({"late": 60}, {}, "is late"),
        ({"longest": 60}, {"status": "RUNNING", "worker_id": "w"}, "takes too long"),
    ],
)
def test_what_is_late_or_takes_too_long_is_told_of(
    monkeypatch, make_worker, make_run, options, fields, words
):
    make_worker(id="w", has_clock=True)
    before = timezone.now() - timedelta(seconds=90)
    since = "started_at" if "longest" in options else "run_after"
    make_run(func="shop.jobs:report", options=options, **fields, **{since: before})
    make_run(func="shop.jobs:other", **fields, **{since: before})
    watch.watch_in_turn("default")
    look(monkeypatch, 40)

    assert deliver() == [f"shop.jobs:report {words}"]
    Run.objects.filter(func="shop.jobs:report").update(status="SUCCESSFUL")
    look(monkeypatch, 80)
    assert len(deliver()) == 1


def test_a_job_that_its_failures_paused_is_told_of(monkeypatch, make_worker, make_job, manager):
    make_worker(id="w", has_clock=True)
    make_job(id="nightly")
    manager.pause_job("nightly", by="pause_after_failures: 3 runs in a row failed")
    watch.watch_in_turn("default")
    look(monkeypatch, 40)
    assert "job nightly is paused" in deliver()[0]


def test_without_the_setting_nothing_is_watched_or_counted(fail, settings, monkeypatch):
    settings.DJANGO_JOBS = {key: value for key, value in settings.DJANGO_JOBS.items() if key != "ALERTS"}
    monkeypatch.setattr(endings, "_when_failed", set())
    fail()
    assert not AlertState.objects.exists()
    assert watch._make("default", ()) is None


def test_a_webhook_gets_json_that_it_can_check(fail, settings, receiver):
    address, posted = receiver
    settings.DJANGO_JOBS = {
        **settings.DJANGO_JOBS,
        "ALERTS": {"WEBHOOK": f"{address}/hook", "WEBHOOK_SECRET": SECRET},
    }
    fail(2)
    deliver()
    ((path, body, signature),) = posted
    assert path == "/hook"
    expected = hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
    assert signature == f"sha256={expected}"
    said = json.loads(body)
    assert (said["kind"], said["about"], said["count"], said["recovered"]) == (
        "failed",
        "shop.jobs:charge",
        2,
        False,
    )


def test_slack_gets_its_format_with_nothing_that_it_would_read_as_a_link(fail, settings, receiver):
    address, posted = receiver
    settings.DJANGO_JOBS = {
        **settings.DJANGO_JOBS,
        "ALERTS": {"SLACK": f"{address}/slack", "URL": "https://shop.example/admin/"},
    }
    fail(error="ValueError: <!channel> & more")
    deliver()
    text = json.loads(posted[0][1])["text"]
    assert "&lt;!channel&gt; &amp; more" in text
    run = Run.objects.filter(func="shop.jobs:charge").get()
    assert f"https://shop.example/admin/django_jobs/run/{run.pk}/change/" in text


def test_where_one_place_fails_the_others_get_it(fail, settings):
    settings.DJANGO_JOBS = {
        **settings.DJANGO_JOBS,
        "ALERTS": {
            "MAIL": ["a@example.com"],
            "WEBHOOK": "http://127.0.0.1:9/closed",
            "WEBHOOK_SECRET": SECRET,
        },
    }
    fail()
    with pytest.raises(OSError, match="refused"):
        deliver()
    assert len(mail.outbox) == 1


@pytest.mark.parametrize(
    ("values", "error"),
    [
        ({"after": -1}, ValueError), ({"after": "3"}, TypeError), ({"once_per": "1h"}, TypeError), ({"once_per": -1}, ValueError),
    ],
)  # fmt: skip
def test_wrong_alerts_are_refused(values, error):
    with pytest.raises(error):
        Alert(**values)
