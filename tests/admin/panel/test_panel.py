from datetime import timedelta

import pytest
from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission
from django.test import RequestFactory
from django.urls import reverse
from django.utils import timezone

from django_jobs.admin import JobsPanel
from django_jobs.live import states
from django_jobs.models import Run
from documents.admin import DocumentAdmin
from documents.models import Document

FUNC = "func:documents.jobs:read_again"


@pytest.fixture
def document(db):
    return Document.objects.create(
        title="Lending rules",
        source_path="/srv/rules.md",
        kind="markdown",
        sha256="0" * 64,
        size_bytes=1,
        text_length=1,
        ingested_at=timezone.now(),
    )


@pytest.fixture
def url(document):
    return reverse("admin:documents_document_change", args=[document.pk])


@pytest.fixture
def panel_url(document):
    return reverse("admin:documents_document_jobs_panel", args=[document.pk])


@pytest.fixture
def librarian(client_of, make_user):
    """Return a factory of browsers of those who may see documents, with some permissions of ours."""

    def make(*permissions):
        client = client_of(*permissions)
        user = make_user()
        user = type(user).objects.get(pk=client.session["_auth_user_id"])
        user.user_permissions.add(Permission.objects.get(codename="view_document"))
        return client

    return make


def test_the_page_of_an_object_shows_its_jobs_and_runs(root, manager, probes, document, url):
    view = manager.using(about=document)
    view.using(name="checks shelves").add_recurring_job(probes.nothing, timedelta(hours=1), job_id="hourly")
    view.using(name="prints a label").add_immediate_job(probes.nothing, job_id="label")
    Run.objects.filter(job_id="label").update(
        status="FAILED", error="OSError: <no paper>", finished_at=timezone.now()
    )
    manager.using(name="of another").add_immediate_job(probes.nothing)

    page = root.get(url).content.decode()

    panel = page[page.index('<div class="jobs-panel"') :]
    assert page.count('data-live-part="jobs-panel"') == 1
    assert panel.index("checks shelves") < panel.index("prints a label")
    assert "OSError: &lt;no paper&gt;" in panel
    assert "every hour" in panel
    assert "of another" not in panel
    assert 'value="job:hourly"' in panel
    assert 'value="job:label"' in panel
    assert f"about=documents.document%3A{document.pk}" in panel
    assert f'data-live-watch="about:documents.document:{document.pk}"' in panel


def test_a_panel_costs_two_queries_however_many_runs_there_are(
    root, make_run, document, url, panel_url, django_assert_num_queries
):
    about = f"documents.document:{document.pk}"
    make_run(about=about)
    root.get(panel_url)
    with django_assert_num_queries(5) as first:
        root.get(panel_url)
    for _ in range(30):
        make_run(about=about, status="SUCCESSFUL")

    with django_assert_num_queries(len(first)) as queries:
        page = root.get(panel_url).content.decode()

    assert page.count('<th scope="row">') == 10
    assert [one["sql"].count("django_jobs_") > 0 for one in queries].count(True) == 2


def test_a_new_object_has_no_panel(root):
    page = root.get(reverse("admin:documents_document_add")).content.decode()

    assert "jobs-panel" not in page.replace("panel.css", "")


def test_a_job_of_an_object_runs_once_more(root, manager, probes, document, url, panel_url):
    manager.using(about=document, name="prints").add_immediate_job(probes.nothing, job_id="label")
    Run.objects.update(status="SUCCESSFUL", unique_key=None, finished_at=timezone.now())

    response = root.post(panel_url, {"jobs_panel_run": "job:label", "title": "of the form"}, follow=True)

    assert response.redirect_chain == [(url, 302)]
    assert [str(message) for message in response.context["messages"]] == ["prints runs now."]
    assert list(Run.objects.filter(job_id="label").order_by("pk").values_list("status", flat=True)) == [
        "SUCCESSFUL",
        "READY",
    ]
    assert set(Run.objects.values_list("about", flat=True)) == {f"documents.document:{document.pk}"}
    assert LogEntry.objects.get().change_message == "Ran the job prints."
    document.refresh_from_db()
    assert document.title == "Lending rules"


def test_a_function_runs_with_the_object(root, document, panel_url):
    response = root.post(panel_url, {"jobs_panel_run": FUNC, "live": "1"})

    run = Run.objects.get()
    assert (run.func, run.about) == ("documents.jobs:read_again", f"documents.document:{document.pk}")
    assert str(document.pk) in run.payload
    assert 'data-live-news="read_again runs now."' in response.content.decode()


@pytest.mark.parametrize(
    "what", ["func:os:system", "func:documents.jobs:ingest_folder", "job:other", "", "x"]
)
def test_nothing_else_can_be_run_by_it(root, manager, probes, document, panel_url, what):
    manager.add_immediate_job(probes.nothing, job_id="other")
    Run.objects.update(status="SUCCESSFUL", unique_key=None, finished_at=timezone.now())

    root.post(panel_url, {"jobs_panel_run": what})

    assert Run.objects.count() == 1


def test_people_see_and_press_what_they_may(librarian, client_of, manager, probes, document, url, panel_url):
    manager.using(about=document).add_recurring_job(probes.nothing, 60, job_id="hourly")

    assert "jobs-panel" not in librarian().get(url).content.decode().replace("panel.css", "")
    assert librarian().get(panel_url).status_code == 403
    viewer = librarian("view_run").get(url).content.decode()
    assert "jobs-panel" in viewer
    assert "jobs_panel_run" not in viewer
    assert librarian("view_run").post(panel_url, {"jobs_panel_run": FUNC}).status_code == 403
    assert "jobs_panel_run" in librarian("view_run", "run_job").get(url).content.decode()
    # Users who may not see the document see nothing about it.
    assert client_of("view_run", "run_job").get(panel_url).status_code == 403
    assert not Run.objects.exists()


def test_what_an_object_s_page_watches_changes_with_its_runs_and_jobs(manager, probes, document):
    topic = f"about:documents.document:{document.pk}"
    assert states.are_topics([topic])
    assert not states.are_topics(["about:"])
    digests = [states.read([topic], using="default")[topic].digest]

    def note():
        digests.append(states.read([topic, "changes"], using="default")[topic].digest)

    manager.using(about=document).add_immediate_job(probes.nothing)
    note()
    Run.objects.update(status="FAILED")
    note()
    manager.using(about=document).add_recurring_job(probes.nothing, 60)
    note()
    assert len(set(digests)) == 4
    manager.add_immediate_job(probes.nothing)
    note()
    assert digests[-1] == digests[-2]


def test_the_panel_is_where_a_project_wants_it(document, make_user):
    class Placed(DocumentAdmin):
        fieldsets = [("First", {"fields": ["jobs_panel"]}), (None, {"fields": ["title"]})]

    class Listed(JobsPanel):
        fields = ["title", ("kind", "jobs_panel")]

    request = RequestFactory().get("/")
    request.user = make_user(is_superuser=True)
    for page in (Placed(Document, admin.site), Listed(Document, admin.site)):
        assert "jobs_panel" not in [
            name for _title, more in page.get_fieldsets(request, document)[-1:] for name in more["fields"]
        ]
        assert page.get_form(request, document)().fields.keys() <= {"title", "kind"}
