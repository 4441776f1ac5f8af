"""`python -m tests.browser.screenshots`: pictures of the main pages, into docs/images.

It serves `manage.py demo` in a temporary folder, lets some of its jobs fail, makes up an hour that has gone
before, and looks at the pages in light and dark, wide and narrow. It takes about a minute, and needs Chromium
and `pip install pillow`, which makes the files small. Run it from the repository's root.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

from tests.browser.chromium import ARGS, find_chromium
from tests.children import free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).parent.parent.parent
IMAGES = ROOT / "docs" / "images"
WIDTHS = {"": 1400, "-narrow": 390}
# Of a narrow page, which is long, the beginning.
HEIGHTS = {"": 900, "-narrow": 844}


@contextlib.contextmanager
def demo(env: dict[str, str]) -> Iterator[str]:
    """Serve the demo for the time being; yield its address."""
    port = free_port()
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


def prepare() -> tuple[str, dict[str, str]]:
    """Have some jobs fail, and make up a past; return a session of the demo's user, and addresses of pages."""
    import django

    django.setup()
    from django.contrib.admin.utils import quote
    from django.contrib.auth import get_user_model
    from django.test import Client
    from django.urls import reverse

    from django_jobs import get_job_manager
    from django_jobs.models import Run, Worker
    from documents.jobs import ingest_folder
    from reports.jobs import write_report
    from tests.browser import history

    manager = get_job_manager()
    manager.add_immediate_job(ingest_folder, "/no/such/folder", job_id="import-archive")
    manager.add_immediate_job(write_report, "pdf", job_id="report-as-pdf")
    failed = Run.objects.filter(status="FAILED", job_id__in=["import-archive", "report-as-pdf"])
    wait_for(lambda: failed.count() == 2, "the demo's jobs did not run")
    wait_for(
        lambda: Run.objects.finished().filter(job_id__startswith="demo-report").values("job_id").distinct().count() == 2,
        "the demo's schedules did not fire",
    )  # fmt: skip
    history.make_up()
    client = Client()
    client.force_login(get_user_model().objects.get(username="admin"))

    def page(row):
        return reverse(f"admin:django_jobs_{row._meta.model_name}_change", args=[quote(row.pk)])

    return client.cookies["sessionid"].value, {
        "dashboard": reverse("admin:django_jobs_dashboard_changelist"),
        "jobs": reverse("admin:django_jobs_job_changelist"),
        "job": reverse("admin:django_jobs_job_change", args=["demo-report"]),
        "runs": reverse("admin:django_jobs_run_changelist"),
        "run": page(Run.objects.filter(status="FAILED").latest("pk")),
        "worker": page(Worker.objects.filter(stopped_at=None).latest("heartbeat_at")),
    }


def wait_for(is_there: Callable[[], bool], otherwise: str) -> None:
    """Wait until something is there."""
    end = time.monotonic() + 120
    while not is_there():
        if time.monotonic() > end:
            raise SystemExit(otherwise)
        time.sleep(0.5)


def take(url: str, session: str, pages: dict[str, str]) -> None:
    """Write a picture of each page, in each look."""
    from playwright.sync_api import sync_playwright

    IMAGES.mkdir(parents=True, exist_ok=True)
    for old in IMAGES.glob("*.png"):
        old.unlink()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=ARGS)
        for scheme in ("light", "dark"):
            for suffix, width in WIDTHS.items():
                context = browser.new_context(
                    base_url=url, color_scheme=scheme, locale="en-US", reduced_motion="reduce",
                    viewport={"width": width, "height": HEIGHTS[suffix]},
                )  # fmt: skip
                context.add_cookies([{"name": "sessionid", "value": session, "url": url}])
                # The menu of models takes the room of what is to be seen.
                context.add_init_script("localStorage.setItem('django.admin.navSidebarIsOpen', 'false')")
                page = context.new_page()
                for name, address in pages.items():
                    # Of the dashboard more, where a page is wide.
                    height = 1250 if name == "dashboard" and not suffix else HEIGHTS[suffix]
                    page.set_viewport_size({"width": width, "height": height})
                    page.goto(address)
                    page.locator(".django-jobs-live-text:not(:empty)").wait_for()
                    save(page.screenshot(), IMAGES / f"{name}-{scheme}{suffix}.png")
                context.close()
        browser.close()


def save(picture: bytes, file: Path) -> None:
    """Write a picture with few colours."""
    from PIL import Image

    image = Image.open(io.BytesIO(picture)).convert("RGB")
    image.quantize(128, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE).save(file, optimize=True)


def main() -> None:
    """Make the pictures."""
    parser = argparse.ArgumentParser(prog="python -m tests.browser.screenshots", description=__doc__)
    parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["TESTPROJECT_VAR"] = folder
        os.environ.setdefault("DJANGO_SETTINGS_MODULE", "testproject.settings")
        paths = [str(ROOT), str(ROOT / "testproject")]
        env = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
        sys.path[:0] = paths
        with demo(env) as url:
            # This process only adds jobs: the demo's executes them.
            os.environ["DJANGO_JOBS_AUTOSTART"] = "0"
            take(url, *prepare())


if __name__ == "__main__":
    main()
