"""`python -m tests.browser.screenshots`: pictures of the main pages, into docs/images.

It serves `manage.py demo` for a while, lets some of its jobs fail, and looks at their pages in light and
dark, wide and narrow. The demo's files go to TESTPROJECT_VAR, by default a temporary folder: one that a
demo has run with for an hour makes fuller pictures. Run it from the repository's root.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

from tests.browser.chromium import ARGS, find_chromium

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parent.parent.parent
IMAGES = ROOT / "docs" / "images"
WIDTHS = {"": 1400, "-narrow": 390}
# Of a narrow page, which is long, the beginning.
HEIGHTS = {"": 900, "-narrow": 844}


@contextlib.contextmanager
def demo(env: dict[str, str]) -> Iterator[str]:
    """Serve the demo for the time being; yield its address."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, str(ROOT / "testproject" / "manage.py"), "demo", str(port)]
    process = subprocess.Popen(
        command, env=env, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    url = f"http://127.0.0.1:{port}"
    try:
        end = time.monotonic() + 60
        while True:
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"{url}/admin/login/", timeout=5).close()
                break
            if process.poll() is not None or time.monotonic() > end:
                raise SystemExit("the demo did not start: try `manage.py demo` by itself")
            time.sleep(0.2)
        yield url
    finally:
        process.terminate()
        process.wait(60)


def prepare(seconds: float) -> tuple[str, dict[str, str]]:
    """Have some jobs fail, and wait; return a session of the demo's user, and the addresses of pages."""
    import django

    django.setup()
    from django.contrib.admin.utils import quote
    from django.contrib.auth import get_user_model
    from django.test import Client
    from django.urls import reverse

    from django_jobs import get_job_manager
    from django_jobs.models import Job, Run
    from documents.jobs import ingest_folder
    from reports.jobs import write_report

    manager = get_job_manager()
    for _ in range(3):
        manager.add_immediate_job(ingest_folder, "/no/such/folder")
    manager.add_immediate_job(write_report, "no such format")
    time.sleep(seconds)
    client = Client()
    client.force_login(get_user_model().objects.get(username="admin"))
    job = Job.objects.order_by("pk").first()
    run = Run.objects.filter(status="FAILED").order_by("-pk").first()
    assert job is not None
    assert run is not None
    pages = {
        name: reverse(f"admin:django_jobs_{name}_changelist")
        for name in ("dashboard", "job", "run", "worker")
    }
    pages["job-page"] = reverse("admin:django_jobs_job_change", args=[quote(job.pk)])
    pages["run-page"] = reverse("admin:django_jobs_run_change", args=[quote(run.pk)])
    return client.cookies["sessionid"].value, pages


def take(url: str, session: str, pages: dict[str, str]) -> None:
    """Write a picture of each page, in each look."""
    from playwright.sync_api import sync_playwright

    IMAGES.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=ARGS)
        for scheme in ("light", "dark"):
            for suffix, width in WIDTHS.items():
                context = browser.new_context(
                    base_url=url, color_scheme=scheme, locale="en-US", reduced_motion="reduce",
                    viewport={"width": width, "height": HEIGHTS[suffix]},
                )  # fmt: skip
                context.add_cookies([{"name": "sessionid", "value": session, "url": url}])
                for name, address in pages.items():
                    page = context.new_page()
                    page.goto(address)
                    file = IMAGES / f"{name}-{scheme}{suffix}.png"
                    page.screenshot(path=file, full_page=name == "dashboard" and not suffix)
                    page.close()
                context.close()
        browser.close()


def main() -> None:
    """Make the pictures."""
    parser = argparse.ArgumentParser(prog="python -m tests.browser.screenshots", description=__doc__)
    parser.add_argument(
        "--seconds", type=float, default=40, help="How long the demo runs before. Default: 40."
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ.setdefault("TESTPROJECT_VAR", folder)
        os.environ.setdefault("DJANGO_SETTINGS_MODULE", "testproject.settings")
        paths = [str(ROOT), str(ROOT / "testproject")]
        env = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
        sys.path[:0] = paths
        with demo(env) as url:
            # This process only adds jobs: the demo's executes them.
            os.environ["DJANGO_JOBS_AUTOSTART"] = "0"
            take(url, *prepare(options.seconds))


if __name__ == "__main__":
    main()
