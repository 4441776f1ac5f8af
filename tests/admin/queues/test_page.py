import re
from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from django_jobs import Limit
from django_jobs.admin.queues import detail, figures
from django_jobs.models import Queue, Run
from django_jobs.registry.limits import digest
from django_jobs.storage import table_health
from django_jobs.storage.statistics import NOTHING
from tests.admin.pages import text_of


def words_of(response):
    return re.sub(r"\s+", " ", re.sub(r"<title>.*?</title>|<[^>]*>", " ", text_of(response), flags=re.DOTALL))


def test_a_queue_shows_what_waits_how_fast_it_goes_and_who_serves_it(
    root, list_url, make_run, make_worker, tally
):
    now = timezone.now()
    make_worker(queues=["mail"]), make_worker(queues=["mail", "other"])
    for minutes in (120, 0):
        make_run(queue_name="mail", enqueued_at=now, run_after=now - timedelta(minutes=minutes))
    make_run(queue_name="mail", run_after=now + timedelta(hours=1), enqueued_at=now - timedelta(hours=2))
    ended_at = now.replace(second=0, microsecond=0) - timedelta(minutes=5)
    (
        tally(queue_name="mail", runs=120, at=ended_at),
        tally(queue_name="mail", outcome="FAILED", runs=30, at=ended_at),
    )

    page = words_of(root.get(list_url("queue")))

    # Two of the last hour against 150: empty in two thirds of a minute.
    assert re.search(
        r"mail Serving 2 1 Deferred 2 h 0 min 0\.0 2\.5 4[789]\.\d s \S+ ms \S+ ms 20\.0% 2 Pause", page
    ), page


def test_every_queue_is_listed_that_has_a_row_or_runs_or_is_served(
    root, list_url, make_run, make_worker, tally
):
    Queue.objects.create(name="a-row")
    make_run(queue_name="a-waiting-run")
    make_worker(queues=["a-worker"])
    tally(queue_name="an-end")
    tally(queue_name="an-old-end", at=timezone.now() - timedelta(hours=5))

    def names(**query):
        return [row["name"] for row in root.get(list_url("queue", **query)).context["rows"]]

    assert names() == ["a-row", "a-waiting-run", "a-worker", "an-end"]
    assert names(range="6-hours") == ["a-row", "a-waiting-run", "a-worker", "an-end", "an-old-end"]
    page = words_of(root.get(list_url("queue")))
    assert "a-row Not served 0 -" in page
    assert "a-worker Serving 0 -" in page


@pytest.mark.parametrize(
    ("due", "added", "ended", "is_paused", "said"),
    [(30, 0, 60, False, 1800), (30, 60, 60, False, None), (30, 0, 60, True, None), (0, 60, 0, False, 0)],
)
def test_a_queue_is_empty_once_what_waits_has_ended_if_more_ends_than_is_added(
    due, added, ended, is_paused, said
):
    report = {"name": "mail", "due": due, "is_paused": is_paused, "is_served": True}
    one = figures.Figures("mail", report, NOTHING, added / 60, ended / 60)

    assert one.seconds_to_empty == said


def test_what_is_added_is_counted_among_the_newest_runs_as_far_as_they_reach(make_runs, monkeypatch):
    now = timezone.now()
    make_runs(5, queue_name="mail", enqueued_at=now - timedelta(minutes=30))
    make_runs(4, queue_name="mail", enqueued_at=now - timedelta(minutes=2))

    assert figures.added_per_minute(now) == {"mail": 9 / 60}
    monkeypatch.setattr(figures, "NEWEST", 4)
    assert figures.added_per_minute(now) == {"mail": 2.0}


def test_the_pages_of_queues_cost_the_same_with_one_and_with_fifty(
    root, list_url, page_url, make_run, make_worker, tally
):
    root.get(list_url("queue"))
    counts = []
    for names in (["mail"], [f"queue-{n}" for n in range(49)]):
        for name in names:
            Queue.objects.create(name=name)
            make_run(queue_name=name), make_worker(queues=[name]), tally(queue_name=name)
        for url in (
            list_url("queue"),
            page_url(Queue(name="mail")),
            page_url(Queue(name="mail")) + "?chart=wait-95&by=func",
            page_url(Queue(name="mail")) + "?range=month",
        ):
            # As after a start.
            table_health._looks.clear()
            with CaptureQueriesContext(connection) as queries:
                root.get(url)
            counts.append(len(queries))

    assert counts[:4] == counts[4:]
    assert max(counts) <= 15


def test_a_queues_page_shows_its_runs_by_function_its_workers_and_its_chart(
    root, page_url, make_run, make_worker, tally
):
    worker, _other = make_worker(queues=["mail"], threads=4), make_worker(queues=["else"])
    for func in ("shop.mail:send", "shop.mail:send", "shop.mail:bounce"):
        make_run(queue_name="mail", func=func)
    make_run(queue_name="else", func="shop.other:work")
    make_run(queue_name="mail", status="RUNNING", worker_id=worker.pk)
    tally(queue_name="mail", func="shop.mail:send", runs=7), tally(queue_name="else", runs=90)

    page = root.get(page_url(Queue(name="mail")))

    words = words_of(page)
    assert re.search(r"Waiting by function Function Waiting shop\.mail:send 2 shop\.mail:bounce 1 Who", words)
    assert "shop.other:work" not in words
    assert [one["id"] for one in page.context["workers"]] == [worker.pk]
    assert re.search(r"Alive 1 1 of 4", words)
    assert "0 Failed 7 Successful" in words
    # A bar leads to the runs of the queue.
    assert re.search(r'href="[^"]+queue=mail&amp;ended_from=', text_of(page))


def test_a_queues_page_shows_the_limits_that_its_runs_wait_for_and_those_of_each_process(
    root, page_url, make_worker, manager, probes, monkeypatch
):
    make_worker(queues=["mail"], threads=8, details={"queue_threads": {"mail": 3}})
    for key, count in (("shop:<1>", 4), ("shop:2", 2), ("shop:3", 1)):
        view = manager.using(queue_name="mail", limit=Limit(key, concurrency=1, rate="100/m"))
        for _ in range(count):
            view.add_immediate_job(probes.nothing)
    manager.using(queue_name="else", limit=Limit("api", concurrency=1)).add_immediate_job(probes.nothing)
    Run.objects.filter(run_after__isnull=False, limit_key=digest("shop:<1>")).update(status="RUNNING")
    monkeypatch.setattr(detail, "KEYS", 1)

    page = root.get(page_url(Queue(name="mail")))

    words = words_of(page)
    assert "shop:&lt;1&gt; shop:&lt;1&gt; 100/m 1 of 1 full 3 and 1 more" in words
    assert "api" not in words.partition("Waiting for a limit")[2]
    assert "Alive 0 of 3 0 of 8" in words
    assert f"/limitedit/{digest('shop:<1>')}/change/" in page.content.decode()
    assert "Waiting for a limit" not in words_of(root.get(page_url(Queue(name="reports"))))


def test_what_only_a_worker_that_is_being_stopped_serves_is_not_served(root, page_url, make_worker, make_run):
    make_run(queue_name="mail")
    make_worker(queues=["mail"], details={"quiet": True})

    words = words_of(root.get(page_url(Queue(name="mail"))))

    assert "mail Not served" in words
    assert "No live worker serves it." in words


def test_a_queue_without_a_row_is_paused_with_a_reason_and_a_time_from_its_page(
    root, page_url, said, logged, make_run
):
    make_run(queue_name="a/b c")
    url = page_url(Queue(name="a/b c"))

    response = root.post(
        url.replace("change", "act/pause"), {"reason": "disk full", "length": "60", "until": ""}
    )

    assert response.url == url
    assert "1 queue was paused." in said(response)
    row = Queue.objects.get(pk="a/b c")
    assert row.paused_reason == "disk full"
    assert timedelta(minutes=59) < row.paused_until - timezone.now() <= timedelta(hours=1)
    assert re.search(r"Paused by \S+ until [^<]{5,60}: disk full", words_of(root.get(url)))
    # Said otherwise it is paused as said now.
    until = timezone.localtime(timezone.now() + timedelta(days=2)).replace(microsecond=0, second=0)
    root.post(url.replace("change", "act/pause"), {"reason": "", "until": f"{until:%Y-%m-%dT%H:%M}"})
    row.refresh_from_db()
    assert (row.paused_until, row.paused_reason) == (until, "")
    assert "This time is past." in said(
        root.post(url.replace("change", "act/pause"), {"until": "2020-01-01T00:00"})
    )
    assert logged(row) == ["Paused.", "Paused."]


def test_a_queue_is_paused_and_resumed_from_its_list(root, list_url, page_url, client_of, said):
    row = Queue.objects.create(name="mail")
    url = page_url(row, "act", "pause")
    assert f'action="{url}' in root.get(list_url("queue")).content.decode()

    response = root.post(url, {"_list": "1"})

    assert response.url == list_url("queue")
    assert "1 queue was paused." in said(response)
    assert "Resume queue mail" in root.get(list_url("queue")).content.decode()
    for where in (list_url("queue"), page_url(row)):
        page = text_of(client_of("view_queue").get(where))
        assert "act/pause" not in page
        assert "act/resume" not in page


def test_a_queue_without_a_row_is_added_by_name_and_paused(root, list_url, act, said, logged):
    response = root.post(list_url("queue") + "add/", {"name": "mail", "paused_at": "2030-01-01"})
    assert response.status_code == 302
    row = Queue.objects.get(pk="mail")
    assert row.paused_at is None

    assert "1 queue was paused." in said(act(root, "pause", row))
    row.refresh_from_db()
    assert row.paused_at is not None
    assert "is paused already" in said(act(root, "pause", row))
    assert "1 queue was resumed." in said(act(root, "resume", row))
    row.refresh_from_db()
    assert row.paused_at is None
    assert logged(row)[1:] == ["Paused.", "Resumed."]


def test_a_queues_page_has_a_button_for_the_other_state(root, page_url, db):
    row = Queue.objects.create(name="a/b c", paused_at=timezone.now())

    text = text_of(root.get(page_url(row)))
    assert "Resume" in text
    assert "Paused" in text
    root.post(page_url(row, "act", "resume"))

    row.refresh_from_db()
    assert row.paused_at is None


def test_deleting_a_paused_queue_says_that_it_resumes(root, act, confirm, db):
    row = Queue.objects.create(name="mail", paused_at=timezone.now())

    assert "it is paused, and resumes" in text_of(act(root, "delete_selected", row))
    confirm(root, row)

    assert not Queue.objects.exists()


def test_who_may_only_look_cannot_pause_a_queue(client_of, act, page_url, list_url, db):
    client, row = client_of("view_queue"), Queue.objects.create(name="mail")

    act(client, "pause", row)
    assert client.post(page_url(row, "act", "pause")).status_code == 403
    assert client.get(list_url("queue") + "add/").status_code == 403

    row.refresh_from_db()
    assert row.paused_at is None
