"""Pages in a language that is written from right to left, and has no catalogue of ours."""

from datetime import timedelta

import pytest
from django.utils import timezone

# Texts of ours, which are English, whose first letter or digit is not before their last one: "min 40 s 9".
GARBLED = """() => {
    const found = [];
    const walker = document.createTreeWalker(document.getElementById("content"), NodeFilter.SHOW_TEXT);
    const box = (node, index) => {
        const range = document.createRange();
        range.setStart(node, index);
        range.setEnd(node, index + 1);
        return range.getBoundingClientRect();
    };
    while (walker.nextNode()) {
        const node = walker.currentNode;
        const text = node.data.trimEnd();
        const start = text.search(/\\S/);
        if (start < 0 || !/[a-z]/i.test(text) || /[\\u0590-\\u06ff]/.test(text)) {
            continue;
        }
        const [first, last] = [box(node, start), box(node, text.length - 1)];
        // Of one line, and visible.
        if (first.width && last.width && first.top === last.top && first.left > last.left) {
            found.push(text.trim());
        }
    }
    return found;
}"""


@pytest.fixture
def pages(make_run, make_job, make_worker, manager):
    """Addresses of pages with numbers, words and sentences on them."""
    now = timezone.now()
    make_worker()
    make_job(id="nightly")
    manager.pause_queue("mail")
    took = {"started_at": now - timedelta(seconds=580), "finished_at": now}
    done = make_run(job_id="nightly", status="SUCCESSFUL", **took)
    failed = make_run(job_id="nightly", status="FAILED", error="ValueError: 9 of 10 failed.", **took)
    make_run(run_after=None, error="9 rows cannot be read.")
    return [
        "/admin/django_jobs/dashboard/",
        "/admin/django_jobs/job/",
        "/admin/django_jobs/job/nightly/change/",
        "/admin/django_jobs/job/nightly/schedule/",
        "/admin/django_jobs/run/",
        f"/admin/django_jobs/run/{done.pk}/change/",
        f"/admin/django_jobs/run/{failed.pk}/change/",
        f"/admin/django_jobs/run/{failed.pk}/retry-with-changes/",
        "/admin/django_jobs/run/matching/",
        "/admin/django_jobs/run/errors/",
        "/admin/django_jobs/worker/",
        "/admin/django_jobs/queue/",
    ]


def test_texts_without_a_translation_are_read_from_left_to_right(open_page, pages):
    page = open_page(locale="ar")

    garbled = {}
    for url in pages:
        assert page.goto(url).status == 200
        assert page.evaluate("document.documentElement.dir") == "rtl"
        garbled[url] = page.evaluate(GARBLED)

    assert {url: texts for url, texts in garbled.items() if texts} == {}
