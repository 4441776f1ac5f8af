import inspect

import pytest

from django_jobs import codec
from django_jobs.operations.named_arguments import by_name, call_with, shown

pytestmark = pytest.mark.django_db


def plain(a, b=2, *, c=0):
    pass


def variable(a, /, *rest, key=1, **more):
    pass


def named(func, *args, **kwargs):
    return by_name(list(inspect.signature(func).parameters.values()), args, kwargs)


@pytest.mark.parametrize(
    ("func", "args", "kwargs", "values"),
    [
        (plain, (1,), {}, [("a", 1)]),
        (plain, (1, 5), {"c": 3}, [("a", 1), ("b", 5), ("c", 3)]),
        (plain, (), {"a": 1}, [("a", 1)]),
        (
            variable,
            (1, 2, 3),
            {"key": 4, "x": 5},
            [("a", 1), ("rest", [2, 3]), ("key", 4), ("more", {"x": 5})],
        ),
        (variable, (1,), {"a": 2}, [("a", 1), ("more", {"a": 2})]),
    ],
)
def test_arguments_have_the_names_of_parameters_and_make_the_same_call_again(func, args, kwargs, values):
    found = named(func, *args, **kwargs)

    given = {one.name: one.value for one in found if one.is_given}
    assert list(given.items()) == values
    assert call_with(found, given) == (list(args), kwargs)


@pytest.mark.parametrize(("args", "kwargs"), [((1, 2, 3), {}), ((1,), {"a": 2}), ((1,), {"no": 2})])
def test_arguments_that_do_not_fit_have_no_names(args, kwargs):
    assert named(plain, *args, **kwargs) is None


def test_what_follows_an_argument_that_is_left_out_is_given_by_name():
    found = named(plain, 1, 5, c=3)

    assert call_with(found, {"b": 6}) == ([], {"b": 6})
    assert call_with(found, {"a": 1, "c": 4}) == ([1], {"c": 4})
    assert call_with(named(variable, 1), {"a": 1, "rest": [2], "key": 3}) == ([1, 2], {"key": 3})


def test_a_call_shows_names_where_they_are_known_and_no_secrets(make_run):
    payload = codec.dump_arguments((1, 2), {"c": 3})

    assert shown(make_run(func="tests.probes.jobs:add", payload=payload)) == [("a", 1), ("b", 2), ("c", 3)]
    assert shown(make_run(func="tests.probes.jobs:gone", payload=payload)) == [("0", 1), ("1", 2), ("c", 3)]
    assert shown(make_run(func="tests.probes.jobs:add", payload=payload, signature="no")) == [
        ("0", 1),
        ("1", 2),
        ("c", 3),
    ]
    secret = codec.dump_arguments(("me",), {"password": "hunter2"})
    assert dict(shown(make_run(func="tests.probes.jobs:log_in", payload=secret)))["password"].startswith(
        "***"
    )
