"""A browser for tests: Chromium as the machine has it, told what to do by Playwright."""

import os

import pytest
from django.test import Client

from tests.browser.chromium import ARGS, find_chromium
from tests.browser.playwright_thread import PlaywrightThread
from tests.browser.watch import Watch
from tests.staff import add_staff


@pytest.fixture(scope="package")
def chromium():
    """One browser for all tests of this package."""
    path = find_chromium()
    if path is None:
        why = "there is no Chromium: install it (apt-get install chromium), or name it in DJANGO_JOBS_TEST_CHROMIUM"
        if os.environ.get("DJANGO_JOBS_TEST_BROWSER") == "1":
            pytest.fail(why)
        pytest.skip(why)
    thread = PlaywrightThread()
    try:
        browser = thread.launch(path, ARGS)
        yield browser
        browser.close()
    finally:
        thread.stop()


@pytest.fixture
def watch():
    """What goes wrong in the pages of a test; `watch.allow(pattern)` expects some of it."""
    return Watch()


@pytest.fixture
def make_staff(transactional_db):
    """Return a factory of staff with some permissions of ours, such as `view_run`; of superusers without."""

    return lambda *permissions: add_staff(*permissions, is_superuser=not permissions)


@pytest.fixture
def open_page(chromium, live_server, make_staff, watch):
    """Return a function that opens an empty page of a new browser; what goes wrong in it fails the test.

    `page.goto("/admin/")` is relative to the live server.

    Args of the function:
        user: Who is logged in; None for a new superuser, False for nobody.
        width, height: Of the window, in pixels.
        dark: Whether the person prefers dark pages.
        locale: The browser's language.
        scripts: Whether the browser runs scripts.
        base_url: Another server's address; `user` must be one that it knows.
    """
    contexts = []

    def open_(
        *, user=None, width=1400, height=900, dark=False, locale="en-US", scripts=True, base_url=None, **more
    ):
        base_url = base_url or live_server.url
        context = chromium.new_context(
            base_url=base_url, viewport={"width": width, "height": height}, locale=locale,
            color_scheme="dark" if dark else "light", java_script_enabled=scripts, reduced_motion="reduce",
            **more,
        )  # fmt: skip
        contexts.append(context)
        context.set_default_timeout(20_000)
        if user is not False:
            client = Client()
            client.force_login(user or make_staff())
            cookie = client.cookies["sessionid"]
            context.add_cookies([{"name": "sessionid", "value": cookie.value, "url": base_url}])
        page = context.new_page()
        watch.over(page)
        return page

    yield open_

    for context in contexts:
        context.close()
    assert not watch.problems, "\n".join(watch.problems)


@pytest.fixture
def page(open_page):
    """A page of a superuser's browser."""
    return open_page()
