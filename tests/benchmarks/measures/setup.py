"""`django.setup()`, which every command of `manage.py` waits for, with and without the app."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

from django.core.management import call_command

from tests.benchmarks.databases import ROOT
from tests.benchmarks.figures import Figure

NAMES = ("django_apscheduler", "django_jobs")
WITH = f"from mysite.settings import *\nINSTALLED_APPS = [*INSTALLED_APPS, *{NAMES}]\n"
WITHOUT = (
    "from testproject.settings import *\n"
    f"INSTALLED_APPS = [name for name in INSTALLED_APPS if name not in {NAMES}]\n"
)


def measure(*, quick: bool) -> list[Figure]:
    """Measure a project as startproject makes it, and this repository's, whose jobs have schedules."""
    rounds = 5 if quick else 15
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        call_command("startproject", "mysite", name)
        (folder / "mysite" / "with_jobs.py").write_text(WITH)
        (folder / "without_jobs.py").write_text(WITHOUT)
        return [
            _figure("set-up time of a new project", folder, "mysite.with_jobs", "mysite.settings", rounds),
            _figure("set-up time of testproject", folder, "testproject.settings", "without_jobs", rounds),
        ]


def _figure(name: str, folder: Path, with_jobs: str, without: str, rounds: int) -> Figure:
    ours, bare = [], []
    for number in range(rounds + 1):
        seconds, bare_seconds = _cpu_seconds(folder, with_jobs), _cpu_seconds(folder, without)
        if number:  # the first writes the compiled modules
            ours.append(seconds * 1000)
            bare.append(bare_seconds * 1000)
    return Figure(
        name=name,
        unit="ms of CPU",
        values=ours,
        reference="the same without the app",
        reference_values=bare,
        ratio_at_most=1.2,
    )


def _cpu_seconds(folder: Path, settings: str) -> float:
    env = os.environ | {
        "DJANGO_SETTINGS_MODULE": settings,
        "PYTHONPATH": os.pathsep.join(map(str, (folder, ROOT / "testproject", ROOT))),
        "PYTHONPYCACHEPREFIX": str(folder / "compiled"),
    }
    # As they are after the first command: compiled.
    env.pop("PYTHONDONTWRITEBYTECODE", None)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", "import django; django.setup()"], env=env, cwd=folder, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
