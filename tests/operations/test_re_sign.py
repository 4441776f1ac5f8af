import io
import json

import pytest
from django.core.management import CommandError, call_command

from django_jobs import codec
from django_jobs.models import Event, Job, Run, Step
from django_jobs.operations import re_sign
from django_jobs.testing import drain_jobs
from tests.probes import durable
from tests.probes.models import Mark

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
    found = re_sign.foreign()

    assert [job.pk for job in found.jobs] == ["foreign"]
    assert [run.job_id for run in found.runs] == ["tried", "paused"]


def test_re_signed_rows_run_and_what_was_paused_stays_so(copied):
    text = call("re-sign", "--yes")

    assert "Signed 1 jobs and 2 runs." in text
    assert not re_sign.foreign()
    assert Job.objects.get(pk="foreign").broken_reason == ""
    assert Run.objects.get(job_id="tried").run_after is not None
    assert Run.objects.get(job_id="paused").run_after is None


def test_it_asks_first(copied, monkeypatch):
    monkeypatch.setattr("builtins.input", lambda question: "n")

    assert "Nothing was changed." in call("re-sign")
    assert re_sign.foreign().jobs


def test_where_nobody_can_be_asked_it_says_so(copied, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO())

    with pytest.raises(CommandError, match="add --yes") as error:
        call("re-sign")

    assert error.value.returncode == 2
    assert re_sign.foreign().jobs


def test_it_writes_what_it_signed_as_json(copied):
    runs = list(
        Run.objects.filter(job_id__in=["tried", "paused"]).order_by("pk").values_list("pk", flat=True)
    )

    assert json.loads(call("re-sign", "--yes", "--json")) == {
        "jobs": ["foreign"],
        "runs": runs,
        "steps": 0,
        "events": 0,
        "signed": True,
    }
    assert json.loads(call("re-sign", "--yes", "--json"))["jobs"] == []


def test_it_says_when_there_is_nothing_to_sign(make_job):
    make_job()

    assert call("re-sign", "--yes") == "Nothing waits for a signature.\n"


def test_what_a_fallback_has_signed_is_signed_anew_before_that_key_goes(settings, make_job, make_run):
    old = settings.SECRET_KEY
    make_job(id="recurring")
    make_run(job_id="waits", run_after=None, error="ValueError: held by somebody")
    make_run(job_id="runs", status="RUNNING")
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = "another project's", []
    make_run(job_id="foreign")
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = "new", [old]
    make_job(id="own")

    assert call("re-sign", "--fallbacks", "--yes").endswith("Signed 1 jobs and 2 runs.\n")

    settings.SECRET_KEY_FALLBACKS = []
    found = re_sign.foreign()
    assert [job.pk for job in found.jobs] == []
    assert [run.job_id for run in found.runs] == ["foreign"]
    running = Run.objects.get(job_id="runs")
    codec.verify(running.func, running.payload, running.signature)
    assert Run.objects.get(job_id="waits").run_after is None
    assert (
        call("re-sign", "--fallbacks", "--yes") == "Nothing is signed with a key of SECRET_KEY_FALLBACKS.\n"
    )


@pytest.fixture
def keeping(manager):
    """A run with a step and a cursor that waits for an event, and an event that nobody waits for yet."""
    durable.script[:] = [
        lambda run: run.step(durable.do, "one"),
        lambda run: [row.text for row in run.iterate(Mark.objects.all())],
        lambda run: run.wait_for("signed:17"),
        lambda run: run.wait_for("sent:17"),
    ]
    manager.add_immediate_job(durable.follow_script)
    drain_jobs()
    manager.send_event("sent:17", "before")
    assert Run.objects.get().state == "sleeping"


def go_on(manager):
    manager.send_event("signed:17", "now")
    return drain_jobs()[-1]


def test_what_runs_keep_is_read_with_an_old_key_and_signed_again_before_that_key_goes(
    settings, manager, keeping
):
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = "new", [settings.SECRET_KEY]

    assert "Signed 0 jobs and 1 runs, with 3 steps, and 1 events." in call("re-sign", "--fallbacks", "--yes")

    settings.SECRET_KEY_FALLBACKS = []
    assert go_on(manager).result == ["did one", [], "now", "before"]


def test_a_run_goes_on_with_what_it_keeps_under_a_fallback(settings, manager, keeping):
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = "new", [settings.SECRET_KEY]

    assert go_on(manager).result == ["did one", [], "now", "before"]


def test_a_run_that_is_broken_for_its_steps_goes_on_once_they_are_signed(settings, manager, keeping):
    run = Run.objects.get()
    settings.SECRET_KEY = "new"
    Run.objects.update(signature=codec.sign(run.func, run.payload))
    assert go_on(manager).status == "READY"
    assert Run.objects.get().state == "broken"

    report = json.loads(call("re-sign", "--yes", "--json"))

    # The event that has come meanwhile is signed with the new key already.
    assert report == {"jobs": [], "runs": [], "steps": 2, "events": 1, "signed": True}
    assert drain_jobs()[-1].result == ["did one", [], "now", "before"]


def test_what_was_changed_is_not_signed_again(settings, manager, keeping):
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = "new", [settings.SECRET_KEY]
    Step.objects.filter(kind="step").update(value='"forged"')
    Event.objects.update(payload='"forged"')

    found = re_sign.of_fallbacks()

    assert (len(found.kept), len(found.events)) == (2, 0)
