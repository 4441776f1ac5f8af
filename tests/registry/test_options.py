import math
from datetime import timedelta

import pytest

from django_jobs import job
from django_jobs.registry import option_checks
from django_jobs.registry.options import NAMES, CallWords, JobOptions
from django_jobs.registry.retry import Retry
from tests.probes import jobs as probes


def test_nearer_options_go_first():
    near = JobOptions(priority=1, retry=Retry())
    far = JobOptions(priority=2, timeout=9)

    both = near.over(far)

    assert (both.priority, both.timeout, both.retry) == (1, 9, Retry())


def test_type_checkers_know_every_option():
    known = set(CallWords.__annotations__)

    assert known - {"job_id"} == set(NAMES)


def test_a_run_keeps_what_it_needs_of_its_options():
    chosen = JobOptions(
        queue_name="mail",
        timeout=timedelta(seconds=5),
        expires=math.inf,
        at_most_once=False,
        sensitive=["b", "a"],
    )

    assert chosen.stored() == {"timeout": 5, "sensitive": ["a", "b"]}
    assert JobOptions(queue_name="mail").stored() is None


def test_tags_are_kept_once_each_and_in_order():
    assert JobOptions(tags=("b", "a", "b")).stored() == {"tags": ["a", "b"]}
    assert JobOptions(tags=[]).stored() is None


@pytest.mark.parametrize(
    ("tags", "error", "message"),
    [
        ("urgent", TypeError, "tags must be a list of strings, not 'urgent'"),
        ([1], TypeError, "tags must be a list of strings"),
        (1, TypeError, "tags must be a list of strings"),
        ([""], ValueError, "each of tags must have 1 to 50 characters, not 0"),
        (["x" * 51], ValueError, "each of tags must have 1 to 50 characters, not 51"),
        (["a\x00"], ValueError, "NUL character"),
        ([str(number) for number in range(21)], ValueError, "tags must be at most 20, not 21"),
    ],
)
def test_tags_out_of_range_are_refused_where_they_are_said(tags, error, message):
    with pytest.raises(error, match=message):
        JobOptions(tags=tags).validate()
    with pytest.raises(error, match=message):
        job(tags=tags)


def test_twenty_long_tags_are_accepted():
    JobOptions(tags=[f"{number:050}" for number in range(option_checks.MAX_TAGS)]).validate()


def test_an_option_that_can_be_read_once_is_kept(manager):
    view = manager.using(tags=(word for word in ["b", "a"]), sensitive=iter(["x"]))

    manager_job = view.add_immediate_job(probes.nothing)

    assert manager.get_job(manager_job)["tags"] == ["a", "b"]
