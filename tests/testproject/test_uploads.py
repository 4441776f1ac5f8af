import pytest
from django.core import mail
from django.core.files.uploadedfile import SimpleUploadedFile

from django_jobs import get_job_manager
from django_jobs.models import Batch, Run
from documents import forms
from documents.models import Document

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("var_dir")]


def ingest(client, **data):
    return client.post("/documents/", data)


def text_of(response):
    return response.content.decode()


def test_chosen_samples_and_uploads_become_one_batch_that_is_shown(client, var_dir):
    file = SimpleUploadedFile("my report.txt", b"Borrowed books are to be brought back.")

    response = ingest(client, samples=["volunteers.md"], files=[file])

    assert (response.status_code, response["Location"]) == (302, "/documents/")
    batch = Batch.objects.get()
    assert [run.name for run in Run.objects.order_by("pk")] == [
        "ingest volunteers.md",
        "ingest my_report.txt",
        "index_documents",
        "mail_index",
    ]
    (folder,) = (var_dir / "uploads").iterdir()
    assert sorted(path.name for path in folder.iterdir()) == ["my_report.txt", "volunteers.md"]
    page = text_of(client.get("/documents/"))
    assert page.count("<django-jobs-progress") == 1
    assert "my_report.txt" in page
    assert batch.key not in page.replace(page.partition("data-url=")[2], "")


def test_what_it_came_to_is_there_when_the_page_is_loaded_again(client):
    from django_jobs.testing import drain_jobs

    ingest(client, samples=["volunteers.md"])
    drain_jobs()

    assert "1 new, 0 known already, 0 unreadable." in text_of(client.get("/documents/"))
    assert Document.objects.count() == 1
    (message,) = mail.outbox
    assert message.subject == "1 new documents, 0 unreadable"
    assert message.body == f"{Document.objects.get().title}\n"


def test_a_file_that_cannot_be_read_does_not_stop_the_others(client):
    from django_jobs.testing import drain_jobs

    broken = SimpleUploadedFile("broken.pdf", b"%PDF-1.7 and no more")
    ingest(client, samples=["volunteers.md"], files=[broken])
    drain_jobs()

    assert "1 new, 0 known already, 1 unreadable." in text_of(client.get("/documents/"))
    assert Batch.objects.get().state == "successful"


def test_the_same_files_again_are_known_and_no_second_document(client, var_dir):
    from django_jobs.testing import drain_jobs

    for _ in range(2):
        ingest(client, samples=["volunteers.md"], files=[SimpleUploadedFile("a.txt", b"Come at ten.")])
        drain_jobs()

    assert "0 new, 2 known already, 0 unreadable." in text_of(client.get("/documents/"))
    assert Document.objects.count() == 2
    assert len(list((var_dir / "uploads").iterdir())) == 1


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({}, "Choose a sample, or a file of your own."),
        ({"samples": ["../views.py"]}, "not one of the available choices"),
        ({"files": [SimpleUploadedFile("tool.exe", b"MZ")]}, "can be read"),
        ({"files": [SimpleUploadedFile("empty.txt", b"")]}, "empty"),
    ],
)
def test_what_cannot_be_ingested_is_refused_with_a_reason(client, data, said, var_dir):
    response = ingest(client, **data)

    assert response.status_code == 200
    assert said in text_of(response)
    assert not Run.objects.exists()
    assert not (var_dir / "uploads").exists()


def test_too_much_at_a_time_is_refused(client, monkeypatch):
    monkeypatch.setattr(forms, "MOST_FILES", 1)
    monkeypatch.setattr(forms, "MOST_BYTES", 3)

    files = [SimpleUploadedFile(f"{n}.txt", b"text") for n in range(2)]
    assert "At most 1 files" in text_of(ingest(client, files=files))
    assert "is larger than" in text_of(ingest(client, files=[SimpleUploadedFile("a.txt", b"text")]))


def test_two_files_of_one_name_are_both_kept(client, var_dir):
    files = [SimpleUploadedFile("a.txt", text) for text in (b"one", b"two")]

    ingest(client, files=files)

    (folder,) = (var_dir / "uploads").iterdir()
    assert sorted(path.read_text() for path in folder.iterdir()) == ["one", "two"]


def test_one_browser_does_not_see_anothers(client, django_db_blocker):
    from django.test import Client

    ingest(client, samples=["volunteers.md"])

    assert "volunteers.md</p>" in text_of(client.get("/documents/"))
    assert "volunteers.md</p>" not in text_of(Client().get("/documents/"))
    assert get_job_manager().get_jobs()


def test_a_forged_form_is_refused():
    from django.test import Client

    assert ingest(Client(enforce_csrf_checks=True), samples=["volunteers.md"]).status_code == 403
