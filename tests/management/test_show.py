import json
import re

import pytest
from django.core.management import CommandError

from django_jobs import codec
from django_jobs.models import Run
from django_jobs.testing import drain_jobs
from tests.probes import durable


def cells(said):
    return [re.split(r"  +", line) for line in said.lines]


def test_a_job_is_shown_with_its_runs_and_without_its_secrets(jobs, manager, probes, make_run):
    manager.add_recurring_job(probes.log_in, 60, "ada", "hunter2", job_id="sign-in")
    for error in ("", "ValueError: no"):
        make_run(job_id="sign-in", status="FAILED" if error else "SUCCESSFUL", error=error)

    said = jobs("show", "sign-in")

    assert ["arguments", '"ada", "********************"'] in cells(said)
    assert ["trigger", "every minute"] in cells(said)
    assert "hunter2" not in said
    assert [line[0] for line in cells(said)[-2:]] == ["failed", "successful"]
    assert len(jobs("show", "sign-in", "--limit", "1").lines) == len(said.lines) - 1
    shown = json.loads(jobs("show", "sign-in", "--json").out.getvalue())
    assert shown["kind"] == "recurring"
    assert [run["status"] for run in shown["runs"]] == ["FAILED", "SUCCESSFUL"]


def test_a_run_is_shown_with_its_errors_and_its_log(jobs, make_run):
    errors = [{"attempt": 1, "worker_id": "w", "error": "ValueError: no", "traceback": "Traceback\n  line"}]
    payload = codec.dump_arguments((1,), {"name": "x"})
    run = make_run(
        job_id="nightly", status="FAILED", errors=errors, log="one\ntwo", result="7", payload=payload
    )

    said = jobs("show", "--run", str(run.pk))

    assert ["job", "nightly"] in cells(said)
    assert ["arguments", '1, name="x"'] in cells(said)
    assert ["result", "7"] in cells(said)
    assert ["attempt", "1 on w"] in cells(said)
    assert "traceback  Traceback\n             line" in said
    assert said.lines[-2:] == ["log  one", "     two"]
    assert json.loads(jobs("show", "--run", str(run.pk), "--json").out.getvalue())["errors"] == errors


def test_what_is_not_there_cannot_be_shown(jobs, make_job):
    make_job(id="nightly")

    with pytest.raises(CommandError, match="there is no job 'nigthly': did you mean nightly") as missing:
        jobs("show", "nigthly")
    assert missing.value.returncode == 1
    with pytest.raises(CommandError, match=r"there is no job 'x': `manage.py jobs list` shows what there is"):
        jobs("show", "x")
    with pytest.raises(CommandError, match="there is no run 7"):
        jobs("show", "--run", "7")


def test_a_run_is_shown_with_what_it_has_kept(jobs, manager):
    durable.script[:] = [lambda run: run.step(durable.do, "one"), lambda run: run.sleep(60)]
    manager.add_immediate_job(durable.follow_script)
    drain_jobs()
    run = Run.objects.get()

    said = jobs("show", "--run", str(run.pk))

    rows = [line[:3] for line in cells(said)]
    assert ["step", "do", "done"] in rows
    assert ["sleep", "sleep", "waiting"] in rows
    kept = json.loads(jobs("show", "--run", str(run.pk), "--json").out.getvalue())["kept"]
    assert [(step["name"], step["value"]) for step in kept] == [("do", "did one"), ("sleep", None)]
