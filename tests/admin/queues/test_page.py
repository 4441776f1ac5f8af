import re
from datetime import timedelta

from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from django_jobs.models import Queue, Rollup
from tests.admin.pages import text_of


def test_a_queue_shows_what_waits_and_how_fast_it_goes(root, list_url, make_run):
    now = timezone.now()
    Queue.objects.create(name="mail")
    (
        make_run(queue_name="mail", run_after=now - timedelta(hours=2)),
        make_run(queue_name="mail", run_after=now),
    )
    ended_at = now.replace(second=0, microsecond=0) - timedelta(minutes=5)
    for outcome, runs in (("SUCCESSFUL", 120), ("FAILED", 30)):
        # Of the hour, too: where the last one is a whole one, its minutes are not read.
        for size, begins_at in ((60, ended_at), (3600, ended_at.replace(minute=0))):
            Rollup.objects.create(
                size_seconds=size,
                begins_at=begins_at,
                outcome=outcome,
                func="f",
                queue_name="mail",
                runs=runs,
            )

    page = re.sub(r"<[^>]*>", " ", root.get(list_url("queue")).content.decode())

    assert re.search(r"mail\s+Serving\s+2\s+2 h 0 min\s+2\.5\s+-\s+Pause", page)


def test_the_list_of_queues_costs_the_same_with_one_and_with_fifty(
    root, list_url, make_run, django_assert_num_queries
):
    root.get(list_url("queue"))
    counts = []
    for names in (["mail"], [f"queue-{n}" for n in range(49)]):
        for name in names:
            Queue.objects.create(name=name)
            make_run(queue_name=name)
        with CaptureQueriesContext(connection) as queries:
            root.get(list_url("queue"))
        counts.append(len(queries))

    assert counts[0] == counts[1] <= 9


def test_a_queue_is_paused_and_resumed_from_its_list(root, list_url, page_url, client_of, said):
    row = Queue.objects.create(name="mail")
    url = page_url(row, "act", "pause")
    assert f'formaction="{url}' in root.get(list_url("queue")).content.decode()

    response = root.post(url, {"_list": "1"})

    assert response.url == list_url("queue")
    assert "1 queue was paused." in said(response)
    assert "Resume queue mail" in root.get(list_url("queue")).content.decode()
    assert "formaction" not in client_of("view_queue").get(list_url("queue")).content.decode()


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
