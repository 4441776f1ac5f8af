import os
import re
import subprocess
import sys
import zipfile
from importlib.metadata import distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"

PROJECT = {
    "mysite/__init__.py": "",
    "mysite/settings.py": """
SECRET_KEY = "x" * 60
DEBUG = True
ROOT_URLCONF = "mysite.urls"
INSTALLED_APPS = ["django.contrib.contenttypes", "django.contrib.auth", "django_apscheduler", "django_jobs", "shop"]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "mysite.sqlite3"}}
""",
    "mysite/urls.py": "urlpatterns = []\n",
    "shop/__init__.py": "",
    "shop/jobs.py": "def add(a, b):\n    return a + b\n",
    "manage.py": """
import os, sys
os.environ["DJANGO_SETTINGS_MODULE"] = "mysite.settings"
from django.core.management import execute_from_command_line
execute_from_command_line(sys.argv)
""",
    "try_it.py": """
import os
import re
os.environ["DJANGO_SETTINGS_MODULE"] = "mysite.settings"
import django
django.setup()
import django_jobs
from django_jobs import get_job_manager
from shop.jobs import add
manager = get_job_manager()
job_id = manager.add_immediate_job(add, 2, b=3)
manager.start()
print("from", django_jobs.__file__)
print("result", manager.wait(job_id, 20))
manager.shutdown()
""",
}


def run(*command, cwd):
    env = {k: v for k, v in os.environ.items() if k not in {"PYTHONPATH", "DJANGO_SETTINGS_MODULE"}}
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def sqlite_options():
    (text,) = re.findall(
        r'^DATABASES\["default"\]\["OPTIONS"\] = {.*?^}\n', README.read_text(), re.MULTILINE | re.DOTALL
    )
    return text


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    run(
        sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "--no-index",
        "-w", str(folder), str(ROOT), cwd=folder,
    )  # fmt: skip
    (built,) = folder.glob("*.whl")
    return built


def requirements(texts):
    """Return the names of what some lines of Requires-Dist ask for here, and of what that asks for."""
    names = set()
    for text in texts:
        requirement = Requirement(text)
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            name = canonicalize_name(requirement.name)
            names |= {name} | requirements(distribution(name).requires or ())
    return names


def link_what_it_requires(wheel, python):
    """Put what a wheel says that it requires into an environment, as it is installed here, and nothing else."""
    (metadata,) = [name for name in zipfile.ZipFile(wheel).namelist() if name.endswith(".dist-info/METADATA")]
    lines = zipfile.ZipFile(wheel).read(metadata).decode().splitlines()
    required = [line.partition(": ")[2] for line in lines if line.startswith("Requires-Dist: ")]
    packages = Path(
        run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd="/").strip()
    )
    for name in requirements(required):
        found = distribution(name)
        for top in {Path(file).parts[0] for file in found.files} - {"..", "__pycache__"}:
            (packages / top).symlink_to(found.locate_file(top))


@pytest.mark.timeout(300)
def test_the_wheel_has_all_that_the_app_needs_and_nothing_else(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    ours = {str(path.relative_to(ROOT)) for path in (ROOT / "django_jobs").rglob("*") if path.is_file()}
    ours = {name for name in ours if "__pycache__" not in name}

    assert ours <= names
    assert {"django_jobs/py.typed", "django_jobs/migrations/0001_initial.py"} <= names
    (entry_points,) = [name for name in names if name.endswith("/entry_points.txt")]
    assert "[pytest11]" in zipfile.ZipFile(wheel).read(entry_points).decode()
    assert any(name.startswith("django_jobs/templates/") for name in names)
    assert any(name.startswith("django_jobs/static/") for name in names)
    assert {name.split("/")[0] for name in names - ours} == {wheel.name.rsplit("-", 3)[0] + ".dist-info"}


@pytest.mark.timeout(300)
def test_a_project_that_installs_the_wheel_works_after_migrate_with_the_settings_of_the_readme(
    wheel, tmp_path
):
    run(sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "venv"), cwd=tmp_path)
    python = str(tmp_path / "venv" / "bin" / "python")
    link_what_it_requires(wheel, python)
    # Without an index it fails if anything that the wheel asks for is missing, or of another version.
    run(
        sys.executable,
        "-m",
        "pip",
        "--python",
        python,
        "install",
        "-q",
        "--no-index",
        str(wheel),
        cwd=tmp_path,
    )
    for name, text in PROJECT.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    with (tmp_path / "mysite" / "settings.py").open("a") as settings:
        settings.write(sqlite_options())

    assert "no issues" in run(python, "-W", "error", "manage.py", "check", cwd=tmp_path)
    run(python, "manage.py", "migrate", "-v", "0", cwd=tmp_path)
    text = run(python, "try_it.py", cwd=tmp_path)

    assert "result 5" in text
    assert str(tmp_path / "venv") in text
    assert "serves all queues" in run(python, "manage.py", "runjobs", "--drain", cwd=tmp_path)
