import io
import json

import pytest
from django.core.management import CommandError

from django_jobs.models import Job, Queue, Run

pytestmark = pytest.mark.django_db


def test_jobs_are_paused_and_resumed(jobs, make_job):
    for name in ("a", "b"):
        make_job(id=name)

    assert jobs("pause", "a", "b").lines == ["Paused a.", "Paused b."]
    assert Job.objects.paused().count() == 2
    assert jobs("resume", "a").lines == ["Resumed a."]
    assert Job.objects.paused().get().pk == "b"


def test_queues_are_paused_and_resumed(jobs):
    assert jobs("pause", "--queue", "mail").lines == ["Paused queue mail."]
    assert Queue.objects.get().paused_at is not None
    with pytest.raises(CommandError, match="queue 'mail' is paused already") as again:
        jobs("pause", "--queue", "mail")
    assert again.value.returncode == 1
    assert jobs("resume", "--queue", "mail").lines == ["Resumed queue mail."]
    with pytest.raises(CommandError, match="queue 'mail' is not paused"):
        jobs("resume", "--queue", "mail")


def test_a_queue_that_nothing_names_is_paused_with_a_warning(jobs, make_job, make_run, make_worker):
    make_job(queue_name="of-job"), make_run(queue_name="of-run"), make_worker(queues=["of-worker"])
    for name in ("of-job", "of-run", "of-worker", "default"):
        assert jobs("pause", "--queue", name).err.getvalue() == ""

    said = jobs("pause", "--queue", "of-jop")

    assert said.lines == ["Paused queue of-jop."]
    assert said.err.getvalue() == "no job, run or worker names queue of-jop yet; did you mean of-job?\n"
    assert Queue.objects.get(name="of-jop").paused_at is not None


@pytest.mark.parametrize("arguments", [["pause"], ["pause", "a", "--queue", "mail"]])
def test_either_jobs_or_queues_are_paused(arguments, jobs):
    with pytest.raises(CommandError, match="say which jobs to pause, or which --queue") as wrong:
        jobs(*arguments)

    assert wrong.value.returncode == 2


def test_a_job_is_run_now(jobs, make_job):
    make_job(id="nightly")

    assert jobs("run", "nightly").lines == ["Enqueued nightly."]
    assert Run.objects.get().job_id == "nightly"
    with pytest.raises(CommandError, match="--wait is for one job"):
        jobs("run", "nightly", "other", "--wait", "1")
    with pytest.raises(CommandError, match="there is no job 'other'"):
        jobs("run", "other", "--wait", "1")


def test_jobs_and_single_runs_are_cancelled(jobs, make_run):
    run = make_run(job_id="a")
    other = make_run(job_id="b")
    executes = make_run(job_id="c", status="RUNNING")

    assert jobs("cancel", "a").lines == ["Cancelled a."]
    assert jobs("cancel", "--runs", str(other.pk), str(executes.pk)).lines == [
        f"Cancelled run {other.pk}.",
        f"Cancelled run {executes.pk}.",
    ]
    for row in (run, other, executes):
        row.refresh_from_db()
    assert (run.status, other.status, executes.cancel_requested) == ("CANCELLED", "CANCELLED", True)
    with pytest.raises(CommandError, match="job 'a': none of it is unfinished"):
        jobs("cancel", "a")
    with pytest.raises(CommandError, match="it has ended"):
        jobs("cancel", "--runs", str(run.pk))


def test_jobs_and_single_runs_are_retried(jobs, make_run):
    run = make_run(job_id="a", status="FAILED")
    other = make_run(job_id="b", status="SKIPPED")
    make_run(job_id="c", status="SUCCESSFUL")

    assert jobs("retry", "a").lines == ["Ready again: a."]
    assert jobs("retry", "--runs", str(other.pk)).lines == [f"Ready again: run {other.pk}."]
    assert Run.objects.ready().count() == 2
    with pytest.raises(CommandError, match="did not end without success; `jobs run` runs it once more"):
        jobs("retry", "c")
    with pytest.raises(CommandError, match="did not end without success, or its job was added again"):
        jobs("retry", "--runs", str(run.pk))
    with pytest.raises(CommandError, match="'a' is not the number of a run") as wrong:
        jobs("retry", "--runs", "a")
    assert wrong.value.returncode == 2


def test_some_that_cannot_be_done_do_not_keep_others_from_it(jobs, make_job):
    make_job(id="nightly")

    with pytest.raises(CommandError, match="1 of 3 were done") as some:
        jobs("pause", "nigthly", "nightly", "other")

    assert some.value.returncode == 1
    assert jobs.last.lines == ["Paused nightly."]
    assert jobs.last.err.getvalue().splitlines() == [
        "there is no job 'nigthly': did you mean nightly?",
        "there is no job 'other': `manage.py jobs list` shows what there is",
    ]


def test_json_says_what_was_done_and_what_was_not(jobs, make_job):
    make_job(id="nightly")

    with pytest.raises(CommandError):
        jobs("pause", "--json", "nightly", "other")

    said = json.loads(jobs.last.out.getvalue())
    assert said["done"] == ["nightly"]
    assert [one["id"] for one in said["not_done"]] == ["other"]
    assert "there is no job 'other'" in said["not_done"][0]["reason"]


def test_ids_are_read_from_standard_input(jobs, make_run, monkeypatch):
    for number in range(3):
        make_run(job_id=f"job {number}", status="FAILED")
    listed = jobs("list", "--status", "failed", "--ids", "run").out.getvalue()
    monkeypatch.setattr("sys.stdin", io.StringIO(listed + "\n" + listed))

    assert len(jobs("retry", "--runs", "-").lines) == 3
    assert Run.objects.ready().count() == 3
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    with pytest.raises(CommandError, match="no ids were given, so nothing was done") as nothing:
        jobs("retry", "-")
    assert nothing.value.returncode == 1


def test_removing_asks_first(jobs, make_job, monkeypatch):
    make_job(id="nightly")
    questions = []
    monkeypatch.setattr("builtins.input", lambda question: questions.append(question) or "n")

    with pytest.raises(CommandError, match="nothing was removed") as nothing:
        jobs("remove", "nightly")

    assert nothing.value.returncode == 1
    assert questions == ["Remove nightly? [y/N] "]
    assert Job.objects.exists()
    monkeypatch.setattr("builtins.input", lambda question: "Yes")
    assert jobs("remove", "nightly").lines == ["Removed nightly."]
    assert not Job.objects.exists()


def test_removing_without_anybody_to_ask_needs_a_yes(jobs, make_job, make_run, monkeypatch):
    make_job(id="nightly")
    make_run(job_id="nightly")
    monkeypatch.setattr("sys.stdin", io.StringIO(""))

    with pytest.raises(CommandError, match="add --yes") as wrong:
        jobs("remove", "nightly")

    assert wrong.value.returncode == 2
    assert Job.objects.exists()
    assert jobs("remove", "nightly", "--yes").lines == ["Removed nightly."]
    assert Run.objects.get().status == "CANCELLED"
    with pytest.raises(CommandError, match="job 'nightly': none of it is still to run"):
        jobs("remove", "nightly", "--yes")
