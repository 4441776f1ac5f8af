from copy import copy
from datetime import timedelta
from urllib.parse import urlencode

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.admin.utils import quote
from django.contrib.messages import get_messages
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from django_jobs.models import BIN_ENDS, Rollup
from django_jobs.storage.statistics.rows import KEPT
from tests.staff import add_staff


@pytest.fixture
def make_user(db):
    """Return a factory of staff with some permissions of ours, such as `view_run`."""

    return add_staff


@pytest.fixture
def client_of(make_user):
    """Return a factory of browsers that are logged in with some permissions."""

    def make(*permissions, **options):
        client = Client(**options)
        client.force_login(make_user(*permissions))
        return client

    return make


@pytest.fixture
def root(make_user):
    """A browser of a superuser."""
    client = Client()
    client.force_login(make_user(is_superuser=True))
    return client


@pytest.fixture
def list_url():
    def url(model, **query):
        return reverse(f"admin:django_jobs_{model}_changelist") + (f"?{urlencode(query)}" if query else "")

    return url


@pytest.fixture
def page_url():
    def url(row, view="change", *more):
        return reverse(f"admin:django_jobs_{row._meta.model_name}_{view}", args=[quote(row.pk), *more])

    return url


@pytest.fixture
def act(list_url):
    """Return a function that chooses an action for some rows in their list, as the stock form does."""

    def post(client, name, *rows, **more):
        data = {"action": name, "index": "0", "_selected_action": [str(row.pk) for row in rows], **more}
        return client.post(list_url(rows[0]._meta.model_name), data)

    return post


@pytest.fixture
def confirm(list_url):
    """Return a function that answers the confirmation page of a deletion."""

    def post(client, *rows):
        data = {"action": "delete_selected", "post": "yes", "_selected_action": [str(row.pk) for row in rows]}
        return client.post(list_url(rows[0]._meta.model_name), data)

    return post


@pytest.fixture
def said():
    """Return a function that gives the messages of a response as one text."""

    def read(response):
        return " | ".join(str(message) for message in get_messages(response.wsgi_request))

    return read


@pytest.fixture
def logged():
    """Return a function that gives what the admin's log says of a row, oldest first."""

    def read(row):
        entries = LogEntry.objects.filter(object_id=str(row.pk)).order_by("pk")
        return ["Deleted." if entry.is_deletion() else entry.change_message for entry in entries]

    return read


@pytest.fixture
def make_runs(db, make_run):
    """Return a function that adds many like runs at once, and gives their ids in order."""

    def make(count, **fields):
        model = make_run(**fields)
        more = [copy(model) for _ in range(count - 1)]
        for run in more:
            run.pk = None
        type(model).objects.bulk_create(more)
        ids = type(model).objects.filter(pk__gte=model.pk).order_by("pk").values_list("pk", flat=True)
        return list(ids)

    return make


@pytest.fixture
def tally(db):
    """Return a function that counts runs that ended at a time, as processes do."""

    def count(func="shop.jobs:send", queue_name="default", outcome="SUCCESSFUL", runs=1, at=None, bin_=3):
        at = at or timezone.now()
        for size in KEPT:
            begins_at = at - timedelta(seconds=at.timestamp() % size)
            key = {"size_seconds": size, "begins_at": begins_at, "func": func, "queue_name": queue_name}
            row, _ = Rollup.objects.get_or_create(**key, outcome=outcome)
            row.runs += runs
            row.started += runs
            row.ran_seconds += runs * BIN_ENDS[bin_]
            for name in (f"ran_{bin_}", f"waited_{bin_}"):
                setattr(row, name, getattr(row, name) + runs)
            row.save()

    return count
