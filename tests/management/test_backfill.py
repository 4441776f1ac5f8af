import pytest
from django.core.management import CommandError

from django_jobs import triggers
from django_jobs.models import Batch, Run

pytestmark = pytest.mark.django_db

TIMES = ("2026-03-01T00:00Z", "2026-03-03T12:00Z")


@pytest.fixture(autouse=True)
def nightly(make_job):
    make_job(id="nightly", trigger=triggers.crontab("0 3 * * *"))


def test_it_says_how_many_runs_it_would_add_and_adds_them(jobs):
    assert jobs("backfill", "nightly", *TIMES, "--dry-run").lines == [
        "Would add 3 runs for 3 scheduled times."
    ]
    assert not Run.objects.exists()
    said, follow = jobs("backfill", "nightly", *TIMES).lines
    assert said == "Added 3 runs for 3 scheduled times."
    assert follow == f"Follow it: manage.py jobs batch show {Batch.objects.get().key}"
    assert "unfinished  3" in jobs(*follow.split()[-3:]).lines
    lines = jobs("backfill", "nightly", "2026-03-01T00:00Z", "2026-03-04T12:00Z").lines
    assert lines[0] == "Added 1 run for 4 scheduled times; 3 of them had a run."


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("nosuch", *TIMES), 1, "nosuch"),
        (("nightly", TIMES[1], TIMES[0]), 2, "is after the end"),
        (("nightly", TIMES[0], "2999-01-01T00:00Z"), 2, "has not come"),
    ],
)
def test_what_it_cannot_do_it_says(jobs, words, code, message):
    with pytest.raises(CommandError, match=message) as refused:
        jobs("backfill", *words)
    assert refused.value.returncode == code


def test_a_job_is_run_as_of_a_time(jobs):
    jobs("run", "nightly", "--as-of", "2026-03-01T03:00Z")
    assert Run.objects.get().scheduled_at.isoformat() == "2026-03-01T03:00:00+00:00"
