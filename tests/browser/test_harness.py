"""The browser tests' own tools: that they find what they are there to find."""

import pytest
from django.contrib.auth.models import User

from tests.browser.accessibility import assert_accessible
from tests.browser.playwright_thread import expect

INLINE = (
    "document.body.append(Object.assign(document.createElement('script'), {textContent: 'window.ran = 1'}))"
)


def test_the_strict_policy_is_in_force_and_a_violation_is_a_problem(page, watch):
    page.goto("/admin/")

    page.evaluate(INLINE)

    assert page.evaluate("window.ran") is None
    assert any("Content Security Policy" in text for text in watch.problems)
    watch.allow("Content Security Policy")


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("console.error('no good')", "no good"),
        ("setTimeout(() => { throw new Error('thrown') })", "thrown"),
        ("fetch('/nowhere/')", "404"),
        ("fetch('http://127.0.0.1:9/').catch(() => 0)", "127.0.0.1:9"),
    ],
)
def test_what_goes_wrong_in_a_page_is_a_problem(page, watch, script, said):
    page.goto("/admin/")

    page.evaluate(f"() => {{ {script} }}")
    page.wait_for_timeout(1)

    page.wait_for_load_state("networkidle")
    assert any(said in text for text in watch.problems)
    watch.allow(".")


def test_an_unlabelled_field_is_inaccessible(page):
    page.goto("/admin/")
    assert_accessible(page)

    page.evaluate("document.querySelector('#content').append(document.createElement('input'))")

    with pytest.raises(AssertionError, match="label"):
        assert_accessible(page)


def test_queries_and_async_code_work_beside_a_page(page, run_async):
    page.goto("/admin/")

    assert User.objects.count() == 1
    assert run_async(User.objects.acount()) == 1
    expect(page.locator("#user-tools")).to_contain_text("Log out")


def test_a_page_is_dark_narrow_or_from_right_to_left_as_asked_for(open_page):
    wide, odd = open_page(), open_page(dark=True, width=390, locale="ar")

    for page in (wide, odd):
        page.goto("/admin/")

    ground = "getComputedStyle(document.body).backgroundColor"
    assert wide.evaluate(ground) != odd.evaluate(ground)
    assert [page.evaluate("innerWidth") for page in (wide, odd)] == [1400, 390]
    assert [page.evaluate("document.documentElement.dir") for page in (wide, odd)] == ["ltr", "rtl"]


def test_a_page_without_scripts_and_a_person_who_may_nothing(open_page, make_staff):
    page = open_page(scripts=False, user=make_staff("view_queue"))

    page.goto("/admin/")

    expect(page.get_by_role("link", name="Queues")).to_be_visible()
    expect(page.get_by_role("link", name="Runs")).to_have_count(0)


def test_each_list_is_accessible_and_within_the_policy(page, make_job, make_run, make_worker):
    make_job(), make_run(status="FAILED", error="ValueError: no"), make_worker()

    for model in ("job", "run", "worker", "queue"):
        page.goto(f"/admin/django_jobs/{model}/")
        assert_accessible(page, within="#content")
