import sys
import textwrap

import pytest
from django.db import router

from django_jobs.models import Job, Run, jobs_database
from tests.probes.models import Mark

CODE = """
import sys
sys.path[:0] = {path!r}
import os
os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"
from django.conf import settings
import django
settings.DATABASES["jobs"] = dict(settings.DATABASES["default"], NAME={name!r})
settings.DATABASE_ROUTERS = ["django_jobs.routers.JobsRouter"]
settings.DJANGO_JOBS = {{"DATABASE": "jobs"}}
django.setup()
from django.core.management import call_command
from django.db import connections
from django_jobs import get_job_manager
from tests.probes import jobs
for alias in ("default", "jobs"):
    call_command("migrate", database=alias, verbosity=0, run_syncdb=True)
call_command("check")
tables = {{alias: set(connections[alias].introspection.table_names()) for alias in ("default", "jobs")}}
assert "django_jobs_run" in tables["jobs"] and "django_jobs_run" not in tables["default"], tables
assert "django_apscheduler_djangojob" in tables["jobs"]
manager = get_job_manager()
manager.start()
assert manager.wait(manager.add_immediate_job(jobs.mark, "routed"), 20) == "routed"
manager.add_recurring_job(jobs.mark, 0.2, "again", job_id="r")
manager.run_job("r")
manager.wait("r", 20)
assert manager.get_jobs()[0]["id"] == "r"
assert manager.pause_job("r") and manager.remove_job("r")
manager.shutdown()
from tests.probes.models import Mark
assert Mark.objects.using("default").filter(text="routed").count() == 1
print("all well")
"""


@pytest.mark.timeout(120)
def test_jobs_live_in_a_database_of_their_own_when_the_setting_says_so(tmp_path, child_env, zygote):
    code = CODE.format(name=str(tmp_path / "jobs.sqlite3"), path=child_env["PYTHONPATH"].split(":"))
    env = {
        **child_env,
        "TESTPROJECT_DATABASE": "sqlite",
        "TESTPROJECT_DATABASE_NAME": str(tmp_path / "main.sqlite3"),
    }

    done = zygote.run([sys.executable, "-c", textwrap.dedent(code)], env)

    assert "all well" in done.stdout, done.stdout + done.stderr


def test_without_the_setting_the_router_has_no_opinion(settings):
    settings.DATABASE_ROUTERS = ["django_jobs.routers.JobsRouter"]

    assert jobs_database() == "default"
    assert router.allow_migrate("default", "django_jobs")


def test_the_router_speaks_for_our_tables_only(settings):
    settings.DATABASE_ROUTERS = ["django_jobs.routers.JobsRouter"]
    settings.DJANGO_JOBS = {"DATABASE": "elsewhere"}

    assert [router.db_for_read(model) for model in (Job, Run, Mark)] == ["elsewhere", "elsewhere", "default"]
    assert not router.allow_migrate("default", "django_jobs")
    assert not router.allow_migrate("default", "django_apscheduler")
    assert router.allow_migrate("default", "probes")
