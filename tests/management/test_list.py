import json
import re

import pytest
from django.core.management import CommandError


def cells(said):
    return [re.split(r"  +", line) for line in said.lines]


def test_what_is_still_to_run_is_listed_in_a_table(jobs, make_job, make_run):
    make_job(id="nightly", queue_name="reports")
    make_run(job_id="waits")
    run = make_run(job_id="executes", status="RUNNING", progress={"done": 5, "total": 20, "message": "pages"})
    make_run(job_id="over", status="FAILED")

    head, *rows = cells(jobs("list"))

    assert head == ["STATUS", "JOB", "RUN", "QUEUE", "WHEN", "FUNCTION", "MORE"]
    assert [row[:2] for row in rows] == [
        ["running", "executes"],
        ["queued", "waits"],
        ["scheduled", "nightly"],
    ]
    assert rows[0][2] == str(run.pk)
    assert rows[0][-1] == "5 of 20 (25%) pages"
    assert rows[2][2:4] == ["-", "reports"]
    assert rows[2][-1] == "every minute"


def test_times_are_in_the_projects_zone(jobs, make_run, settings):
    run = make_run(status="FAILED")
    settings.TIME_ZONE = "Asia/Tokyo"

    assert (
        f"{run.finished_at.hour + 9 - 24 * (run.finished_at.hour >= 15):02}:{run.finished_at:%M:%S}"
        in jobs("list", "--status", "failed")
    )


def test_an_empty_list_says_so(jobs):
    assert jobs("list").lines == ["There is nothing to list."]
    assert json.loads(jobs("list", "--json").out.getvalue()) == {"entries": [], "next": None}


def test_filters_are_those_of_the_listing(jobs, make_run):
    make_run(job_id="a", status="FAILED", queue_name="mail", error="ValueError: no")
    make_run(job_id="b", status="FAILED", queue_name="mail", func="tests.probes.jobs:mark")
    make_run(job_id="c", status="SKIPPED", queue_name="other")
    make_run(job_id="d", status="SKIPPED", queue_name="rest")

    def listed(*arguments):
        return sorted(row[1] for row in cells(jobs("list", *arguments))[1:])

    assert listed("--status", "failed") == ["a", "b"]
    assert listed("--status", "failed", "--status", "skipped") == ["a", "b", "c", "d"]
    assert listed("--status", "finished", "--queue", "mail", "--queue", "other") == ["a", "b", "c"]
    assert listed("--status", "finished", "--func", "tests.probes.jobs:mark") == ["b"]
    assert listed("--status", "finished", "--job", "c") == ["c"]
    assert "ValueError: no" in jobs("list", "--status", "failed")


def test_a_list_that_ended_early_says_how_to_go_on(jobs, make_run):
    for number in range(3):
        make_run(job_id=f"job {number}", status="FAILED", queue_name="my mail")

    first = jobs("list", "--status", "failed", "--queue", "my mail", "--limit", "2")
    *_, last = first.lines

    assert last.startswith(
        "There may be more: manage.py jobs list --status failed --queue 'my mail' --after "
    )
    place = last.rpartition(" ")[2]
    rest = jobs("list", "--status", "failed", "--queue", "my mail", "--after", place)
    assert [row[1] for row in cells(rest)[1:]] == ["job 0"]
    with pytest.raises(CommandError, match="--after='x' is not where a list") as wrong:
        jobs("list", "--after", "x")
    assert wrong.value.returncode == 2


def test_json_has_the_entries_and_the_next_place(jobs, make_run, make_job):
    run = make_run(status="SUCCESSFUL", result="[1, 2]")
    make_job(id="nightly")

    listed = json.loads(jobs("list", "--json", "--status", "finished").out.getvalue())

    assert listed["next"] is None
    (entry,) = listed["entries"]
    assert (entry["run_id"], entry["result"], entry["status"]) == (run.pk, [1, 2], "successful")
    assert json.loads(jobs("list", "--json").out.getvalue())["entries"][0]["run_id"] is None


def test_all_goes_from_page_to_page(jobs, make_run, monkeypatch):
    monkeypatch.setattr("django_jobs.management.actions.list.BATCH", 2)
    for _ in range(5):
        make_run(status="FAILED")

    said = jobs("list", "--all", "--status", "failed")

    assert [row[0] for row in cells(said)] == ["STATUS"] + ["failed"] * 5
    assert (
        len(json.loads(jobs("list", "--all", "--status", "failed", "--json").out.getvalue())["entries"]) == 5
    )


def test_a_part_of_the_history_without_an_entry_is_not_the_end(jobs, make_run, monkeypatch):
    monkeypatch.setattr("django_jobs.operations.run_query.pages.LOOKED_AT", 10)
    make_run(job_id="old", status="SUCCESSFUL")
    for _ in range(25):
        make_run()

    assert cells(jobs("list", "--status", "successful"))[1][1] == "old"
    monkeypatch.setattr("django_jobs.management.actions.list.MOST_SEARCHES", 2)
    (line,) = jobs("list", "--status", "successful").lines
    assert line.startswith("There may be more: manage.py jobs list --status successful --after ")


def test_ids_alone_can_be_given_to_another_action(jobs, make_run, make_job, monkeypatch):
    make_job(id="nightly")
    run = make_run(job_id="waits")

    assert jobs("list", "--ids", "job").lines == ["waits", "nightly"]
    assert jobs("list", "--ids", "run").lines == [str(run.pk)]
    limited = jobs("list", "--ids", "job", "--limit", "1")
    assert limited.lines == ["waits"]
    assert "There may be more" in limited.err.getvalue()
    with pytest.raises(CommandError, match="exclude each other"):
        jobs("list", "--ids", "job", "--json")


def test_what_rows_hold_does_nothing_to_a_terminal(jobs, make_run):
    make_run(job_id="\x1b[31mred\nline\x07", status="FAILED", error="a\rb\u202e\x9b2J")

    said = jobs("list", "--status", "failed")

    assert len(said.lines) == 2
    assert "\\x1b[31mred\\nline\\x07" in said
    assert "a\\rb\\u202e\\x9b2J" in said


def test_due_runs_say_what_keeps_them(jobs, make_run, make_worker, manager):
    make_worker(queues=["mail", "slow"])
    manager.pause_queue("slow")
    for name in ("mail", "slow", "gpu"):
        make_run(queue_name=name, job_id=f"in-{name}")

    lines = {
        line.split()[1]: line for line in jobs("list", "--status", "queued").out.getvalue().splitlines()[1:]
    }

    assert lines["in-slow"].endswith("its queue is paused")
    assert lines["in-gpu"].endswith("no live worker serves its queue")
    assert "queue" not in lines["in-mail"].partition("tests.")[2]
