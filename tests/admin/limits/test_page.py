import pytest
from django.contrib.admin.models import LogEntry
from django.urls import reverse

from django_jobs import Limit
from django_jobs.models import LimitEdit
from django_jobs.registry.limits import digest
from django_jobs.storage.limits import edits
from tests.admin.pages import text_of
from tests.probes import jobs as probes

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _forget():
    edits.forget()
    yield
    edits.forget()


@pytest.fixture
def limit_page(manager):
    view = manager.using(limit=Limit("api<b>", concurrency=1))
    for _ in range(3):
        view.add_immediate_job(probes.nothing)
    return reverse("admin:django_jobs_limitedit_change", args=[digest("api<b>")])


def test_limits_are_listed_with_what_waits_and_escaped(root, limit_page, list_url):
    page = text_of(root.get(list_url("limitedit")))

    assert "api&lt;b&gt;" in page
    assert "0 running, 2 waiting" in page
    assert "django_jobs/admin.css" in page


def test_an_edit_holds_is_logged_and_is_undone(root, limit_page):
    root.post(limit_page, {"concurrency": "2", "rate": "", "reason": "they allow it"})

    row = LimitEdit.objects.get()
    assert (row.concurrency, row.rate, row.reason) == (2, None, "they allow it")
    assert row.edited_by == root.get(limit_page).context["user"].get_username()
    assert "concurrency=2" in LogEntry.objects.get().change_message
    assert "they allow it" in text_of(root.get(limit_page))

    root.post(limit_page, {"clear": "1"})
    assert not LimitEdit.objects.exists()
    assert LogEntry.objects.count() == 2


def test_a_wrong_number_is_an_error_of_its_field(root, limit_page):
    page = text_of(root.post(limit_page, {"concurrency": "-1", "rate": "fast"}))

    assert "rate must be starts in a time" in page
    assert not LimitEdit.objects.exists()


def test_who_may_only_see_limits_may_not_edit_them(client_of, limit_page, list_url):
    viewer = client_of("view_limitedit")

    assert '<form method="post" class="jobs-pause-form"' not in text_of(viewer.get(limit_page))
    assert viewer.post(limit_page, {"concurrency": "2"}).status_code == 403
    assert client_of("view_run").get(list_url("limitedit")).status_code == 403
    assert not LimitEdit.objects.exists()


def test_a_limit_that_nobody_knows_leads_back(root):
    response = root.get(reverse("admin:django_jobs_limitedit_change", args=["nothing"]))

    assert response.status_code == 302
