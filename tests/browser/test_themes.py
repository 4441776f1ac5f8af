"""Other themes of Django's admin: what our pages offer can be seen, read and pressed there, too."""

import subprocess
import sys
import urllib.request
from importlib.util import find_spec

import pytest

from django_jobs.models import Run
from tests.browser import busy
from tests.browser.playwright_thread import expect
from tests.children import ROOT, environment, free_port

THEMES = ("grappelli", "unfold", "jazzmin")
# Of each of our buttons and links: its text, how much wider it is than that, its contrast, and whether it can be
# hit. Colours are those that are painted: a canvas reads any notation.
BUTTONS = """selector => {
    const canvas = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
    const painted = (...colours) => {
        canvas.fillStyle = "#fff";
        canvas.fillRect(0, 0, 1, 1);
        for (const colour of colours) {
            canvas.fillStyle = colour;
            canvas.fillRect(0, 0, 1, 1);
        }
        const light = Array.from(canvas.getImageData(0, 0, 1, 1).data.slice(0, 3), (part) => {
            const share = part / 255;
            return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
        });
        return 0.2126 * light[0] + 0.7152 * light[1] + 0.0722 * light[2];
    };
    return Array.from(document.querySelectorAll(selector), (button) => {
        const style = getComputedStyle(button);
        const range = document.createRange();
        range.selectNodeContents(button);
        const text = range.getBoundingClientRect();
        const box = button.getBoundingClientRect();
        const [back, front] = [painted(style.backgroundColor), painted(style.backgroundColor, style.color)];
        const hit = document.elementFromPoint(box.x + box.width / 2, box.y + box.height / 2);
        return {
            text: button.textContent.trim(),
            spare: Math.min(box.width - text.width, box.height - text.height, text.x - box.x),
            contrast: (Math.max(back, front) + 0.05) / (Math.min(back, front) + 0.05),
            isHit: hit === button,
        };
    });
}"""


@pytest.fixture(params=THEMES)
def themed(request, open_page, transactional_db, until, tmp_path):
    """A page of a server that has another theme, on this test's database."""
    if find_spec(request.param) is None:
        pytest.skip(f"{request.param} is not installed: pip install -e '.[check]' has it")
    busy.fill(runs=120)
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "django", "runserver", "--noreload", "--skip-checks", str(port)]
    env = {
        **environment(), "DJANGO_JOBS_AUTOSTART": "0", "DJANGO_SETTINGS_MODULE": "tests.browser.theme_settings",
        "DJANGO_JOBS_TEST_THEME": request.param,
    }  # fmt: skip

    def answers():
        try:
            urllib.request.urlopen(f"{url}/admin/login/", timeout=5).close()
        except OSError:
            return False
        return True

    with (tmp_path / "server.log").open("w") as log:
        process = subprocess.Popen(command, env=env, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT)
    try:
        until(answers, timeout=60)
        page = open_page(base_url=url, width=1440)
        yield page
        # It would go on asking.
        page.goto("about:blank")
    finally:
        process.kill()
        process.wait(10)


def assert_seen(page, selector, texts):
    found = page.evaluate(BUTTONS, selector)
    assert [button["text"] for button in found] == texts
    for button in found:
        assert button["spare"] >= 2, button
        assert button["contrast"] >= 4.5, button
        assert button["isHit"], button


def test_buttons_and_lists_can_be_used_in_other_themes(themed, watch):
    page = themed
    # Jazzmin has its letters from elsewhere, and grappelli asks for maps that it does not bring.
    watch.allow("fonts.googleapis.com|fonts.gstatic.com|ERR_NAME_NOT_RESOLVED|ERR_INTERNET_DISCONNECTED")
    failed = Run.objects.filter(status="FAILED").latest("pk")

    page.goto(f"/admin/django_jobs/run/{failed.pk}/change/")
    assert_seen(page, ".jobs-tools > *", ["Retry", "Retry with changes"])
    assert_seen(page, ".django-jobs-live-toggle", ["Pause live updates"])
    page.get_by_role("button", name="Retry", exact=True).click()
    expect(page.locator("body")).to_contain_text("1 run is tried again.")

    page.goto("/admin/django_jobs/job/tenant-03-poll/change/")
    assert_seen(page, ".jobs-tools > *", ["Run now", "Pause", "Run now with…", "Edit schedule", "Backfill"])

    page.goto("/admin/django_jobs/run/?status=FAILED")
    assert_seen(page, ".jobs-row-actions .jobs-switch", ["Retry", "Run now", "Cancel", "Delete"])
    assert_seen(page, ".jobs-tools > *", ["All that match…", "Export CSV", "Export JSON"])
    for name in ("Run", "Status", "Function", "Queue", "When", "Took", "Error"):
        expect(
            page.locator("#result_list").get_by_role("columnheader", name=name, exact=True)
        ).to_be_visible()
    page.locator("input.jobs-select").first.check()
    expect(page.locator(".jobs-counter")).to_contain_text("1 of ")
    page.locator(".jobs-act-retry").click()
    expect(page.locator("body")).to_contain_text("1 run is tried again.")

    page.goto("/admin/django_jobs/dashboard/")
    expect(page.get_by_role("button", name="Pause queue mail")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
