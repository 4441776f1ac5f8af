import json

import pytest

from django_jobs import codec
from django_jobs.models import Run, Status
from django_jobs.testing import drain_jobs

HOSTILE = "</textarea><script>alert('x')</script>"


@pytest.fixture
def failed(make_run):
    return make_run(
        func="tests.probes.jobs:add",
        status=Status.FAILED,
        error="TypeError: x",
        payload=codec.dump_arguments((1, "two"), {"c": 3}),
    )


@pytest.fixture
def url(page_url):
    return lambda run: page_url(run, "retry_with_changes")


def test_a_run_is_tried_again_with_other_arguments_as_a_new_one(root, url, page_url, failed, said, logged):
    page = root.get(url(failed), {"as": "json"})
    assert json.loads(page.context["form"].initial["args"]) == [1, "two"]

    response = root.post(url(failed), {"args": "[1, 2]", "kwargs": '{"c": 3}'})
    drain_jobs()

    new = Run.objects.latest("pk")
    assert response.url == page_url(new)
    assert new.status == Status.SUCCESSFUL
    assert codec.loads(new.result) == 6
    failed.refresh_from_db()
    assert failed.status == Status.FAILED
    assert logged(failed) == [f"Retried with changes as run {new.pk}; changed arguments: 2"]
    assert logged(new) == [f"Made from run {failed.pk}; changed arguments: 2"]
    assert (
        f'Retried with changes as run</dt><dd><a href="{page_url(new)}">'
        in root.get(page_url(failed)).content.decode()
    )
    assert f'Made from run</dt><dd><a href="{page_url(failed)}">' in root.get(page_url(new)).content.decode()


@pytest.mark.parametrize(
    ("args", "kwargs", "reason"),
    [
        ("[1", "{}", "this is not JSON"),
        ("[1, 2, 3]", "{}", "cannot be called with these arguments"),
        ("", "{}", "This field is required"),
    ],
)
def test_what_does_not_fit_is_said_and_nothing_is_added(root, url, failed, args, kwargs, reason):
    response = root.post(url(failed), {"args": args, "kwargs": kwargs})

    assert response.status_code == 200
    text = response.content.decode()
    assert reason in text
    assert "Please correct the error" in text
    assert Run.objects.count() == 1


def test_secrets_are_not_in_the_form(root, url, make_run):
    run = make_run(
        func="tests.probes.jobs:log_in", payload=codec.dump_arguments(("me",), {"password": "hunter2"})
    )

    text = root.get(url(run)).content.decode()

    assert "hunter2" not in text
    assert "*****" in text


def test_a_function_that_is_gone_is_said(root, url, make_run):
    run = make_run(func="tests.probes.jobs:gone", status=Status.FAILED)

    assert "has no gone" in root.post(url(run), {"args": "[]", "kwargs": "{}"}).content.decode()
    assert Run.objects.count() == 1


def test_damaged_arguments_can_be_written_anew(root, url, make_run):
    run = make_run(func="tests.probes.jobs:give", status=Status.FAILED, payload="{damaged")

    assert "cannot be read" in root.get(url(run)).content.decode()
    response = root.post(url(run), {"args": "[1]", "kwargs": "{}"})

    assert response.status_code == 302
    assert Run.objects.count() == 2


def test_a_planted_row_is_not_signed_and_its_page_shows_that(root, url, page_url, failed):
    Run.objects.filter(pk=failed.pk).update(func="tests.probes.jobs:give", error="")

    response = root.post(url(failed), {"args": "[1]", "kwargs": "{}"})

    assert response.status_code == 200
    assert "signature of tests.probes.jobs:give does not match" in response.content.decode()
    assert Run.objects.count() == 1
    assert "signature of tests.probes.jobs:give does not match" in root.get(page_url(failed)).content.decode()


def test_hostile_arguments_are_shown_as_text(root, url, make_run):
    run = make_run(job_id=HOSTILE, func=HOSTILE, payload=codec.dump_arguments((HOSTILE,), {HOSTILE: HOSTILE}))

    for text in (
        root.get(url(run)).content.decode(),
        root.post(url(run), {"args": f'["{HOSTILE}"]', "kwargs": HOSTILE}).content.decode(),
    ):
        assert "<script>alert" not in text
        assert "&lt;script&gt;alert" in text


@pytest.mark.parametrize(
    ("permissions", "is_allowed"),
    [
        ((), False),
        (("view_run",), False),
        (("view_run", "view_payload"), False),
        (("change_run",), False),
        (("change_run", "view_payload"), True),
    ],
)
def test_it_is_for_those_who_may_retry_and_see_arguments(
    client_of, url, page_url, failed, permissions, is_allowed
):
    client = client_of(*permissions)

    assert client.get(url(failed)).status_code == (200 if is_allowed else 403)
    response = client.post(url(failed), {"args": "[1, 2]", "kwargs": "{}"})

    assert response.status_code == (302 if is_allowed else 403)
    assert Run.objects.count() == (2 if is_allowed else 1)
    if permissions:
        assert ("Retry with changes" in client.get(page_url(failed)).content.decode()) == is_allowed


def test_a_run_that_is_gone_has_no_form(root, url, failed):
    address = url(failed)
    failed.delete()

    assert root.get(address).status_code == 404
    assert root.post(address).status_code == 404


def test_each_argument_has_a_field_of_its_name(root, url, page_url, failed, logged):
    form = root.get(url(failed)).context["form"]
    assert {name: field.initial for name, field in form.fields.items()} == {"a": "1", "b": '"two"', "c": "3"}
    assert form.fields["b"].help_text == "Default: 2."

    response = root.post(url(failed), {"argument-a": "1", "argument-b": "", "argument-c": "30"})

    new = Run.objects.latest("pk")
    assert response.url == page_url(new)
    assert codec.display_arguments(new.payload) == ([1], {"c": 30})
    assert logged(new) == [f"Made from run {failed.pk}; changed arguments: 2, c"]


@pytest.mark.parametrize(
    ("fields", "name", "reason"),
    [
        ({"argument-a": "[1"}, "a", "this is not JSON"),
        ({"argument-b": "1"}, "__all__", "cannot be called with these arguments"),
    ],
)
def test_a_field_says_what_is_wrong_with_it(root, url, failed, fields, name, reason):
    form = root.post(url(failed), fields).context["form"]

    assert reason in str(form.errors[name])
    assert Run.objects.count() == 1


def test_a_secret_that_is_left_is_kept(root, url, make_run):
    run = make_run(
        func="tests.probes.jobs:log_in", payload=codec.dump_arguments(("me",), {"password": "hunter2"})
    )
    form = root.get(url(run)).context["form"]
    values = {f"argument-{name}": field.initial for name, field in form.fields.items()}

    root.post(url(run), values)

    assert "hunter2" not in str(values)
    assert Run.objects.latest("pk").payload == run.payload


def test_a_run_that_went_well_is_run_again(root, page_url, make_run):
    assert "Run again…" in root.get(page_url(make_run(status=Status.SUCCESSFUL))).content.decode()
