import os
import subprocess
import sys

import pytest

from django_jobs.registry import discovery


@pytest.fixture
def project(tmp_path):
    """Return a function that asks a project of these files what it declares."""

    def declared(**files):
        for name, text in files.items():
            path = tmp_path / f"{name.replace('__', '/')}.py"
            path.parent.mkdir(exist_ok=True)
            (path.parent / "__init__.py").touch()
            path.write_text(text)
        (tmp_path / "site_of_ours").mkdir(exist_ok=True)
        (tmp_path / "site_of_ours/__init__.py").touch()
        (tmp_path / "site_of_ours/settings.py").write_text(
            "SECRET_KEY = 'x'\nUSE_TZ = True\n"
            "INSTALLED_APPS = ['django.contrib.contenttypes', 'django_apscheduler', 'django_jobs', 'shop']\n"
        )
        (tmp_path / "shop").mkdir(exist_ok=True)
        (tmp_path / "shop/__init__.py").touch()
        done = subprocess.run(
            [
                sys.executable,
                "-c",
                "import django; django.setup()\nimport sys\n"
                "from django_jobs.registry.schedules import declarations\n"
                "print(*[one.job_id for one in declarations()], 'shop.tasks' in sys.modules)",
            ],
            cwd=tmp_path,
            env={
                **os.environ,
                "DJANGO_SETTINGS_MODULE": "site_of_ours.settings",
                "PYTHONPATH": str(tmp_path),
            },
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.split()

    return declared


DECLARED = """
from django_jobs import recurring

@recurring(minutes=5)
def tidy():
    pass
"""


def test_schedules_are_found_in_tasks_and_in_the_package_of_the_settings(project):
    found = project(
        shop__jobs=DECLARED,
        shop__tasks=DECLARED.replace("tidy", "sweep"),
        site_of_ours__jobs=DECLARED,
        site_of_ours__tasks=DECLARED.replace("tidy", "sweep"),
    )

    assert found == [
        "shop.jobs:tidy",
        "shop.tasks:sweep",
        "site_of_ours.jobs:tidy",
        "site_of_ours.tasks:sweep",
        "True",
    ]


def test_a_tasks_module_that_is_about_something_else_is_not_imported(project):
    assert project(shop__tasks="raise ImportError('celery is not installed here')") == ["False"]


def test_a_module_without_a_package_is_no_mistake():
    discovery._import_if_ours("os.path.tasks")
    discovery._import_if_ours("no_such_package_anywhere.tasks")
