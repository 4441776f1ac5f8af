"""A project on a bad day: what an operator needs is within the window, in each language and at each width."""

from datetime import timedelta

import pytest
from django.utils import timezone, translation

from django_jobs.admin.shared.display import STATES
from django_jobs.models import Run
from tests.browser import busy
from tests.browser.accessibility import assert_accessible

# What begins or ends outside the window without being in a box of its own that scrolls; and boxes that scroll.
OUTSIDE = """() => {
    const scrolls = (node) => ["auto", "scroll", "hidden", "clip"].includes(getComputedStyle(node).overflowX);
    const isInBox = (node) => {
        for (let parent = node.parentElement; parent && parent !== document.body; parent = parent.parentElement) {
            if (scrolls(parent)) {
                return true;
            }
        }
        return false;
    };
    const shown = Array.from(document.querySelectorAll("#content *"), (node) => [node, node.getBoundingClientRect()])
        .filter(([node, box]) => box.width > 1 && box.height > 1 && node.checkVisibility() && !node.closest(".visually-hidden"));
    return shown.filter(([node, box]) => (box.left < -1 || box.right > innerWidth + 1) && !isInBox(node))
        .map(([node]) => node.outerHTML.slice(0, 200));
}"""
# Buttons that a box cuts off.
CUT = """() => Array.from(document.querySelectorAll("#content button, #content select"))
    .filter((node) => node.checkVisibility() && node.getBoundingClientRect().width > 1)
    .filter((node) => {
        const box = node.getBoundingClientRect();
        for (let parent = node.parentElement; parent && parent.id !== "content"; parent = parent.parentElement) {
            const around = parent.getBoundingClientRect();
            if (["hidden", "clip"].includes(getComputedStyle(parent).overflowX) && (box.right > around.right + 1 || box.left < around.left - 1)) {
                return true;
            }
        }
        return false;
    }).map((node) => node.outerHTML.slice(0, 200))"""
WIDE = """() => Array.from(document.querySelectorAll("#content .jobs-wide, #content .results"))
    .filter((box) => box.scrollWidth > box.clientWidth + 1)
    .map((box) => `${box.getAttribute("aria-label")}: ${box.scrollWidth} in ${box.clientWidth}`)"""


# Elements that do not show all of their text.
WHOLE = """selector => Array.from(document.querySelectorAll(selector))
    .filter((node) => node.scrollWidth > node.clientWidth + 1).map((node) => node.textContent.trim())"""
# Headings, states and short notes that do not show all of their text, or break a word over lines.
BROKEN = """() => Array.from(document.querySelectorAll(".jobs-list thead th, .jobs-list .jobs-label, .jobs-number > .jobs-more"))
    .filter((node) => node.checkVisibility() && !node.querySelector("input"))
    .filter((node) => {
        const box = node.getBoundingClientRect();
        const around = (node.closest("td, th") || node).getBoundingClientRect();
        return node.scrollWidth > node.clientWidth + 1 && node.clientWidth || box.right > around.right + 1
            || box.left < around.left - 1 || node.matches(".jobs-more") && box.height > 24;
    }).map((node) => node.textContent.trim())"""


@pytest.fixture
def project(transactional_db):
    busy.fill(runs=400)


def in_view(page, selector):
    """Return how many elements are whole within the window."""
    return page.evaluate(
        """selector => Array.from(document.querySelectorAll(selector), (node) => node.getBoundingClientRect())
            .filter((box) => box.height && box.top >= 0 && box.bottom <= innerHeight).length""",
        selector,
    )


# States of runs that wait, for which a list has a wider column.
WAITING = {"queue_paused", "func_unknown", "retrying", "blocked", "limited", "ordered", "dependent"}
LOOKS = [
    {"width": 1440},
    {"width": 1440, "locale": "de", "dark": True},
    {"width": 390, "height": 844},
    {"width": 390, "height": 844, "locale": "de", "dark": True},
]
PAGES = (
    "run/?status=FAILED",
    "run/errors/",
    "run/{failed}/change/",
    "run/{failed}/retry-with-changes/",
    "dashboard/",
    "dashboard/?range=day&chart=wait-95&by=queue",
    "dashboard/?chart=started&by=worker",
    "job/",
    "job/add/",
    "job/calendar/",
    "job/tenant-03-poll/change/",
    "worker/",
    "queue/",
    "queue/thumbnails/change/?chart=depth",
)


@pytest.mark.parametrize("look", LOOKS, ids=["wide", "wide German dark", "phone", "phone German dark"])
def test_nothing_is_outside_the_window_and_no_table_wider_than_its_box(open_page, project, look):
    page = open_page(**look)
    found = {}
    failed = Run.objects.filter(status="FAILED").latest("pk").pk

    for path in PAGES:
        page.goto(f"/admin/django_jobs/{path.format(failed=failed)}")
        # On a phone the colours and the elements are those of a window.
        if look["width"] > 1000 or "dark" in look:
            assert_accessible(page, within="#content")
        found[path] = [
            page.evaluate("`${document.documentElement.scrollWidth} wide`"),
            *page.evaluate(OUTSIDE),
            *page.evaluate(CUT),
        ]
        if look["width"] > 1000:
            found[path] += page.evaluate(WIDE)

    assert found == {path: [f"{look['width']} wide"] for path in PAGES}


@pytest.mark.parametrize("locale", ["en-US", "de", "es", "fr", "zh-CN"])
def test_no_heading_state_or_note_of_a_list_is_cut(open_page, project, locale):
    page = open_page(width=1440, locale=locale)
    with translation.override(locale):
        longest = max((str(word) for name, word in STATES.items() if name in WAITING), key=len)

    for path in ("run/", "run/?status=FAILED", "run/errors/", "queue/"):
        page.goto(f"/admin/django_jobs/{path}")
        assert page.evaluate(BROKEN) == [], path
    page.goto("/admin/django_jobs/run/")
    page.locator(".jobs-list .jobs-label").first.evaluate(
        "(node, word) => { node.textContent = word; node.classList.add('jobs-dependent'); }", longest
    )
    assert page.evaluate(BROKEN) == []


def test_the_zone_and_the_state_of_live_updates_stay_on_one_line(open_page, project):
    page = open_page(width=1440, locale="de")

    page.goto("/admin/django_jobs/queue/thumbnails/change/")

    zone = page.locator(".jobs-zone").bounding_box()
    toggle = page.locator(".django-jobs-live-toggle").bounding_box()
    assert abs(zone["y"] + zone["height"] / 2 - toggle["y"] - toggle["height"] / 2) < 3


def test_twenty_failures_are_in_the_first_screen_each_on_one_line(open_page, project):
    page = open_page(width=1440, height=900)

    page.goto("/admin/django_jobs/run/?status=FAILED")

    assert in_view(page, "#result_list tbody tr") >= 20
    assert page.locator("#result_list tbody tr").first.bounding_box()["height"] < 32


def test_the_first_screen_of_the_dashboard_has_all_that_an_operator_asks(open_page, project):
    page = open_page(width=1440, height=900)

    page.goto("/admin/django_jobs/dashboard/")

    assert in_view(page, ".jobs-alarm") == 1
    assert in_view(page, ".jobs-tile") == 6
    assert in_view(page, ".jobs-tile svg") == 5
    for name in ("chart", "running", "firings"):
        assert in_view(page, f"section[aria-labelledby=jobs-{name}]") == 1, name
    assert in_view(page, "section[aria-labelledby=jobs-queues] tbody tr") == 9
    assert in_view(page, "section[aria-labelledby=jobs-errors] tbody tr") >= 3


@pytest.mark.parametrize("locale", ["en-US", "de", "es", "fr", "zh-CN"])
def test_the_dashboard_cuts_no_title_of_the_chart_and_no_schedule(open_page, project, locale):
    page = open_page(width=1440, locale=locale)

    for measure in ("ended", "ran-95", "running"):
        page.goto(f"/admin/django_jobs/dashboard/?chart={measure}&by=func")
        title, form = (
            page.locator("#jobs-chart").bounding_box(),
            page.locator(".jobs-chart-form").bounding_box(),
        )
        is_beside = title["x"] + title["width"] <= form["x"]
        assert is_beside or title["y"] + title["height"] <= form["y"], measure
        assert page.evaluate(WHOLE, "#jobs-chart, .jobs-card-firings .jobs-line-name") == [], measure


def test_on_a_phone_a_job_shows_when_it_fires_next_below_the_filters(open_page, project):
    page = open_page(width=390, height=844)

    page.goto("/admin/django_jobs/job/")

    row = page.locator("#result_list tbody tr").first
    box = row.locator(".field-next_firing").bounding_box()
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= 390
    assert page.locator("#changelist-filter").bounding_box()["y"] < row.bounding_box()["y"]


def test_on_a_phone_the_jobs_of_an_hour_have_the_whole_width(open_page, project):
    page = open_page(width=390, height=844)
    tomorrow = timezone.localdate() + timedelta(days=1)

    page.goto(f"/admin/django_jobs/job/calendar/?day={tomorrow}&from=2&until=4")

    assert page.locator(".jobs-hours .jobs-columns li").first.bounding_box()["width"] > 300


@pytest.mark.parametrize("locale", ["en-US", "de", "es", "fr", "zh-CN"])
def test_on_a_phone_no_table_is_wider_than_its_box(open_page, project, locale):
    page = open_page(width=390, height=844, locale=locale)

    for path in ("dashboard/", "worker/", "queue/", "job/tenant-03-poll/change/"):
        page.goto(f"/admin/django_jobs/{path}")
        assert page.evaluate(WIDE) == [], path


def test_on_a_phone_a_failed_run_shows_its_function_and_error(open_page, project):
    page = open_page(width=390, height=844)

    page.goto("/admin/django_jobs/run/?status=FAILED")

    row = page.locator("#result_list tbody tr").first
    for part in (".jobs-col-call", ".jobs-col-error", ".jobs-col-state"):
        box = row.locator(part).bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 390
    # The filters are above the rows.
    assert page.locator(".jobs-filter").bounding_box()["y"] < row.bounding_box()["y"]
