from datetime import timedelta

import pytest
import time_machine
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import reverse

from django_jobs.live import job_token

pytestmark = pytest.mark.django_db


@pytest.fixture
def staff():
    """Return a factory of clients of users with some permissions."""

    def make(*permissions, **fields):
        user = User.objects.create(username=f"user-{User.objects.count()}", **{"is_staff": True, **fields})
        user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
        client = Client()
        client.force_login(user)
        return client

    return make


CHANGES = "/admin/django_jobs/run/changes/"


def address(token):
    return reverse("django_jobs:job", args=[token])


def test_who_has_a_token_sees_how_the_job_stands_with_one_query(client, make_run, django_assert_num_queries):
    run = make_run(status="RUNNING", progress={"done": 1, "total": 4, "message": "page 1"})

    with django_assert_num_queries(1):
        response = client.get(address(job_token(run.job_id)))

    body = response.json()
    assert (body["status"], body["percent"], body["message"], body["finished"]) == (
        "running", 25.0, "page 1", False,
    )  # fmt: skip
    assert "result" not in body
    assert "no-store" in response["Cache-Control"]
    assert response["Referrer-Policy"] == "no-referrer"


def test_an_unchanged_job_is_not_sent_again(client, make_run):
    run = make_run(status="RUNNING")
    url = address(job_token(run.job_id))
    tag = client.get(url)["ETag"]

    assert client.get(url, headers={"If-None-Match": tag}).status_code == 304
    run.progress = {"done": 1, "total": 2}
    run.save()
    again = client.get(url, headers={"If-None-Match": tag})
    assert (again.status_code, again.json()["percent"]) == (200, 50.0)


def test_the_result_comes_with_a_token_that_says_so(client, make_run):
    run = make_run(status="SUCCESSFUL", result='{"chunks": 7}')

    assert client.get(address(job_token(run.job_id, result=True))).json()["result"] == {"chunks": 7}
    assert "result" not in client.get(address(job_token(run.job_id))).json()


def test_a_token_that_is_none_or_too_old_is_refused(client, make_run):
    run = make_run()
    with time_machine.travel("2026-11-25T10:00:00Z", tick=False):
        old = job_token(run.job_id, max_age=timedelta(hours=1))

    for token in ("no-token", job_token(run.job_id) + "x", old):
        response = client.get(address(token))
        assert response.status_code == 403
        assert "token" in response.json()["error"]
        assert "no-store" in response["Cache-Control"]


def test_a_job_that_the_history_has_no_more_is_not_found(client, make_run):
    run = make_run(status="SUCCESSFUL")
    url = address(job_token(run.job_id))
    run.delete()

    assert client.get(url).status_code == 404


def test_nothing_is_done_by_asking(client, make_run):
    url = address(job_token(make_run().job_id))

    assert [getattr(client, method)(url).status_code for method in ("post", "put", "delete")] == [405] * 3


def test_the_staff_learn_whether_something_changed(staff, make_run):
    run = make_run(status="RUNNING")
    client = staff("view_run")
    watch = {"watch": ["changes", f"run:{run.pk}"]}

    before = client.get(CHANGES, watch)
    make_run()
    after = client.get(CHANGES, watch).json()["states"]

    assert "no-store" in before["Cache-Control"]
    assert before.json()["states"]["changes"] != after["changes"]
    assert before.json()["states"][f"run:{run.pk}"] == after[f"run:{run.pk}"]


def test_asking_costs_three_queries_two_of_them_for_the_login(staff, django_assert_num_queries):
    client = staff(is_superuser=True)

    with django_assert_num_queries(3):
        client.get(CHANGES)


@pytest.mark.parametrize(
    ("fields", "permissions", "status"),
    [
        ({}, ["view_run"], 200),
        ({}, ["view_queue"], 200),
        ({}, ["change_job"], 200),
        ({"is_superuser": True}, [], 200),
        ({}, [], 403),
        ({}, ["view_user"], 403),
        ({"is_staff": False}, ["view_run"], 302),
        ({"is_active": False}, ["view_run"], 302),
    ],
)
def test_only_staff_who_may_see_our_pages_are_answered(staff, fields, permissions, status):
    assert staff(*permissions, **fields).get(CHANGES).status_code == status


def test_who_is_not_logged_in_is_sent_to_the_login(client):
    assert client.get(CHANGES).status_code == 302


@pytest.mark.parametrize("watch", [["nothing"], ["run:x"], ["changes"] * 51])
def test_what_cannot_be_watched_is_refused(staff, watch):
    assert staff("view_run").get(CHANGES, {"watch": watch}).status_code == 400
