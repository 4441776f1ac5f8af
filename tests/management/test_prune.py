import json
from datetime import timedelta

import pytest
from django.core.management import CommandError
from django.utils import timezone

from django_jobs.models import Run

pytestmark = pytest.mark.django_db


@pytest.fixture
def old(make_run):
    """Runs of one job that finished some days ago, with the days."""
    for days in (100, 50, 10):
        at = timezone.now() - timedelta(days=days)
        make_run(job_id="a", status="SUCCESSFUL", enqueued_at=at, finished_at=at, run_after=at)


def test_without_options_the_settings_are_the_limits(jobs, old, settings):
    assert jobs("prune").lines == ["Deleted 1 run."]
    settings.DJANGO_JOBS = {**settings.DJANGO_JOBS, "KEEP_DAYS": None, "KEEP_RUNS_PER_JOB": 1}
    assert jobs("prune").lines == ["Deleted 1 run."]
    assert Run.objects.count() == 1


def test_an_option_is_the_only_limit(jobs, old):
    assert jobs("prune", "--keep-runs-per-job", "3").lines == ["Deleted nothing."]
    assert jobs("prune", "--keep-days", "30").lines == ["Deleted 2 runs."]


def test_a_dry_run_only_counts(jobs, old):
    said = jobs("prune", "--keep-days", "0.5", "--dry-run", "--json")

    counts = {"runs": 3, "workers": 0, "rollups": 0, "batches": 0}
    assert json.loads(said.out.getvalue()) == {**counts, "is_complete": True}
    assert jobs("prune", "--keep-days", "0.5", "--dry-run").lines == ["Would delete 3 runs."]
    assert Run.objects.count() == 3


def test_no_limit_at_all_is_a_mistake(jobs, settings):
    settings.DJANGO_JOBS = {**settings.DJANGO_JOBS, "KEEP_DAYS": None, "KEEP_RUNS_PER_JOB": None}

    with pytest.raises(
        CommandError, match="no limit is set: say --keep-days or --keep-runs-per-job"
    ) as wrong:
        jobs("prune")

    assert wrong.value.returncode == 2


@pytest.mark.parametrize("days", ["-1", "nan", "inf", "x"])
def test_days_are_a_number(days, jobs):
    with pytest.raises(CommandError, match="is not a number of days from 0 to 36525"):
        jobs("prune", f"--keep-days={days}")
