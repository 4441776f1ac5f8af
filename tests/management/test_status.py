import json
import re
from datetime import timedelta

import pytest
from django.core.management import CommandError
from django.utils import timezone

pytestmark = pytest.mark.django_db


def test_all_is_well_where_it_is(jobs, make_worker, make_run, make_job):
    worker = make_worker(id="shop-1", has_clock=True, threads=4, queues=["mail", "default"])
    make_run(status="RUNNING", worker_id=worker.pk)
    make_run()
    make_job()

    said = jobs("status", "--exit-code")

    assert re.search(r"^jobs  1 scheduled$", said.out.getvalue(), re.MULTILINE)
    assert re.search(r"^runs  1 running, 1 due$", said.out.getvalue(), re.MULTILINE)
    assert re.search(
        r"^shop-1  alive  elsewhere  1 +mail, default  1 of 4   yes ", said.out.getvalue(), re.MULTILINE
    )
    assert re.search(r"^default  serving  1 +0 +0 +0\.\d+ s$", said.out.getvalue(), re.MULTILINE)
    assert said.lines[-1] == "All is well."


def test_what_is_wrong_ends_the_command_with_1_only_when_asked(jobs):
    said = jobs("status")

    assert said.lines[-2].startswith("no_worker: no worker is alive, so no runs start. Start ")
    with pytest.raises(CommandError, match=r"^no_worker; no_clock$") as wrong:
        jobs("status", "--exit-code")
    assert wrong.value.returncode == 1


def test_the_limit_and_the_clock_can_be_said(jobs, make_worker, make_run):
    make_worker(has_clock=False)
    make_run(run_after=timezone.now() - timedelta(minutes=10))

    with pytest.raises(CommandError, match=r"^no_clock; overdue_runs$"):
        jobs("status", "--exit-code")
    with pytest.raises(CommandError, match=r"^overdue_runs$"):
        jobs("status", "--exit-code", "--no-clock")
    jobs("status", "--exit-code", "--no-clock", "--overdue", "11m")


def test_a_queue_without_a_live_worker_is_not_serving(jobs, make_worker, make_run):
    make_worker(queues=["mail"])
    make_worker(lease_expires_at=timezone.now() - timedelta(hours=1))
    make_run(queue_name="mail"), make_run(queue_name="reports")

    said = jobs("status").out.getvalue()

    assert re.search(r"^mail +serving ", said, re.MULTILINE)
    assert re.search(r"^reports +unserved ", said, re.MULTILINE)


def test_json_is_the_report(jobs):
    said = json.loads(jobs("status", "--json").out.getvalue())

    assert set(said) == {"at", "problems", "workers", "worker_totals", "queues", "jobs", "running"}
    assert [problem["code"] for problem in said["problems"]] == ["no_worker", "no_clock"]
