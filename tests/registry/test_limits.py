import pytest

from django_jobs import Limit, job
from django_jobs.registry.arguments import stored_options
from django_jobs.registry.limits import digest
from django_jobs.registry.options import options_from
from tests.probes import jobs


def test_the_key_is_made_of_the_calls_arguments():
    def sync(shop, full=False): ...

    options = options_from({"limit": Limit("shop:{shop}:{full}", concurrency=2)})

    assert stored_options(options, sync, (17,), {}) == {
        "limit": {"key": "shop:17:False", "name": "shop:{shop}:{full}", "concurrency": 2},
        # A process that knows no limits must not execute it.
        "needs": ["limit"],
    }


@pytest.mark.parametrize("value", [0, -1, 2**31, True, 1.5, "2"])
def test_a_concurrency_that_is_no_whole_number_of_at_least_one_is_refused(value):
    with pytest.raises((ValueError, TypeError), match="concurrency must be"):
        Limit("k", concurrency=value)


def test_a_limit_without_a_number_is_refused():
    with pytest.raises(TypeError, match="limits nothing"):
        Limit("k")


def test_what_is_no_limit_is_refused():
    with pytest.raises(TypeError, match=r"limit must be a django_jobs\.Limit, not int"):
        job(limit=3)(jobs.nothing)


def test_a_key_of_a_parameter_that_the_function_lacks_is_refused_at_import():
    def sync(shop): ...

    with pytest.raises(ValueError, match="has no parameter 'store'; it has: shop"):
        job(limit=Limit("{store}", concurrency=1))(sync)


def test_keys_that_differ_in_case_alone_are_two():
    assert digest("Shop:1") != digest("shop:1")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"in_order": True, "concurrency": 2}, "needs concurrency=1"),
        ({"in_order": True, "when_full": "skip"}, "needs concurrency=1"),
        ({"in_order": 1}, "in_order must be True or False"),
        ({"when_full": "drop"}, 'when_full must be "wait" or "skip"'),
    ],
)
def test_words_of_a_limit_that_do_not_fit_are_refused(words, message):
    with pytest.raises((ValueError, TypeError), match=message):
        Limit("k", **{"concurrency": 1, **words})


@pytest.mark.parametrize(
    ("rate", "every"), [("100/m", 0.6), ("1/s", 1), ("5/30s", 6), ("2/h", 1800), ("1/2d", 172800)]
)
def test_a_rate_is_starts_in_a_time(rate, every):
    assert Limit("k", rate=rate).every == pytest.approx(every)


@pytest.mark.parametrize("rate", ["", "100", "0/m", "5/0s", "5/x", "-1/m", "1.5/m", "5 / m", 60, "\u0661/m"])
def test_what_is_no_rate_is_refused(rate):
    with pytest.raises((ValueError, TypeError), match="rate must be"):
        Limit("k", rate=rate)


def test_a_fair_key_is_made_of_the_calls_arguments_and_must_be_known():
    def sync(shop): ...

    options = options_from({"fair_key": "org:{shop}", "limit": Limit("api", concurrency=2)})

    stored = stored_options(options, sync, (17,), {})
    assert stored["fair_key"] == "org:17"
    assert stored["needs"] == ["fair_key", "limit"]
    assert stored["limit"]["by_turns"]


@pytest.mark.parametrize(
    ("value", "message"),
    [(3, "fair_key must be a string"), ("", "1 to 1000"), ("{", "not a format"), ("{sho}", "'sho'")],
)
def test_a_fair_key_that_no_call_can_have_is_refused_at_import(value, message):
    def sync(shop): ...

    with pytest.raises((TypeError, ValueError), match=message):
        job(fair_key=value)(sync)
