import pytest

from django_jobs import codec
from django_jobs.admin.runs import comparison
from django_jobs.models import Run, Status
from tests.admin.pages import text_of

pytestmark = pytest.mark.django_db


def called(*args, **kwargs):
    return {"func": "tests.probes.jobs:add", "payload": codec.dump_arguments(args, kwargs)}


def differences(response):
    return {one.name: (one.then, one.now) for one in response.context["run"]["compared"]["differences"]}


def test_a_failure_is_compared_with_the_last_success_of_its_job(root, page_url, make_run, make_worker):
    make_worker(id="old", version="1.0"), make_worker(id="new", version="1.1")
    make_run(job_id="nightly", status=Status.SUCCESSFUL, **called(9))
    success = make_run(job_id="nightly", status=Status.SUCCESSFUL, worker_id="old", **called(1, b=2))
    make_run(job_id="nightly", status=Status.CANCELLED, **called(3))
    make_run(status=Status.SUCCESSFUL, **called(4))
    run = make_run(
        job_id="nightly", status=Status.FAILED, error="x", worker_id="new", **called(1, "two", c=3)
    )

    page = root.get(page_url(run))

    found = differences(page)
    assert found["b"] == ("2", '"two"')
    assert found["c"] == ("", "3")
    assert found["Worker"] == ("old", "new")
    assert found["Version"] == ("1.0", "1.1")
    assert "a" not in found
    assert "Queue" not in found
    assert f'Run <a href="{page_url(success)}">{success.pk}</a> of this job succeeded' in text_of(page)


def test_a_job_that_never_succeeded_is_compared_with_its_function(root, page_url, make_run):
    make_run(status=Status.SUCCESSFUL)
    success = make_run(status=Status.SUCCESSFUL, **called(1))
    run = make_run(status=Status.FAILED, error="x", **called(1))

    page = root.get(page_url(run))

    assert f'<a href="{page_url(success)}">{success.pk}</a> of this function succeeded' in text_of(page)
    assert "Its arguments were the same." in text_of(page)


def test_arguments_are_compared_for_those_only_who_may_see_them(client_of, page_url, make_run):
    make_run(status=Status.SUCCESSFUL, **called(12345678))
    run = make_run(status=Status.FAILED, error="x", **called(5678))

    withheld = client_of("view_run").get(page_url(run))

    assert "a" not in differences(withheld)
    assert "12345678" not in text_of(withheld)


def test_what_succeeded_or_has_no_success_near_is_compared_with_nothing(
    root, page_url, make_run, monkeypatch
):
    first = make_run(status=Status.SUCCESSFUL, **called(1))
    second = make_run(status=Status.SUCCESSFUL, **called(2))
    make_run(), make_run()
    failed = make_run(status=Status.FAILED, error="x", **called(2))
    monkeypatch.setattr(comparison, "LOOKED_AT", 2)

    assert root.get(page_url(second)).context["run"]["compared"] is None
    assert root.get(page_url(failed)).context["run"]["compared"] is None
    assert first.pk < second.pk


def test_secrets_are_not_in_the_comparison(root, page_url, make_run):
    for status, password in ((Status.SUCCESSFUL, "hunter1"), (Status.FAILED, "hunter2")):
        run = make_run(
            func="tests.probes.jobs:log_in",
            payload=codec.dump_arguments(("me",), {"password": password}),
            status=status,
            error="x",
        )

    assert "hunter" not in text_of(root.get(page_url(run)))


def test_a_run_leads_to_the_failures_of_its_function_beside_it(root, page_url, make_run, list_url):
    failed = [make_run(status=Status.FAILED, error="ValueError: x") for _ in range(2)]
    make_run(status=Status.FAILED, error="x", func="tests.probes.jobs:add")
    run = make_run(status=Status.FAILED, error="ValueError: x")
    make_run(status=Status.CANCELLED), make_run(status=Status.SUCCESSFUL)
    later = make_run(status=Status.FAILED, error="x")

    text = text_of(root.get(page_url(run)))

    assert f'Previous failure of this function: <a href="{page_url(failed[1])}">' in text
    assert f'Next failure of this function: <a href="{page_url(later)}">' in text
    assert list_url("run", failure=run.error_key) in text
    alone = Run.objects.exclude(pk=run.pk)
    alone.delete()
    assert "failure of this function" not in text_of(root.get(page_url(run)))
