"""The page of a batch, in both colours and widths."""

import os
from pathlib import Path

import pytest

from django_jobs import get_job_manager
from django_jobs.models import Batch
from django_jobs.testing import drain_jobs
from tests.browser.accessibility import assert_accessible
from tests.browser.playwright_thread import expect
from tests.probes import parts


def nightly(names=6):
    """A batch in the middle of its work, with something that failed."""
    manager = get_job_manager()
    batch = manager.batch("nightly import of all museums")
    loaded = [batch.using(name=f"load museum {n}").add(parts.give, n) for n in range(names)]
    broken = batch.using(name="load the archive").add(parts.fail)
    drain_jobs(fire=False)
    merged = batch.using(name="merge").add(parts.total, loaded)
    batch.using(name="publish what was merged").add(parts.give, merged)
    batch.using(name="index the archive").add(parts.give, broken).then(parts.give)
    batch.close()
    return batch


def address(batch):
    return f"/admin/django_jobs/batch/{Batch.objects.get(key=batch.id).pk}/change/"


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1440, 390])
def test_the_page_of_a_batch_is_accessible_and_does_not_overflow(open_page, dark, width):
    batch = nightly()
    page = open_page(dark=dark, width=width)
    page.goto(address(batch))

    expect(page.locator(".jobs-node")).to_have_count(11)
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    if folder := os.environ.get("BATCH_PICTURES"):
        page.screenshot(
            path=Path(folder) / f"batch-{width}-{'dark' if dark else 'light'}.png", full_page=True
        )
    assert_accessible(page, within="#content")


def test_a_batch_goes_on_while_it_is_looked_at(page):
    batch = nightly()
    page.goto(address(batch))
    expect(page.locator("#jobs-batch .jobs-label")).to_have_text("Running")

    drain_jobs(fire=False)

    expect(page.locator("#jobs-batch .jobs-label")).to_have_text("Failed")
    expect(page.locator(".jobs-consequences .jobs-label").first).to_have_text("Failed")
