import re
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
        ({"details": {"quiet": True}}, "Quiet"),
        ({"heartbeat_at": ago(25)}, "Late"),
        ({"heartbeat_at": ago(25), "details": {"quiet": True}}, "Late"),
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
    make_worker(id="ended", stopped_at=timezone.now(), host="gone-host")
    make_worker(id="working", host="a-host")

    page = text_of(root.get(list_url("worker")))
    ended = root.get(list_url("worker", state="ended")).context["cl"].result_list

    assert 0 < page.index("a-host") < page.index("Recently ended") < page.index("gone-host")
    assert [worker.pk for worker in ended] == ["ended"]


def test_hosts_have_their_processes_and_these_what_they_run(root, list_url, make_worker, make_run):
    first = make_worker(host="web-1", pid=11, threads=4, version="1.0", details={"memory": 209_715_200})
    make_worker(host="web-1", pid=12, version="1.0"), make_worker(host="web-2", pid=21, version="0.9")
    run = make_run(status="RUNNING", worker_id=first.pk, func="shop.jobs:bill", started_at=ago(61))
    make_run(status="RUNNING", worker_id="somebody else")

    page = root.get(list_url("worker"))

    part, text = page.context["part"], text_of(page)
    assert [(host["name"], len(host["processes"])) for host in part["hosts"]] == [("web-1", 2), ("web-2", 1)]
    one = part["hosts"][0]["processes"][0]
    assert (one["running"], one["threads"], one["memory"].replace("\xa0", " ")) == ("1", "4", "200.0 MB")
    assert re.search(rf'/run/{run.pk}/change/">bill</a> <span class="jobs-quiet">1 min \d+ s', text)
    assert "3 alive, 1 of" in text
    assert "Versions differ: 0.9, 1.0" in re.sub("<[^>]+>", "", text)


def test_a_worker_that_begins_nothing_says_why(root, list_url, make_worker, make_run, manager):
    quiet = make_worker(pid=1, queues=["mail"], details={"quiet": True})
    full, free = make_worker(pid=2, queues=["mail"]), make_worker(pid=3, threads=2)
    fewer = make_worker(pid=4, queues=["mail"], details={"queue_threads": {"mail": 1}})
    other, gone = make_worker(pid=5, queues=["reports"]), make_worker(pid=6, lease_expires_at=ago(9))
    for worker in (quiet, full, free):
        make_run(status="RUNNING", worker_id=worker.pk)

    def notes():
        hosts = root.get(list_url("worker")).context["part"]["hosts"]
        return {one["id"]: one["notes"] for host in hosts for one in host["processes"]}

    nothing = {one.pk: [] for one in (quiet, full, free, fewer, other, gone)}
    ends = ["Takes no more runs, and ends once these have."]
    make_run(queue_name="mail", run_after=ago(20))
    assert notes() == {**nothing, quiet.pk: ends}
    make_run(queue_name="mail", run_after=ago(90))
    assert notes() == {
        **nothing,
        quiet.pk: ends,
        full.pk: ["No thread is free; 2 runs wait in mail."],
        free.pk: ["Has free threads, and 2 runs wait in mail, some for more than a minute."],
    }
    manager.pause_queue("mail")
    assert notes() == {**nothing, quiet.pk: ends}


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
    with django_assert_num_queries(8):
        root.get(list_url("worker"))
    for _ in range(49):
        make_worker()

    with django_assert_num_queries(8):
        root.get(list_url("worker"))


def test_a_worker_shows_how_many_of_its_threads_are_busy(root, list_url, page_url, make_worker, make_run):
    worker = make_worker(threads=4)
    make_run(status="RUNNING", worker_id=worker.pk), make_run(status="RUNNING", worker_id="other")

    assert "1 of 4" in root.get(list_url("worker")).content.decode()
    assert "1 of 4" in root.get(page_url(worker)).content.decode()
