"""What operators make of a limit holds over what the code says, for runs that wait already."""

import pytest
from django.db import connection

from django_jobs.models import LimitEdit, Run
from django_jobs.operations import limits
from django_jobs.storage import enqueue, outcomes
from django_jobs.storage.limits import edits, line
from tests.storage.attempts import claim, outcome

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("workers")]


def edit(name="k", **numbers):
    limits.edit(name, **numbers, by="jane", reason="the API is slow", using="default")


def test_a_higher_limit_lets_in_what_waits_already(limited, states):
    enqueue.insert([limited() for _ in range(4)], using="default")

    edit(concurrency=3)

    assert states() == ["ready", "ready", "ready", "limited"]
    assert len(claim()) == 3


def test_a_lower_limit_holds_back_what_is_due_already(limited, states):
    enqueue.insert([limited(concurrency=3) for _ in range(3)], using="default")

    edit(concurrency=1)

    assert len(claim()) == 1
    assert states() == ["running", "limited", "limited"]


@pytest.mark.parametrize("in_order", [False, True])
def test_zero_lets_none_begin_until_the_edit_is_undone(limited, in_order):
    run = limited()
    if in_order:
        run.options["limit"]["in_order"] = True
    enqueue.insert([run], using="default")
    edit(concurrency=0)

    assert claim() == []
    assert line.sweep(using="default") == 0
    limits.clear("k", using="default")
    assert len(claim()) == 1


def test_a_rate_may_be_added_to_a_limit_without_one(limited):
    edit(rate="1/m")
    enqueue.insert([limited(concurrency=5) for _ in range(3)], using="default")

    assert len(claim()) == 1
    assert claim() == []


def test_an_edit_is_of_all_keys_of_its_pattern_and_of_no_other(limited, states):
    runs = [limited(key) for key in ("a", "a", "b", "b")]
    for run in runs[:2]:
        run.options["limit"]["name"] = "{shop}"
    enqueue.insert(runs, using="default")

    edit("{shop}", concurrency=2)

    assert states() == ["ready", "ready", "ready", "limited"]


def test_another_process_goes_by_an_edit_once_it_reads_it_again(limited, monkeypatch):
    enqueue.insert([limited() for _ in range(2)], using="default")
    # As written by another process.
    LimitEdit.objects.create(key="x", name="k", concurrency=0, edited_at="2030-01-01T00:00:00Z")
    monkeypatch.setattr(edits, "SECONDS", 0)

    assert claim() == []


def test_who_edited_what_and_why_is_kept_and_logged(caplog):
    with caplog.at_level("INFO", logger="django_jobs"):
        edit(concurrency=2)

    row = LimitEdit.objects.get()
    assert (row.name, row.concurrency, row.edited_by, row.reason) == ("k", 2, "jane", "the API is slow")
    assert "limit=k edited concurrency=2 rate=None by=jane: the API is slow" in caplog.text


@pytest.mark.parametrize(
    ("numbers", "message"),
    [({}, "say a concurrency"), ({"concurrency": -1}, "at least 0"), ({"rate": "fast"}, "rate must be")],
)
def test_what_is_no_limit_is_refused(numbers, message):
    with pytest.raises(ValueError, match=message):
        edit(**numbers)


def test_patterns_say_what_runs_what_waits_and_which_keys_are_busiest(limited):
    enqueue.insert([limited("quiet")] + [limited("busy") for _ in range(3)], using="default")
    for run in Run.objects.all():
        run.options["limit"]["name"] = "{shop}"
        run.save()
    claim()
    edit("{shop}", rate="5/m")

    (one,) = (one for one in limits.patterns(using="default") if one.name == "{shop}")

    assert (one.concurrency, one.rate, one.running, one.waiting) == (1, "5/m", 2, 2)
    assert [(key.key, key.running, key.waiting) for key in one.busiest] == [("busy", 1, 2), ("quiet", 1, 0)]


def test_patterns_cost_the_same_however_many_keys_are_in_use(limited, django_assert_num_queries):
    enqueue.insert([limited(str(number)) for number in range(30) for _ in range(2)], using="default")
    for run in claim(limit=20):
        outcomes.finish([(run, outcome())], using="default")
    claim(limit=20)

    # MariaDB is asked for each key of a line.
    keys = 10 if connection.vendor == "mysql" else 0
    with django_assert_num_queries(5 + keys):
        assert limits.patterns(using="default")
