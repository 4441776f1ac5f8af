import builtins
import json
import re
from datetime import UTC, datetime

import pytest
from django.core.management import CommandError

from django_jobs.models import Job
from tests.probes import jobs as probes

AT = datetime(2090, 1, 2, 3, 4, tzinfo=UTC)


@pytest.fixture
def old_jobs(old):
    """Two jobs that can be imported, and one that cannot."""
    old.add_job(probes.add, "interval", minutes=30, args=[1], id="often", next_run_time=AT)
    old.add_job(probes.nothing, "cron", hour=3, id="nightly", next_run_time=None)
    old.add_job(probes.give, "interval", hours=1, args=[1j], id="odd")
    return old


@pytest.fixture
def good_jobs(old_jobs):
    old_jobs.remove_job("odd")
    return old_jobs


def test_a_dry_run_shows_what_would_be_and_fails_where_something_is_refused(jobs, old_jobs):
    with pytest.raises(CommandError, match="2 of 3 jobs would be imported; the others stay") as wrong:
        jobs("import-apscheduler", "--dry-run")

    assert wrong.value.returncode == 1
    heads, nightly, odd, often = jobs.last.lines
    assert heads.split() == ["JOB", "FUNCTION", "TRIGGER", "NEXT", "RUN", "REMARKS"]
    assert "paused" in nightly
    assert "REFUSED: its pickle names builtins.complex" in odd
    assert re.match(r"often +tests.probes.jobs:add +every 30 minutes +2090-01-02 ", often)
    assert "1 s late" in often
    assert not Job.objects.exists()


def test_jobs_are_imported_and_the_rest_is_said(jobs, old_jobs):
    with pytest.raises(CommandError, match="2 of 3 jobs were imported") as wrong:
        jobs("import-apscheduler", "--yes")

    assert wrong.value.returncode == 1
    assert sorted(Job.objects.values_list("pk", flat=True)) == ["nightly", "often"]


def test_when_all_are_imported_it_succeeds_and_once_more_does_nothing(jobs, good_jobs):
    assert jobs("import-apscheduler", "--yes").lines[-1] == "2 of 2 jobs were imported."
    assert "no jobs here to import" in jobs("import-apscheduler", "--yes")
    assert Job.objects.count() == 2


def test_some_can_be_chosen_and_one_that_is_not_there_stops_all(jobs, old_jobs):
    assert "1 of 1" in jobs("import-apscheduler", "often", "--yes", "--run-late")
    assert Job.objects.get().misfire_grace_time is None

    with pytest.raises(CommandError, match="no job 'often' that is not imported yet"):
        jobs("import-apscheduler", "nightly", "often", "--yes")
    assert Job.objects.count() == 1


@pytest.mark.parametrize(("answer", "count"), [("y", 2), ("n", 0)])
def test_a_person_is_asked_whether_the_old_scheduler_is_stopped(jobs, good_jobs, monkeypatch, answer, count):
    asked = []
    monkeypatch.setattr(builtins, "input", lambda question: asked.append(question) or answer)

    if count:
        jobs("import-apscheduler")
    else:
        with pytest.raises(CommandError, match="nothing was changed"):
            jobs("import-apscheduler")

    assert asked == [
        "Is the old scheduler stopped everywhere, and do you want to import these 2 jobs? [y/N] "
    ]
    assert Job.objects.count() == count


def test_where_nobody_can_answer_yes_must_be_said(jobs, good_jobs, monkeypatch):
    def nobody(question):
        raise EOFError

    monkeypatch.setattr(builtins, "input", nobody)
    with pytest.raises(CommandError, match="add --yes") as wrong:
        jobs("import-apscheduler")

    assert wrong.value.returncode == 2
    assert not Job.objects.exists()


def test_json_says_all_of_it(jobs, old_jobs):
    with pytest.raises(CommandError):
        jobs("import-apscheduler", "--yes", "--json")

    said = json.loads(jobs.last.out.getvalue())
    assert (said["dry_run"], said["imported"]) == (False, ["nightly", "often"])
    nightly, odd, often = said["jobs"]
    assert often == {
        "id": "often",
        "func": "tests.probes.jobs:add",
        "trigger": "every 30 minutes",
        "next_run_time": AT.isoformat(),
        "problem": "",
        "notes": ["skipped when it is more than 1 s late, APScheduler's default: see --run-late"],
    }
    assert nightly["next_run_time"] is None
    assert "builtins.complex" in odd["problem"]
