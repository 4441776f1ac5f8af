from datetime import timedelta

import pytest
from django.utils import timezone

from django_jobs.models import Worker
from tests.admin.pages import text_of


def ago(seconds):
    return timezone.now() - timedelta(seconds=seconds)


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({}, "Alive"),
        ({"heartbeat_at": ago(25)}, "Late"),
        ({"heartbeat_at": ago(3600), "lease_expires_at": ago(3500)}, "Gone"),
        ({"stopped_at": ago(10)}, "Stopped"),
        ({"stopped_at": ago(10), "was_lost": True}, "Gone"),
    ],
)
def test_a_worker_shows_whether_it_lives(root, list_url, page_url, make_worker, fields, word):
    worker = make_worker(id="w/1", pid=12345, queues=["mail"], **fields)

    for url in (list_url("worker"), page_url(worker)):
        text = text_of(root.get(url))
        assert f">{word}</span>" in text
        assert "12345" in text
        assert "mail" in text


def test_workers_that_ended_come_last_and_can_be_filtered(root, list_url, make_worker):
    make_worker(id="ended", stopped_at=timezone.now())
    make_worker(id="working")

    every = root.get(list_url("worker")).context["cl"].result_list
    ended = root.get(list_url("worker", state="ended")).context["cl"].result_list

    assert [worker.pk for worker in every] == ["working", "ended"]
    assert [worker.pk for worker in ended] == ["ended"]


def test_workers_can_be_neither_added_nor_changed_nor_deleted(root, list_url, page_url, make_worker):
    worker = make_worker()

    assert root.get(list_url("worker") + "add/").status_code == 403
    assert root.post(page_url(worker), {"host": "x"}).status_code == 403
    assert root.post(page_url(worker, "delete"), {"post": "yes"}).status_code == 403
    assert 'name="action"' not in text_of(root.get(list_url("worker")))
    assert Worker.objects.count() == 1


def test_the_list_of_workers_costs_the_same_with_one_and_with_fifty(
    root, list_url, make_worker, django_assert_num_queries
):
    root.get(list_url("worker"))
    make_worker()
    with django_assert_num_queries(6):
        root.get(list_url("worker"))
    for _ in range(49):
        make_worker()

    with django_assert_num_queries(6):
        root.get(list_url("worker"))


def test_a_worker_shows_how_many_of_its_threads_are_busy(root, list_url, page_url, make_worker, make_run):
    worker = make_worker(threads=4)
    make_run(status="RUNNING", worker_id=worker.pk), make_run(status="RUNNING", worker_id="other")

    assert "1 of 4" in root.get(list_url("worker")).content.decode()
    assert "1 of 4" in root.get(page_url(worker)).content.decode()
