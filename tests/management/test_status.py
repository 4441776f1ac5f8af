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
        r"^alive  elsewhere:1  1 of 4  \S+ \S+ +yes    mail, default  shop-1$",
        said.out.getvalue(),
        re.MULTILINE,
    )
    assert re.search(r"^default  serving  1 +0 +0 +0 +\d+\.\d+ s$", said.out.getvalue(), re.MULTILINE)
    assert said.lines[-1] == "All is well."


def test_live_workers_come_first_and_those_that_are_gone_are_one_line(jobs, make_worker):
    past = timezone.now() - timedelta(hours=1)
    for host in ("b", "c"):
        make_worker(host=host, pid=7, lease_expires_at=past, heartbeat_at=past)
    make_worker(
        host="z" * 40, pid=8, queues=["mail", "default", "reports", "imports", "thumbnails"], threads=4
    )

    lines = jobs("status").out.getvalue().splitlines()

    (alive,) = [number for number, line in enumerate(lines) if line.startswith("alive")]
    assert lines[alive + 1].startswith("gone: 2, last heartbeat ")
    assert lines[alive + 1].endswith(": b:7, c:7")
    # What matters is within a terminal of usual width.
    for word in ("BUSY", "LAST HEARTBEAT", "CLOCK"):
        assert lines[alive - 1].index(word) + len(word) < 100


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


@pytest.mark.parametrize(
    "words", [("status", "--exit-code"), ("status", "--json"), ("list", "--ids", "run"), ("list", "--all")]
)
def test_watching_and_what_is_said_once_exclude_each_other(jobs, words):
    with pytest.raises(CommandError, match="--watch and --") as error:
        jobs(*words, "--watch", "1s")

    assert error.value.returncode == 2


@pytest.mark.parametrize("action", ["status", "list"])
def test_it_is_watched(jobs, make_run, monkeypatch, action):
    make_run(queue_name="mail")
    naps = []

    def sleep(seconds):
        naps.append(seconds)
        if len(naps) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr("time.sleep", sleep)

    said = jobs(action, "--watch")

    assert naps == [2, 2]
    assert said.out.getvalue().count("mail") >= 2
