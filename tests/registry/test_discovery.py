import os
import sys

import pytest

from django_jobs.registry import discovery


@pytest.fixture
def project(tmp_path, zygote):
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
        done = zygote.run(
            [
                sys.executable,
                "-c",
                "import django; django.setup()\nimport sys\n"
                "from django_jobs.registry.schedules import declarations\n"
                "print(*[one.job_id for one in declarations()], 'shop.tasks' in sys.modules)",
            ],
            {
                **os.environ,
                "DJANGO_SETTINGS_MODULE": "site_of_ours.settings",
                "PYTHONPATH": str(tmp_path),
            },
            cwd=tmp_path,
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


@pytest.fixture
def start(tmp_path, zygote):
    """Return a function that starts Django with an app whose jobs.py raises, in a folder; and its process."""

    def run(folder, text="raise LookupError('a mistake')"):
        app = tmp_path / folder / "theirs"
        app.mkdir(parents=True)
        (app / "__init__.py").touch()
        (app / "jobs.py").write_text(text)
        (tmp_path / "site_of_ours").mkdir()
        (tmp_path / "site_of_ours/__init__.py").touch()
        (tmp_path / "site_of_ours/settings.py").write_text(
            "SECRET_KEY = 'x'\nUSE_TZ = True\n"
            "INSTALLED_APPS = ['django.contrib.contenttypes', 'django_apscheduler', 'django_jobs', 'theirs']\n"
        )
        path = os.pathsep.join([str(tmp_path), str(tmp_path / folder)])
        return zygote.run(
            [sys.executable, "-c", SHOW_FAILURES],
            {**os.environ, "DJANGO_SETTINGS_MODULE": "site_of_ours.settings", "PYTHONPATH": path},
            cwd=tmp_path,
        )

    return run


SHOW_FAILURES = """
import django
django.setup()
from django_jobs.registry import discovery
print(discovery.failures())
"""


def test_a_jobs_module_of_an_installed_package_that_raises_keeps_no_project_from_starting(start):
    done = start("lib/site-packages")

    assert done.returncode == 0, done.stderr
    assert "theirs.jobs cannot be imported" in done.stdout
    assert "LookupError: a mistake" in done.stdout
    assert "theirs.jobs cannot be imported" in done.stderr


def test_a_jobs_module_of_the_project_that_raises_is_an_error_that_says_why_it_was_imported(start):
    done = start("apps")

    assert done.returncode == 1
    assert "LookupError: a mistake" in done.stderr
    assert (
        "django_jobs imports theirs.jobs as Django starts, to find the jobs that it declares" in done.stderr
    )
