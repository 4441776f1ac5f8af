import enum
import subprocess
import sys
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import PurePosixPath
from types import SimpleNamespace
from uuid import UUID

import pytest
from django.db import models
from django.utils.functional import lazystr

from django_jobs.registry.keys import MAX_KEY_LENGTH, KeyFormat
from django_jobs.registry.parameters import bind


class Color(enum.Enum):
    RED = "red"


class Size(models.TextChoices):
    BIG = "big"


class Opaque:
    pass


def paint(page, color=Color.RED, *extra, **options):
    pass


def key_of(text, *args, **kwargs):
    return KeyFormat(text).make(bind(paint, args, kwargs))


def test_a_key_is_made_of_arguments_their_attributes_items_and_defaults():
    page = SimpleNamespace(pk=17, owner=SimpleNamespace(name="Ada"))

    assert key_of("page:{page.pk}", page) == "page:17"
    assert key_of("{page.owner.name}/{color}", page) == "Ada/red"
    assert key_of(
        "{page[lang]}:{page[0]}:{options[day]:%Y-%m}", {"lang": "de", 0: 1}, day=date(2026, 3, 1)
    ) == ("de:1:2026-03")
    assert key_of("{extra[1]}", page, Color.RED, "a", "b") == "b"
    assert key_of("{{{page}}}", "x") == "{x}"


def test_a_key_without_a_field_is_one_for_all_calls():
    assert KeyFormat("reindex").names == ()
    assert key_of("reindex", 1) == key_of("reindex", 2) == "reindex"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("Ü x", "Ü x"),
        (3, "3"),
        (True, "True"),
        (None, "None"),
        (1.5, "1.5"),
        (Decimal("1.50"), "1.50"),
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (datetime(2026, 1, 2, tzinfo=UTC), "2026-01-02 00:00:00+00:00"),
        (Color.RED, "red"),
        (Size.BIG, "big"),
        (PurePosixPath("/a/b"), "/a/b"),
    ],
)
def test_values_whose_text_is_the_same_everywhere_make_a_key(value, text):
    assert key_of("{page}", value) == text


@pytest.mark.parametrize(
    "value", [Opaque(), object(), {1, 2}, {"a": 1}, ["a"], b"a", paint, lazystr("later"), Color]
)
def test_an_argument_whose_text_may_differ_from_process_to_process_is_refused(value):
    with pytest.raises(TypeError, match=r"cannot be made: \{page\} is a .* name a part of it"):
        key_of("page:{page}", value)


def test_a_model_instance_is_refused_with_its_primary_key_as_the_way_out():
    from documents.models import Document

    with pytest.raises(TypeError, match=r"write \{page\.pk\}"):
        key_of("page:{page}", Document())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "1 to 1000 characters"),
        ("x" * 1001, "1 to 1000 characters"),
        ("page:{page", "is not a format"),
        ("page:}", "is not a format"),
        ("page:{}", "names a parameter"),
        ("page:{0}", "names a parameter"),
        ("page:{page.}", "names a parameter"),
        ("page:{page.pk()}", "names a parameter"),
        ("page:{page!r}", "conversion"),
        ("page:{page:{color}}", "nested"),
        ("page:{page.__class__}", "private"),
        ("page:{page._state}", "private"),
    ],
)
def test_a_format_that_nothing_can_fill_is_refused_as_it_is_written(text, message):
    with pytest.raises(ValueError, match=message):
        KeyFormat(text)


def test_a_key_must_be_a_string():
    with pytest.raises(TypeError, match="must be a string, not int"):
        KeyFormat(3)


def test_a_field_that_is_no_parameter_is_refused_with_those_that_are():
    with pytest.raises(
        ValueError, match=r"unique has the key .* no parameter 'missing'; it has: page, color"
    ):
        KeyFormat("{missing}").check("unique", paint)

    KeyFormat("{page}{color}{extra[0]}{options[x]}").check("unique", paint)


def test_a_function_whose_parameters_python_does_not_know_takes_only_a_plain_key():
    KeyFormat("all").check("unique", dict.fromkeys)

    with pytest.raises(ValueError, match="does not know the parameters"):
        KeyFormat("{iterable}").check("unique", dict)


@pytest.mark.parametrize("text", ["{page.pk}", "{page[0]}", "{page[x]}", "{options[x]}", "{page:%q}"])
def test_an_argument_without_the_part_that_a_field_names_is_refused_at_the_call(text):
    with pytest.raises(ValueError, match="cannot be made"):
        key_of(text, 5)


@pytest.mark.parametrize("value", ["", "a\x00b", "\ud800"])
def test_a_key_that_no_database_can_store_is_refused(value):
    with pytest.raises(ValueError, match="comes to"):
        key_of("{page}", value)


def test_a_long_key_is_cut_and_stays_different_from_others():
    one, other = key_of("{page}", "x" * 5000 + "1"), key_of("{page}", "x" * 5000 + "2")

    assert one != other
    assert len(one) <= MAX_KEY_LENGTH
    assert one.startswith("x" * 100)


def test_a_key_has_the_same_text_in_processes_with_different_hash_seeds():
    program = (
        "from django_jobs.registry.keys import KeyFormat\n"
        "print(KeyFormat('{a}:{b[1]}').make({'a': 'x', 'b': ('p', 2.5)}))"
    )
    texts = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
            capture_output=True, check=True, text=True,
        ).stdout
        for seed in ("1", "2")
    }  # fmt: skip

    assert texts == {"x:2.5\n"}
