import json

import pytest
from django.core.management.base import CommandError

from django_jobs import Limit
from django_jobs.models import LimitEdit
from django_jobs.storage.limits import edits
from tests.probes import jobs as probes

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _forget():
    edits.forget()
    yield
    edits.forget()


def test_a_limit_is_listed_set_and_cleared(jobs, manager):
    view = manager.using(limit=Limit("api", concurrency=1))
    for _ in range(3):
        view.add_immediate_job(probes.nothing)

    jobs("limit", "set", "api", "--concurrency", "2", "--reason", "they allow it")
    (listed,) = json.loads(jobs("limit", "list", "api", "--json").out.getvalue())
    assert (listed["concurrency"], listed["waiting"], listed["edit"]["reason"]) == (2, 1, "they allow it")
    assert "manage.py jobs" in listed["edit"]["by"]
    assert "api" in jobs("limit")

    jobs("limit", "clear", "api")
    assert not LimitEdit.objects.exists()
    with pytest.raises(CommandError, match="as in the code already"):
        jobs("limit", "clear", "api")


@pytest.mark.parametrize(
    "words", [("set", "api"), ("set",), ("list", "--rate", "1/m"), ("set", "api", "--rate", "quick")]
)
def test_what_makes_no_sense_is_wrong_usage(jobs, words):
    with pytest.raises(CommandError) as caught:
        jobs("limit", *words)
    assert caught.value.returncode == 2
