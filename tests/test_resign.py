import io

import pytest
from django.core.management import call_command

from django_jobs import resign
from django_jobs.models import Job, Run

pytestmark = pytest.mark.django_db


@pytest.fixture
def copied(settings, make_job, make_run):
    """Rows of another project's database, and one of this."""
    key = settings.SECRET_KEY
    settings.SECRET_KEY = "another project's"
    make_job(id="foreign", broken_reason="signed elsewhere")
    make_run(job_id="tried", run_after=None, error="BadPayload: signed elsewhere")
    # While it waited for its retry, which left an error.
    make_run(job_id="paused", run_after=None, held_run_after="2030-01-01T00:00:00Z", error="ValueError: no")
    make_run(job_id="over", status="SUCCESSFUL")
    settings.SECRET_KEY = key
    make_job(id="own")
    make_run(job_id="mine")


def call(*arguments):
    out = io.StringIO()
    call_command("jobs", *arguments, stdout=out)
    return out.getvalue()


def test_only_unfinished_rows_of_another_key_are_foreign(copied):
    jobs, runs = resign.foreign()

    assert [job.pk for job in jobs] == ["foreign"]
    assert [run.job_id for run in runs] == ["tried", "paused"]


def test_resigned_rows_run_and_what_was_paused_stays_so(copied):
    text = call("resign", "--yes")

    assert "Signed 1 jobs and 2 runs." in text
    assert resign.foreign() == ([], [])
    assert Job.objects.get(pk="foreign").broken_reason == ""
    assert Run.objects.get(job_id="tried").run_after is not None
    assert Run.objects.get(job_id="paused").run_after is None


def test_it_asks_first(copied, monkeypatch):
    monkeypatch.setattr("builtins.input", lambda question: "n")

    assert "Nothing was changed." in call("resign")
    assert resign.foreign()[0]


def test_it_says_when_there_is_nothing_to_sign(make_job):
    make_job()

    assert call("resign", "--yes") == "Nothing waits for a signature.\n"
