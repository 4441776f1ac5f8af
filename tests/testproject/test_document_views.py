from __future__ import annotations

import json

import pytest

from django_jobs import get_job_manager
from documents.models import Document
from documents.views import SAMPLES_DIR

pytestmark = pytest.mark.django_db


@pytest.fixture
def inbox(settings, tmp_path):
    settings.VAR_DIR = tmp_path.resolve()
    folder = settings.VAR_DIR / "inbox"
    folder.mkdir()
    return folder


def post_json(client, body):
    return client.post("/ingest/", json.dumps(body), content_type="application/json")


def test_ingest_answers_with_the_id_of_a_queued_job(client):
    response = client.post("/ingest/")

    assert response.status_code == 202
    job_id = response.json()["job_id"]
    assert get_job_manager().get_job(job_id) is not None
    assert not Document.objects.exists()


@pytest.mark.parametrize("body", [{}, {"folder": str(SAMPLES_DIR)}, {"folder": "documents/samples"}])
def test_ingest_takes_json(body, client):
    assert post_json(client, body).status_code == 202


def test_ingest_takes_a_form(client, inbox):
    assert client.post("/ingest/", {"folder": str(inbox)}).status_code == 202


def test_ingest_needs_no_csrf_token(client_without_csrf_favour):
    assert client_without_csrf_favour.post("/ingest/").status_code == 202


@pytest.fixture
def client_without_csrf_favour():
    from django.test import Client

    return Client(enforce_csrf_checks=True)


@pytest.mark.parametrize(
    "folder",
    [
        "/etc",
        "..",
        "documents/samples/../..",
        "documents",
        "no\0path",
        "x" * 5000,
        "documents/samples/nowhere",
        7,
        None,
    ],
)
def test_ingest_refuses_other_folders(folder, client):
    response = post_json(client, {"folder": folder})

    assert response.status_code == 400
    assert response.json()["error"]


def test_ingest_refuses_the_folder_of_the_password_file_itself(client, inbox):
    response = post_json(client, {"folder": str(inbox.parent)})

    assert response.status_code == 400


def test_ingest_refuses_a_link_that_leads_outside(client, inbox):
    (inbox / "way-out").symlink_to("/etc")

    assert post_json(client, {"folder": str(inbox / "way-out")}).status_code == 400


@pytest.mark.parametrize("body", ["{", "[]", '"text"', b"\xff"])
def test_ingest_refuses_a_body_that_is_no_object(body, client):
    response = client.post("/ingest/", body, content_type="application/json")

    assert response.status_code == 400
    assert "body" in response.json()["error"]


def test_jobs_lists_what_is_still_to_run(client):
    job_id = client.post("/ingest/").json()["job_id"]

    listed = client.get("/jobs/").json()["jobs"]

    assert len([job for job in listed if job_id in job.values()]) == 1


def test_a_job_is_shown(client):
    job_id = client.post("/ingest/").json()["job_id"]

    response = client.get(f"/jobs/{job_id}/")

    assert response.status_code == 200
    assert job_id in response.json().values()


def test_a_missing_job_is_a_json_404(client):
    response = client.get("/jobs/no-such-job/")

    assert response.status_code == 404
    assert "no-such-job" in response.json()["error"]


@pytest.mark.parametrize(
    ("method", "path"), [("get", "/ingest/"), ("post", "/jobs/"), ("delete", "/jobs/x/")]
)
def test_other_methods_are_refused(method, path, client):
    assert getattr(client, method)(path).status_code == 405


def test_home_leads_to_the_admin(client):
    response = client.get("/")

    assert (response.status_code, response.url) == (302, "/admin/")
