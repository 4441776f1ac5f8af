"""The machine's own Chromium."""

import os
import shutil

# The first has no windows to draw, and takes half the time.
NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
ARGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip


def find_chromium():
    """Return its path, as DJANGO_JOBS_TEST_CHROMIUM says or where programs are; None without."""
    named = os.environ.get("DJANGO_JOBS_TEST_CHROMIUM")
    return named or next(filter(None, map(shutil.which, NAMES)), None)
