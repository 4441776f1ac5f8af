import json
import threading

import pytest
from django.core.management import CommandError

from django_jobs.models import LogChunk, Run
from django_jobs.registry import log_lines
from tests.execution.test_run_log import AT

LOG = "\n".join(
    log_lines.line_of(AT, log_lines.level_number(level), text)
    for level, text in [("DEBUG", "begin"), ("INFO", "Tea was sold"), ("ERROR", "no tea\nat all")]
)


def test_the_log_of_a_jobs_newest_run_is_shown(jobs, make_run):
    make_run(job_id="sell", status="SUCCESSFUL", log="old")
    make_run(job_id="sell", status="SUCCESSFUL", log=LOG)

    assert jobs("tail", "sell").lines == LOG.splitlines()


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--level", "error"], ["no tea\nat all"]),
        (["--search", "tea"], ["Tea was sold", "no tea\nat all"]),
        (["--lines", "1"], ["no tea\nat all"]),
        (["-n", "0"], []),
    ],
)
def test_lines_are_chosen_by_level_text_and_number(jobs, make_run, options, expected):
    run = make_run(status="SUCCESSFUL", log=LOG)

    said = jobs("tail", "--run", str(run.pk), "--json", *options)

    assert [json.loads(line)["text"] for line in said.lines] == expected


def test_there_must_be_such_a_job_or_run(jobs):
    with pytest.raises(CommandError, match="there is no job 'nosuch'"):
        jobs("tail", "nosuch")
    with pytest.raises(CommandError, match="there is no run 7"):
        jobs("tail", "--run", "7")


def test_without_following_it_ends_while_the_run_goes_on(jobs, make_run):
    run = make_run(status="RUNNING", fence=1)
    LogChunk.objects.create(run_id=run.pk, attempt=1, fence=1, written_at=AT, level=20, text=LOG)

    assert jobs("tail", "--run", str(run.pk), "--no-follow").lines == LOG.splitlines()


def test_what_a_run_says_is_followed_to_its_end_and_shown_once(
    jobs, serve, manager, probes, until, monkeypatch
):
    from django_jobs.management.actions import tail

    serve()
    job_id = manager.add_immediate_job(probes.talk)
    assert probes.began.wait(10)
    until(LogChunk.objects.exists)
    naps = []

    def nap(seconds):
        naps.append(seconds)
        if len(naps) == 2:
            probes.go_on.set()
        threading.Event().wait(0.01)

    monkeypatch.setattr(tail.time, "sleep", nap)

    said = jobs("tail", job_id, "--json")

    assert [json.loads(line)["text"] for line in said.lines] == ["one", "careful", "two"]
    assert Run.objects.get(job_id=job_id).status == "SUCCESSFUL"


def test_a_terminal_is_not_sent_what_a_run_made_up(jobs, make_run):
    run = make_run(status="SUCCESSFUL", log=log_lines.line_of(AT, 20, "\x1b]0;owned\x07"))

    assert "\x1b" not in jobs("tail", "--run", str(run.pk))
