"""A small project's own tests, run as its people would run them."""

import os
import sys
import tomllib
from pathlib import Path

import pytest

from tests.zygote import run_in_full

ROOT = Path(__file__).parent.parent

FILES = {
    "mysite/__init__.py": "",
    "mysite/settings.py": """
SECRET_KEY = "x" * 60
INSTALLED_APPS = ["django.contrib.contenttypes", "django.contrib.auth", "django_apscheduler", "django_jobs", "shop"]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "mysite.sqlite3"}}
""",
    "pytest.ini": "[pytest]\nDJANGO_SETTINGS_MODULE = mysite.settings\npython_files = test_*.py\n",
    "manage.py": """
import os, sys
os.environ["DJANGO_SETTINGS_MODULE"] = "mysite.settings"
from django.core.management import execute_from_command_line
execute_from_command_line(sys.argv)
""",
    "shop/__init__.py": "",
    "shop/jobs.py": """
from django.contrib.auth.models import Group

from django_jobs import get_job_manager


def open_branch(name):
    Group.objects.create(name=name)
    return name


async def open_branch_async(name):
    await Group.objects.acreate(name=name)


def plan_branches(*names):
    for name in names:
        get_job_manager().add_immediate_job(open_branch, name)
""",
    "shop/test_with_pytest.py": """
import threading
from datetime import datetime, timedelta, timezone

import pytest
import time_machine
from django.contrib.auth.models import Group
from django.db import connection

from django_jobs import get_job_manager
from shop.jobs import open_branch, open_branch_async, plan_branches


def names():
    return sorted(Group.objects.values_list("name", flat=True))


def test_in_a_transaction(jobs):
    assert connection.in_atomic_block
    get_job_manager().add_immediate_job(plan_branches, "north", "south")
    jobs.assert_added(plan_branches, args=["north", "south"])
    jobs.drain()
    assert names() == ["north", "south"]


def test_what_the_last_test_did_is_gone(jobs):
    assert names() == []
    assert jobs.drain() == []


@pytest.mark.django_db(transaction=True)
def test_marked_as_transactional(jobs):
    assert not connection.in_atomic_block
    get_job_manager().add_immediate_job(open_branch_async, "east")
    jobs.drain(raise_errors=True)
    assert names() == ["east"]


def test_with_transactional_db(transactional_db, jobs):
    assert not connection.in_atomic_block
    get_job_manager().add_immediate_job(open_branch, "west")
    assert jobs.run(jobs.added[0]) == "west"


def test_schedules(jobs):
    monday = datetime(2031, 3, 3, tzinfo=timezone.utc)
    with time_machine.travel(monday, tick=False) as traveller:
        get_job_manager().add_cron_job(open_branch, "0 6 * * tue", "weekly")
        assert jobs.drain() == []
        traveller.shift(timedelta(hours=30))
        assert [one.result for one in jobs.drain()] == ["weekly"]


def test_no_thread_of_ours_runs():
    assert not [thread for thread in threading.enumerate() if "django_jobs" in thread.name]
    assert not get_job_manager().is_running
""",
    "shop/tests.py": """
import threading

from django.contrib.auth.models import Group
from django.db import connection
from django.test import TestCase, TransactionTestCase

from django_jobs import get_job_manager
from django_jobs.testing import JobsMixin, capture_jobs
from shop.jobs import open_branch, open_branch_async, plan_branches


class InATransaction(JobsMixin, TestCase):
    @classmethod
    def setUpTestData(cls):
        get_job_manager().add_immediate_job(open_branch, "before")

    def test_jobs_are_captured_and_executed(self):
        self.assertTrue(connection.in_atomic_block)
        get_job_manager().add_immediate_job(plan_branches, "north")
        self.jobs.assert_added(plan_branches, args=["north"])
        self.assertEqual(len(self.jobs.drain(raise_errors=True)), 3)
        self.assertEqual(Group.objects.count(), 2)

    def test_again_with_what_was_set_up(self):
        self.jobs.assert_not_added()
        self.assertEqual([one.result for one in self.jobs.drain()], ["before"])
        self.assertFalse([thread for thread in threading.enumerate() if "django_jobs" in thread.name])
        self.assertFalse(get_job_manager().is_running)


class InAsyncCode(JobsMixin, TestCase):
    async def test_jobs_are_captured_and_executed(self):
        await get_job_manager().aadd_immediate_job(open_branch_async, "async")
        (one,) = await self.jobs.adrain()
        self.assertEqual(one.status, "SUCCESSFUL", one)
        self.assertEqual(await Group.objects.acount(), 1)


class Committed(TransactionTestCase):
    def test_jobs_are_captured_and_executed(self):
        self.assertFalse(connection.in_atomic_block)
        with capture_jobs() as jobs:
            get_job_manager().add_immediate_job(open_branch, "south")
            jobs.drain()
        self.assertEqual(Group.objects.get().name, "south")
""",
}


@pytest.fixture
def project(tmp_path, zygote):
    """The project, and a function that runs a command in it with the package and its plugin installed."""
    for name, text in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    # As an installer writes it; what tests run on may have been installed before there was a plugin.
    plugins = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]["pytest11"]
    info = tmp_path / "installed" / "django_durable_jobs_here-1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: django-durable-jobs-here\nVersion: 1\n")
    lines = [f"{name} = {module}" for name, module in plugins.items()]
    (info / "entry_points.txt").write_text("\n".join(["[pytest11]", *lines, ""]))

    def run(*command, start=zygote.run, **env):
        clean = {
            name: value for name, value in os.environ.items() if not name.startswith(("DJANGO_", "PYTEST"))
        }
        paths = os.pathsep.join([str(ROOT), str(info.parent)])
        done = start(
            [sys.executable, "-W", "error", *command], {**clean, "PYTHONPATH": paths, **env}, cwd=tmp_path
        )
        return done.returncode, done.stdout + done.stderr

    run.folder = tmp_path
    return run


# Wanted by hand, which is when it would.
AUTOSTART = {"DJANGO_JOBS_AUTOSTART": "1"}


def test_a_project_tests_its_jobs_with_pytest(project):
    code, text = project("-m", "pytest", "-q", **AUTOSTART)

    assert code == 0, text
    assert "6 passed" in text


def test_a_project_tests_its_jobs_with_djangos_test_cases_under_pytest(project):
    code, text = project("-m", "pytest", "-q", "shop/tests.py", **AUTOSTART)

    assert code == 0, text
    assert "4 passed" in text


@pytest.mark.parametrize("options", [[], ["--parallel", "2"]], ids=["one process", "parallel"])
def test_a_project_tests_its_jobs_with_manage_py_test(options, project):
    code, text = project("manage.py", "test", "shop.tests", *options, **AUTOSTART)

    assert code == 0, text
    assert "Ran 4 tests" in text


@pytest.mark.parametrize(
    "command", [["-m", "unittest", "test_alone"], ["test_alone.py"]], ids=["module", "script"]
)
def test_plain_unittest_starts_nothing(command, project):
    (project.folder / "test_alone.py").write_text("""
import os, threading, unittest

class Test(unittest.TestCase):
    def test_no_thread_of_ours_runs(self):
        os.environ["DJANGO_SETTINGS_MODULE"] = "mysite.settings"
        import django
        django.setup()
        from django_jobs import get_job_manager
        self.assertFalse(get_job_manager().is_running)
        self.assertFalse([thread for thread in threading.enumerate() if "django_jobs" in thread.name])

if __name__ == "__main__":
    unittest.main()
""")

    code, text = project(*command, **AUTOSTART)

    assert code == 0, text
    assert "Ran 1 test" in text


def test_a_process_of_djangos_runner_that_sets_itself_up_starts_nothing(project):
    # As its workers do where processes are not forked.
    (project.folder / "spawned.py").write_text("""
import ctypes, multiprocessing, os, threading
os.environ["DJANGO_SETTINGS_MODULE"] = "mysite.settings"
multiprocessing.set_start_method("spawn", force=True)
from django.test import runner
runner._worker_id = 0
counter = multiprocessing.Value(ctypes.c_int, 0)
try:
    runner._init_worker(counter, initial_settings="mysite.settings", serialized_contents={}, used_aliases=set())
finally:
    from django.apps import apps
    assert apps.ready
    assert not [thread for thread in threading.enumerate() if "django_jobs" in thread.name]
    print("nothing was started")
""")

    _, text = project("spawned.py", **AUTOSTART)

    assert "nothing was started" in text, text


def test_a_failure_says_what_it_is_about_and_shows_the_test_only(project):
    (project.folder / "shop" / "test_wrong.py").write_text("""
from django_jobs import get_job_manager
from shop.jobs import open_branch

def test_wrong(jobs):
    get_job_manager().add_immediate_job(open_branch, "north", job_id="a")
    jobs.assert_added(open_branch, args=["south"])
""")

    code, text = project("-m", "pytest", "-q", "shop/test_wrong.py")

    assert code == 1
    assert (
        "AssertionError: shop.jobs:open_branch with args=['south'] was to be added once, and was never."
        in text
    )
    assert "  shop.jobs:open_branch('north') id='a'" in text
    assert "    args is ('north',), not ['south']" in text
    assert "django_jobs/testing.py" not in text


def test_the_plugin_may_be_named_and_may_be_left_out(project):
    named, text = project("-m", "pytest", "-q", "-p", "django_jobs.pytest_plugin", "shop/test_with_pytest.py")
    assert named == 0, text

    left_out, text = project(
        "-m", "pytest", "-q", "-p", "no:django_jobs.pytest_plugin", "shop/test_with_pytest.py"
    )
    assert left_out == 1
    assert "fixture 'jobs' not found" in text


def test_a_project_without_django_is_none_of_the_plugins_business(project, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    (other / "pytest.ini").write_text("[pytest]\n")
    (other / "test_other.py").write_text(
        "import sys\n\ndef test_other():\n    assert 'django_jobs.pytest_plugin' in sys.modules\n"
        "    assert 'django.db' not in sys.modules\n"
    )

    code, text = project("-m", "pytest", "-q", "-p", "no:django", str(other), start=run_in_full)

    assert code == 0, text
