from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from uuid import UUID

import pytest
from django.utils import timezone

from django_jobs import codec
from django_jobs.admin.jobs.argument_form import ArgumentForm, why_not
from django_jobs.registry import arguments, decorators
from tests.probes import signatures as probes
from tests.probes.models import Mark

SCALARS = {
    "text": "  two words ",
    "count": "7",
    "share": "0.25",
    "flag": "on",
    "amount": "12.50",
    "day": "2031-05-06",
    "at_0": "2031-05-06",
    "at_1": "07:08:09",
    "clock": "23:59",
    "pause": "1 02:00:00",
    "key": "12345678-1234-5678-1234-567812345678",
    "kind": "1",
    "size": "LARGE",
    "where": "/srv/in",
    "cents": "99",
}


def form_of(func, **values):
    data = {f"argument-{name}": value for name, value in values.items()}
    sensitive = decorators.options_of(func).sensitive or ()
    return ArgumentForm(func, data, sensitive=sensitive)


def arguments_of(func, **values):
    form = form_of(func, **values)
    assert form.is_valid(), form.errors
    args, kwargs = form.arguments()
    arguments.check_arguments("probe", func, tuple(args), kwargs)
    return args, kwargs


def as_opened(func, **values):
    """Return the arguments that come of a form in which only some fields were changed."""
    form = ArgumentForm(func)
    data = {}
    for bound in form:
        value = bound.field.widget.format_value(bound.value())
        data[bound.name] = value[0] if isinstance(value, list) and value else value or ""
    return arguments_of(func, **{**data, **values})


def test_every_scalar_comes_as_its_type():
    _args, kwargs = arguments_of(probes.scalars, **SCALARS)

    assert kwargs == {
        "text": "  two words ",
        "count": 7,
        "share": 0.25,
        "flag": True,
        "amount": Decimal("12.50"),
        "day": date(2031, 5, 6),
        "at": datetime(2031, 5, 6, 7, 8, 9, tzinfo=timezone.get_current_timezone()),
        "clock": time(23, 59),
        "pause": timedelta(days=1, hours=2),
        "key": UUID("12345678-1234-5678-1234-567812345678"),
        "kind": 1,
        "size": probes.Size.LARGE,
        "where": Path("/srv/in"),
        "cents": 99,
    }
    assert kwargs["kind"] is not True
    codec.dump_arguments((), kwargs)


def test_a_box_that_is_not_ticked_is_no():
    assert arguments_of(probes.scalars, **{**SCALARS, "flag": ""})[1]["flag"] is False


@pytest.mark.parametrize("name", sorted(set(SCALARS) - {"flag", "at_0", "at_1"}))
def test_what_has_no_default_must_be_filled_in(name):
    form = form_of(probes.scalars, **{**SCALARS, name: ""})

    assert list(form.errors) == [name]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("count", "many"), ("count", "1.5"), ("share", "inf"), ("amount", "NaN"), ("day", "31.02.2031"),
        ("clock", "25:00"), ("pause", "long"), ("key", "123"), ("kind", "'b'"), ("size", "HUGE"), ("cents", "x"),
    ],
)  # fmt: skip
def test_what_does_not_fit_the_type_is_refused(name, value):
    assert list(form_of(probes.scalars, **{**SCALARS, name: value}).errors) == [name]


COLLECTIONS = {
    "numbers": "[1, 2]",
    "names": '["a", "b"]',
    "pair": '[1, "a"]',
    "table": '{"a": 1, "b": 0.5}',
    "anything": '{"x": [null, true]}',
    "either": '"text"',
}


def test_collections_are_given_as_json_and_come_as_their_type():
    assert arguments_of(probes.collections, **COLLECTIONS)[1] == {
        "numbers": [1, 2],
        "names": {"a", "b"},
        "pair": (1, "a"),
        "table": {"a": 1, "b": 0.5},
        "anything": {"x": [None, True]},
        "either": "text",
    }


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("numbers", '{"a": 1}'), ("numbers", "1"), ("numbers", '["a"]'), ("numbers", "[true]"), ("numbers", "[1"),
        ("names", "[[]]"), ("names", "[1]"), ("table", "[1]"), ("table", '{"a": "b"}'), ("pair", '"ab"'),
    ],
)  # fmt: skip
def test_json_of_another_kind_is_refused(name, value):
    assert list(form_of(probes.collections, **{**COLLECTIONS, name: value}).errors) == [name]


def test_defaults_are_shown_and_left_out_where_they_stay():
    assert as_opened(probes.defaults) == ([], {})
    html = ArgumentForm(probes.defaults, sensitive=["pin"]).as_p()
    assert 'value="5"' in html
    assert ">\nplain</textarea>" in html
    assert "[&quot;a&quot;]" in html


def test_what_differs_from_a_default_is_given_and_none_where_the_type_has_it():
    assert as_opened(probes.defaults, count="6", flag="False", note="x", size="SMALL", limit="", text="") == (
        [],
        {"count": 6, "flag": False, "note": "x", "size": probes.Size.SMALL, "limit": None, "text": ""},
    )


def test_an_emptied_number_without_a_none_is_its_default():
    assert as_opened(probes.defaults, count="", flag="", size="") == ([], {})


def test_secrets_are_typed_unseen_and_their_defaults_not_shown():
    form = ArgumentForm(probes.defaults, sensitive=["pin"])
    html = form.as_p()

    assert "1234" not in html
    assert "s3cret" not in html
    assert html.count('type="password"') == 2
    assert as_opened(probes.defaults, pin="99", api_key="k") == ([], {"pin": 99, "api_key": "k"})
    assert "k3y" not in form_of(probes.defaults, api_key="k3y").as_p()


def test_what_may_be_none_and_has_no_default_is_none_when_empty():
    assert arguments_of(probes.optional, count="", note="")[1] == {"count": None, "note": None}
    assert arguments_of(probes.optional, count="3", note="x")[1] == {"count": 3, "note": "x"}


def test_more_arguments_come_by_position_and_by_name():
    assert arguments_of(probes.rest, first="1", second="2", args="[3, 4]", kwargs='{"x": 5}') == (
        [1, 2, 3, 4],
        {"x": 5},
    )
    assert arguments_of(probes.rest, first="1", second="2", args="", kwargs="") == ([], {"first": 1})


@pytest.mark.parametrize("name", ["first", "job_id", "max_instances"])
def test_more_arguments_cannot_take_a_name_that_means_something_else(name):
    form = form_of(probes.rest, first="1", kwargs=f'{{"{name}": 5}}')

    assert "kwargs" in form.errors


def test_parameters_with_the_managers_names_are_given_by_position():
    assert arguments_of(probes.awkward, job_id="x", max_instances="3", note="n") == (["x"], {"note": "n"})
    assert arguments_of(probes.awkward, job_id="x", max_instances="4", note="") == (["x", 4], {})
    assert "manager's own word" in why_not(probes.impossible)
    assert why_not(probes.awkward) == ""


def test_parameters_that_are_positional_only_are():
    assert arguments_of(probes.by_position, first="1", second="5") == ([1, 5], {})


def test_hints_that_cannot_be_read_leave_json_and_defaults():
    assert arguments_of(probes.unknown_hints, value='{"a": 1}', count="4")[1] == {
        "value": {"a": 1},
        "count": 4,
    }


@pytest.mark.django_db
def test_a_row_is_named_by_its_primary_key():
    mark = Mark.objects.create(text="x")

    assert arguments_of(probes.of_a_row, mark=str(mark.pk))[1] == {"mark": mark}
    for key in ("999", "x", "9" * 50):
        assert "There is no" in str(form_of(probes.of_a_row, mark=key).errors["mark"])


def test_bytes_are_a_text_in_utf_8():
    assert arguments_of(probes.raw, data="é", seconds="1.5")[1] == {"data": "é".encode()}
