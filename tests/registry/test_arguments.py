import inspect

import pytest

from django_jobs.registry import arguments, parameters
from tests.probes import jobs as probes


def test_parameters_that_hold_secrets_are_found_by_position():
    assert arguments.hidden_positions(probes.log_in, frozenset()) == (1,)
    assert arguments.hidden_positions(probes.log_in, frozenset({"user"})) == (0, 1)
    assert arguments.hidden_positions(probes.add, frozenset()) == ()


@pytest.mark.parametrize(
    "func",
    [
        lambda: None, lambda a: None, lambda a, b=1: None, lambda a, /, b, *, c=2: None, lambda a, *, c: None,
        lambda *args: None, lambda a, *args, c=1: None, lambda **kwargs: None, int, dict.fromkeys,
    ],
    ids=range(10),
)  # fmt: skip
def test_arguments_by_position_are_counted_as_a_signature_binds_them(func):
    def binds(count):
        try:
            inspect.signature(func).bind(*range(count))
        except (TypeError, ValueError):
            return False
        return True

    assert [n in parameters.positional_counts(func) for n in range(5)] == [binds(n) for n in range(5)]


def plain(a=1):
    return a


def takes_any(a=1, **more):
    return a, more


def takes_a_name(name, args=()):
    return name, args


@pytest.mark.parametrize(
    ("kwargs", "hint"),
    [
        (
            {"queue_name": "mail"},
            r"queue_name is an option: write using\(queue_name=\.\.\.\) before the call",
        ),
        ({"retry": None, "a": 1}, r"retry is an option"),
        ({"args": [1]}, r"the function's own arguments follow it as in a call"),
        ({"kwargs": {"a": 1}}, r"the function's own arguments follow it as in a call"),
    ],
)
def test_an_option_among_the_arguments_is_refused_with_the_way_out(kwargs, hint):
    with pytest.raises(TypeError, match=hint):
        arguments.check_arguments("shop.jobs:plain", plain, (), kwargs)


def test_a_function_that_takes_any_keyword_gets_it_and_a_hint_is_logged_once(caplog):
    for _ in range(2):
        arguments.check_arguments("shop.jobs:any", takes_any, (), {"queue_name": "mail", "colour": "red"})

    (line,) = caplog.messages
    assert line == (
        "shop.jobs:any takes any keyword, so it is called with queue_name=...; "
        "queue_name is an option: write using(queue_name=...) before the call"
    )


def test_a_parameter_of_such_a_name_is_the_functions(caplog):
    arguments.check_arguments("shop.jobs:name", takes_a_name, (), {"name": "x", "args": [1]})

    assert caplog.messages == []
