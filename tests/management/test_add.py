import json
from datetime import UTC, datetime, timedelta

import pytest
from django.core.management import CommandError
from django.utils import timezone

from django_jobs.models import Job, Run

pytestmark = pytest.mark.django_db


def test_a_function_is_added_with_json_arguments(jobs, manager):
    (job_id,) = jobs("add", "tests.probes.jobs:add", "1", "b=[2, null]", 'c={"x": "a=b"}').lines

    job = manager.get_job(job_id)
    assert (job["func"], job["args"]) == ("tests.probes.jobs:add", [1])
    assert job["kwargs"] == {"b": [2, None], "c": {"x": "a=b"}}


def test_options_of_the_job_are_taken(jobs):
    jobs(
        "add", "tests.probes.jobs:mark", "--id", "mine", "--queue", "mail", "--priority", "-7",
        "--timeout", "1m30s", "--name", "a mark",
    )  # fmt: skip

    run = Run.objects.get(job_id="mine")
    assert (run.queue_name, run.priority, run.name) == ("mail", -7, "a mark")
    assert run.options == {"timeout": 90.0}


def test_a_time_an_interval_and_a_crontab_are_triggers(jobs, manager):
    jobs("add", "tests.probes.jobs:mark", "--id", "once", "--at", "2090-12-01T03:30+01:00")
    jobs("add", "tests.probes.jobs:mark", "--id", "often", "--every", "30m", "--max-instances", "3")
    jobs(
        "add", "tests.probes.jobs:mark", "--id", "nightly", "--cron", "30 3 * * mon",
        "--timezone", "Europe/Paris",
    )  # fmt: skip

    assert Job.objects.get(pk="once").next_run_time == datetime(2090, 12, 1, 2, 30, tzinfo=UTC)
    assert manager.get_job("often")["trigger"] == "every 30 minutes"
    assert manager.get_job("often")["max_instances"] == 3
    assert manager.get_job("nightly")["trigger"] == "at 03:30 on Monday (Europe/Paris)"


def test_a_recurring_job_of_the_same_id_is_changed(jobs, manager):
    jobs("add", "tests.probes.jobs:mark", "--id", "often", "--every", "30m")
    jobs("add", "tests.probes.jobs:nothing", "--id", "often", "--every", "7200")

    assert Job.objects.count() == 1
    assert manager.get_job("often")["trigger"] == "every 2 hours"
    assert Job.objects.get().next_run_time > timezone.now() + timedelta(hours=1)


def test_json_is_the_job(jobs):
    added = json.loads(jobs("add", "tests.probes.jobs:mark", "--id", "mine", "--json").out.getvalue())

    assert (added["id"], added["status"]) == ("mine", "queued")


def test_an_id_in_use_is_refused_unless_something_else_was_said(jobs):
    jobs("add", "tests.probes.jobs:mark", '"a"', "--id", "mine")

    with pytest.raises(CommandError, match="'mine' is unfinished: say --on-conflict skip or replace") as used:
        jobs("add", "tests.probes.jobs:mark", "--id", "mine")
    assert used.value.returncode == 1
    jobs("add", "tests.probes.jobs:mark", '"b"', "--id", "mine", "--on-conflict", "skip")
    assert Run.objects.count() == 1
    jobs("add", "tests.probes.jobs:mark", '"b"', "--id", "mine", "--on-conflict", "replace")
    assert [run.status for run in Run.objects.order_by("id")] == ["CANCELLED", "READY"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["tests.probes.jobs:mark", "text"], r"text is not JSON: a text needs double quotes.*'\"text\"'"),
        (["tests.probes.jobs:mark", "text=1", "text=2"], "text is given twice"),
        (["tests.probes.jobs:mark", "1", "2"], "cannot be called with these arguments"),
        (["tests.probes.jobs:nope"], "has no nope"),
        (["os:system"], "may not be called: os belongs to no installed app"),
        (["nonsense"], "is not of the form 'package.module:function'"),
        (["tests.probes.jobs:mark", "--priority", "101"], "from -100 to 100, not 101"),
        (["tests.probes.jobs:mark", "--cron", "30 3 * *"], "30 3"),
        (["tests.probes.jobs:mark", "--cron", "30 3 * * *", "--timezone", "Mars/Base"], "Mars/Base"),
        (["tests.probes.jobs:mark", "--timezone", "UTC"], "--timezone belongs to --cron"),
        (["tests.probes.jobs:mark", "--every", "0"], "too short: it must be at least 0.001 seconds"),
        (["tests.probes.jobs:mark", "--every", "60", "--wait", "1"], "--wait is for jobs that end"),
        (["tests.probes.jobs:mark", "--id", "x" * 256], "1 to 255 characters"),
        (["tests.probes.jobs:mark", "--at", "tomorrow"], "'tomorrow' is not a valid time"),
        (["tests.probes.jobs:mark", "--at", "2026-12-01T03:30"], "write 2026-12-01T03:30Z for UTC"),
        (["tests.probes.jobs:mark", "--at", "2026-13-01T03:30Z"], "is not a valid time"),
        (["tests.probes.jobs:mark", "--every", "3x"], "'3x' is not a valid duration"),
    ],
)
def test_what_cannot_be_added_is_refused_with_the_way_out(arguments, message, jobs):
    with pytest.raises(CommandError, match=message) as wrong:
        jobs("add", *arguments)

    assert wrong.value.returncode in {1, 2}
    assert not Run.objects.exists()
    assert not Job.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_the_result_can_be_waited_for(jobs, serve):
    serve()

    assert jobs("add", "tests.probes.jobs:add", "1", "b=3", "--wait", "10s").lines == ["4"]
    assert jobs("add", "tests.probes.jobs:give", '"été"', "--id", "mine", "--wait", "10").lines == ['"été"']
    assert jobs("run", "mine", "--wait", "10").lines == ['"été"']
    with pytest.raises(CommandError, match=r"failed: ValueError: it went wrong") as failed:
        jobs("add", "tests.probes.jobs:fail", "--wait", "10")
    assert failed.value.returncode == 1
    assert "Traceback" in jobs.last.err.getvalue()


@pytest.mark.django_db(transaction=True)
def test_a_wait_that_is_too_short_says_what_the_job_waits_for(jobs):
    with pytest.raises(
        CommandError, match=r"has not ended after 0.01 s: .* no live worker .*`manage.py jobs status`"
    ):
        jobs("add", "tests.probes.jobs:mark", "--wait", "0.01")

    assert Run.objects.get().status == "READY"
