import json
import math
import random
from asyncio import CancelledError
from dataclasses import FrozenInstanceError
from datetime import timedelta

import pytest

from django_jobs.registry.retry import Retry, from_json, next_delay, should_retry, to_json


class Busy(ConnectionError):
    pass


def none():
    return 0.0


def most():
    return 0.999_999


def test_delays_double_by_default():
    policy = Retry(max_attempts=6)

    assert [next_delay(policy, n, random=none) for n in range(1, 6)] == [10, 20, 40, 80, 160]


def test_linear_delays_grow_by_the_first():
    policy = Retry(backoff="linear", delay=5)

    assert [next_delay(policy, n, random=none) for n in range(1, 5)] == [5, 10, 15, 20]


def test_fixed_delays_do_not_grow():
    policy = Retry(backoff="fixed", delay=5)

    assert [next_delay(policy, n, random=none) for n in (1, 2, 50)] == [5, 5, 5]


@pytest.mark.parametrize("backoff", ["fixed", "linear", "exponential"])
@pytest.mark.parametrize("attempt", [1, 2, 1025, 10_000])
def test_no_delay_exceeds_the_longest_or_overflows(backoff, attempt):
    policy = Retry(backoff=backoff, delay=60, max_delay=60, jitter=1)

    assert next_delay(policy, attempt, random=none) == 60
    assert 0 <= next_delay(policy, attempt, random=most) < 1


@pytest.mark.parametrize("backoff", ["fixed", "linear", "exponential"])
def test_a_delay_of_zero_stays_zero(backoff):
    policy = Retry(delay=0, backoff=backoff, jitter=1)

    assert [next_delay(policy, n, random=random.random) for n in (1, 2, 10_000)] == [0, 0, 0]
    assert from_json(to_json(policy)).delay == 0


def test_a_longest_delay_of_zero_stays_zero():
    assert Retry(delay=0, max_delay=0).max_delay == 0


def test_jitter_leaves_its_share_of_the_delay_to_chance():
    policy = Retry(delay=100, backoff="fixed", jitter=0.2)

    assert next_delay(policy, 1, random=none) == 100
    assert next_delay(policy, 1, random=lambda: 0.5) == 90
    assert next_delay(policy, 1, random=lambda: 1.0) == 80


def test_without_jitter_chance_does_not_matter():
    assert next_delay(Retry(jitter=0), 1, random=most) == 10


def test_attempts_are_counted_from_one():
    with pytest.raises(ValueError, match="counted from 1"):
        next_delay(Retry(), 0, random=none)


def test_a_policy_counts_its_first_attempt():
    policy = Retry(max_attempts=3)

    assert [should_retry(policy, n, ValueError()) for n in (1, 2, 3, 4)] == [True, True, False, False]
    assert not should_retry(Retry(max_attempts=1), 1, ValueError())


def test_subclasses_count():
    policy = Retry(on=(ConnectionError,))

    assert should_retry(policy, 1, Busy())
    assert not should_retry(policy, 1, ValueError())


def test_giving_up_wins():
    policy = Retry(on=(OSError,), give_up_on=(ConnectionError,))

    assert should_retry(policy, 1, TimeoutError())
    assert not should_retry(policy, 1, Busy())


def test_exceptions_can_be_named_by_the_module_that_defines_them():
    policy = Retry(on=("tests.registry.test_retry:Busy",), give_up_on=("not_installed.errors:Gone",))

    assert should_retry(policy, 1, Busy())
    assert not should_retry(policy, 1, ConnectionError())


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(1), CancelledError()])
def test_what_stops_a_process_is_not_retried_by_default(error):
    assert not should_retry(Retry(), 1, error)


def test_nothing_is_retried_without_exceptions():
    assert not should_retry(Retry(on=()), 1, ValueError())


def test_fields_are_kept_in_the_form_that_is_stored():
    policy = Retry(delay=timedelta(minutes=1), max_delay=timedelta(hours=1), on=[Busy, "a.b:C"])

    assert (policy.delay, policy.max_delay) == (60.0, 3600.0)
    assert policy.on == ("tests.registry.test_retry:Busy", "a.b:C")
    assert policy == Retry(delay=60, on=("tests.registry.test_retry:Busy", "a.b:C"))
    assert hash(policy)


def test_a_policy_cannot_be_changed():
    with pytest.raises(FrozenInstanceError):
        Retry().delay = 1


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"max_attempts": 0}, "max_attempts must be a whole number of at least 1, not 0"),
        ({"max_attempts": 2.5}, "max_attempts"),
        ({"max_attempts": True}, "max_attempts"),
        ({"max_attempts": math.inf}, "max_attempts"),
        ({"max_attempts": None}, "max_attempts"),
        ({"delay": -1}, "delay must be a timedelta or seconds, 0 or more, not -1"),
        ({"delay": timedelta(seconds=-1)}, "delay"),
        ({"delay": math.nan}, "delay"),
        ({"delay": "10"}, "delay"),
        ({"delay": None}, "delay"),
        ({"delay": False}, "delay"),
        ({"max_delay": math.inf}, "max_delay"),
        ({"delay": 7200}, r"delay \(7200 s\) is longer than max_delay \(3600 s\): raise max_delay"),
        ({"jitter": 1.1}, "from 0 to 1"),
        ({"jitter": -0.1}, "from 0 to 1"),
        ({"jitter": math.nan}, "from 0 to 1"),
        ({"backoff": "quadratic"}, "backoff must be one of fixed, linear, exponential, not 'quadratic'"),
        ({"backoff": []}, "backoff"),
        ({"on": ValueError}, "on must be a tuple"),
        ({"on": "builtins:ValueError"}, "on must be a tuple"),
        ({"on": ("requests.exceptions.Timeout",)}, "such as 'requests.exceptions:Timeout'"),
        ({"on": ("ValueError",)}, "form module:qualname"),
        ({"on": (":x",)}, "form module:qualname"),
        ({"give_up_on": (int,)}, "give_up_on has <class 'int'>, which is neither"),
        ({"give_up_on": (7,)}, "neither an exception class"),
    ],
)
def test_a_value_out_of_range_is_refused_by_name(fields, words):
    with pytest.raises(ValueError, match=words):
        Retry(**fields)


@pytest.mark.parametrize(
    "policy",
    [
        Retry(),
        Retry(
            max_attempts=1, delay=0, backoff="linear", max_delay=0, jitter=0, on=(), give_up_on=(KeyError,)
        ),
        Retry(
            max_attempts=10_000,
            delay=0.5,
            backoff="fixed",
            max_delay=timedelta(days=2),
            jitter=1,
            on=("a:B",),
        ),
    ],
)
def test_a_policy_comes_back_from_json(policy):
    assert from_json(json.loads(json.dumps(to_json(policy)))) == policy


def test_another_versions_keys_are_ignored_and_missing_ones_have_defaults():
    assert from_json({"max_attempts": 5, "added_later": 1}) == Retry(max_attempts=5)
    assert from_json({}) == Retry()
