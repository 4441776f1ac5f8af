import pytest
from django.db import OperationalError, connection, transaction

from django_jobs.storage import notifications
from django_jobs.storage.notifications import bus

pytestmark = pytest.mark.django_db(transaction=True)


def test_this_process_hears_immediately_outside_a_transaction(hear):
    heard = hear(notifications.RUNS)

    notifications.notify(notifications.RUNS, using="default")

    assert heard.is_set()


def test_nobody_hears_of_a_transaction_before_it_commits_or_if_it_does_not(hear):
    heard = hear(notifications.RUNS)

    with transaction.atomic():
        notifications.notify(notifications.RUNS, using="default")
        assert not heard.is_set()
        transaction.set_rollback(True)
    assert not heard.is_set()

    with transaction.atomic():
        notifications.notify(notifications.RUNS, using="default")
    assert heard.is_set()


def test_work_is_not_undone_by_a_notice_that_could_not_be_sent(caplog, monkeypatch):
    if connection.vendor != "postgresql":
        pytest.skip("only PostgreSQL sends notices")

    def broken():
        raise OperationalError("cut")

    monkeypatch.setattr(connection, "cursor", broken)

    bus._notify(notifications.RUNS, "default")

    assert "were not notified" in caplog.text
