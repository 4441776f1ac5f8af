from __future__ import annotations

from types import SimpleNamespace

import pytest
from django.core import mail

from mailings.demo import load_demo_recipients
from mailings.jobs import send_newsletter
from mailings.models import Recipient

pytestmark = pytest.mark.django_db


def test_subscribers_get_one_message_each():
    load_demo_recipients()

    summary = send_newsletter("News", "The text.")

    assert summary == {"sent": 23, "batches": 1, "unsubscribed": 2}
    assert sorted(message.to for message in mail.outbox) == [
        [email]
        for email in Recipient.objects.filter(subscribed=True)
        .order_by("email")
        .values_list("email", flat=True)
    ]
    assert {message.subject for message in mail.outbox} == {"News"}
    assert mail.outbox[0].body == "Dear Reader 1,\n\nThe text.\n"


def test_messages_go_out_in_batches():
    load_demo_recipients()

    summary = send_newsletter("News", "The text.", batch_size=10)

    assert (summary["sent"], summary["batches"]) == (23, 3)
    assert len({message.to[0] for message in mail.outbox}) == 23


def test_a_cancelled_newsletter_stops_between_batches(monkeypatch):
    load_demo_recipients()
    progress = []
    run = SimpleNamespace(is_cancelled=False)

    def set_progress(*values):
        progress.append(values)
        run.is_cancelled = len(progress) == 2

    run.set_progress = set_progress
    monkeypatch.setattr("mailings.jobs.current_run", lambda: run)

    with pytest.raises(RuntimeError, match="stopped after 20 of 23"):
        send_newsletter("News", "The text.", batch_size=10)

    assert progress == [(10, 23, "10 of 23 sent"), (20, 23, "20 of 23 sent")]
    assert len(mail.outbox) == 20


def test_nobody_to_write_to():
    assert send_newsletter("News", "The text.") == {"sent": 0, "batches": 0, "unsubscribed": 0}


def test_a_batch_of_none_is_refused():
    with pytest.raises(ValueError, match="batch_size is 0"):
        send_newsletter("News", "The text.", batch_size=0)


def test_a_subject_of_two_lines_sends_nothing():
    load_demo_recipients()

    with pytest.raises(ValueError, match="Header values"):
        send_newsletter("News\nBcc: someone@example.com", "The text.")

    assert mail.outbox == []


def test_demo_recipients_are_added_once_and_keep_what_was_changed():
    added = load_demo_recipients()
    Recipient.objects.filter(email="reader01@example.com").update(subscribed=False)

    again = load_demo_recipients()

    assert (added, again) == (25, 0)
    assert Recipient.objects.filter(subscribed=False).count() == 3
