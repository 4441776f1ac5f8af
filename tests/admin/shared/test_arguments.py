import pytest

from django_jobs import codec
from django_jobs.admin.shared import arguments

pytestmark = pytest.mark.django_db


def test_arguments_are_named_and_can_be_copied_in_three_forms(make_run):
    payload = codec.dump_arguments((1, "it's"), {"c": None})

    html = arguments.table(make_run(func="tests.probes.jobs:add", payload=payload))

    assert [part in html for part in (">a</th>", ">b</th>", ">c</th>")] == [True] * 3
    assert "from tests.probes.jobs import add\n\nadd(1, &quot;it&#x27;s&quot;, c=None)" in html
    assert "manage.py jobs add tests.probes.jobs:add 1 " in html
    assert "c=null" in html
    assert "&quot;kwargs&quot;: {" in html


def test_a_long_argument_is_folded_and_a_short_one_is_not(make_run):
    payload = codec.dump_arguments(("x" * 5000, "short"), {})

    html = arguments.table(make_run(func="tests.probes.jobs:add", payload=payload))

    assert html.count("jobs-folded") == 1
    assert "5002 characters" in html


def test_no_arguments_are_none_and_damaged_ones_are_said(make_run):
    assert arguments.table(make_run()) == "None"
    assert "cannot be read" in arguments.table(make_run(payload="{damaged"))
