"""The command as a process, with the exit codes that scripts go by."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from django_jobs.models import Run

ROOT = Path(__file__).parents[2]


@pytest.fixture
def manage(child_env, zygote):
    """Return a function that runs `manage.py jobs` on this test's database."""

    def run(*arguments, **env):
        command = [sys.executable, str(ROOT / "testproject" / "manage.py"), "jobs", *arguments]
        return zygote.run(command, {**child_env, **env})

    return run


def test_exit_codes_say_what_became_of_it(manage):
    added = manage("add", "tests.probes.jobs:add", "1", "--id", "mine")
    assert (added.returncode, added.stdout, added.stderr) == (0, "mine\n", "")
    assert Run.objects.get().job_id == "mine"

    missing = manage("show", "other")
    assert (missing.returncode, missing.stdout) == (1, "")
    assert missing.stderr == (
        "CommandError: there is no job 'other': `manage.py jobs list` shows what there is\n"
    )

    ill = manage("status", "--exit-code", "--json")
    assert ill.returncode == 1
    assert [problem["code"] for problem in json.loads(ill.stdout)["problems"]] == ["no_worker", "no_clock"]

    assert manage("add", "tests.probes.jobs:add", "text").returncode == 2
    wrong = manage("lisst")
    assert wrong.returncode == 2
    assert "invalid choice: 'lisst'" in wrong.stderr


def test_a_database_without_tables_or_without_answer_has_its_own_code(manage, tmp_path):
    new = {"TESTPROJECT_DATABASE": "sqlite", "TESTPROJECT_DATABASE_NAME": str(tmp_path / "new.sqlite3")}
    empty = manage("list", **new)
    assert empty.returncode == 3
    assert "tables are missing" in empty.stderr
    assert "run `manage.py migrate`" in empty.stderr

    away = manage(
        "status", "--exit-code", **{**new, "TESTPROJECT_DATABASE_NAME": str(tmp_path / "no" / "such.sqlite3")}
    )
    assert away.returncode == 3
    assert "the database does not answer: " in away.stderr
    assert "Traceback" not in away.stderr


def test_a_reader_that_has_enough_is_no_error(child_env, make_run):
    run = make_run(job_id="x" * 200)
    fields = {field.attname: getattr(run, field.attname) for field in Run._meta.concrete_fields}
    del fields["id"]
    Run.objects.bulk_create(Run(**fields) for _ in range(1000))
    command = f"{sys.executable} testproject/manage.py jobs list --all --ids job | head -1"

    done = subprocess.run(
        command, env=child_env, cwd=ROOT, capture_output=True, text=True, timeout=60, shell=True, check=False
    )

    assert (done.stdout, done.stderr) == ("x" * 200 + "\n", "")


def test_colours_can_be_forced_and_forbidden_before_and_after_the_action(manage):
    coloured = {"DJANGO_COLORS": "dark"}

    assert "\x1b[" not in manage("status", **coloured).stdout
    assert "\x1b[" in manage("status", "--force-color", **coloured).stdout
    assert "\x1b[" in manage("--force-color", "status", **coloured).stdout
    assert "\x1b[" not in manage("status", "--no-color", **coloured).stdout
