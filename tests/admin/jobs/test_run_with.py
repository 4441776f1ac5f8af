import pytest

from django_jobs import codec
from django_jobs.models import Job, Run, Status
from django_jobs.testing import drain_jobs
from tests.admin.pages import text_of


@pytest.fixture
def job(make_job):
    """Return a factory of jobs that add up numbers."""

    def make(**fields):
        payload = codec.dump_arguments((1, 2), {"c": 3})
        func = "tests.probes.jobs:add"
        return make_job(id="sum", func=func, payload=payload, signature=codec.sign(func, payload), **fields)

    return make


def test_a_job_runs_now_with_other_arguments_and_stays_as_it_is(root, page_url, job, said, logged):
    row = job(queue_name="mail", priority=7)
    url = page_url(row, "run_with")
    assert url in text_of(root.get(page_url(row)))
    page = root.get(url)
    assert [(field.name, field.initial) for field in page.context["form"]][:3] == [
        ("a", "1"),
        ("b", "2"),
        ("c", "3"),
    ]

    response = root.post(url, {"argument-a": "10", "argument-b": "2", "argument-c": "3"})

    run = Run.objects.get()
    assert response.url == page_url(run)
    assert "The job runs now with these arguments" in said(response)
    assert (run.job_id, run.queue_name, run.priority, run.scheduled_at) == ("sum", "mail", 7, None)
    drain_jobs()
    run.refresh_from_db()
    assert (run.status, codec.loads(run.result)) == (Status.SUCCESSFUL, 15)
    again = Job.objects.get()
    assert (again.payload, again.signature, again.next_run_time) == (
        row.payload,
        row.signature,
        row.next_run_time,
    )
    assert again.last_run_id == run.pk
    assert logged(row) == ["Run now; changed arguments: 1"]


def test_what_does_not_fit_is_said_and_nothing_is_added(root, page_url, job):
    response = root.post(page_url(job(), "run_with"), {"argument-a": "[1", "argument-b": "2"})

    assert "this is not JSON" in text_of(response)
    assert not Run.objects.exists()


def test_a_job_that_was_tampered_with_does_not_run(root, page_url, job):
    row = job()
    Job.objects.filter(pk=row.pk).update(signature="forged")

    response = root.post(page_url(row, "run_with"), {"args": "[1, 2]", "kwargs": "{}"})

    assert "does not match" in text_of(response)
    assert not Run.objects.exists()


def test_secrets_are_not_shown_and_keep_their_value(root, page_url, make_job):
    func, payload = "tests.probes.jobs:add", codec.dump_arguments((1, "hunter2"), {})
    row = make_job(
        func=func, payload=payload, signature=codec.sign(func, payload), options={"sensitive": ["b", 1]}
    )

    assert "hunter2" not in text_of(root.get(page_url(row, "run_with")))
    root.post(page_url(row, "run_with"), {"argument-a": "5", "argument-b": '"********************"'})

    run = Run.objects.get()
    assert codec.load_arguments(run.payload)[0] == (5, "hunter2")
    assert set(run.options["sensitive"]) >= {"b"}


@pytest.mark.parametrize("permissions", [("view_job", "view_payload"), ("view_job", "run_job"), ()])
def test_it_is_for_those_who_may_run_jobs_and_see_arguments(client_of, page_url, job, permissions):
    url, client = page_url(job(), "run_with"), client_of(*permissions)

    assert client.get(url).status_code == 403
    assert client.post(url, {"args": "[1, 2]", "kwargs": "{}"}).status_code == 403
    if "view_job" in permissions:
        assert "run-with" not in text_of(client.get(page_url(Job.objects.get())))
    assert not Run.objects.exists()
