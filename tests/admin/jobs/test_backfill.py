import pytest

from django_jobs import triggers
from django_jobs.models import Batch, Kind, Run
from tests.admin.pages import text_of

TIMES = {"start_0": "2026-03-01", "start_1": "00:00:00", "end_0": "2026-03-03", "end_1": "12:00:00"}


@pytest.fixture
def nightly(make_job):
    return make_job(id="nightly", trigger=triggers.crontab("0 3 * * *"))


def test_a_backfill_is_previewed_and_added(root, page_url, nightly, said, logged):
    url = page_url(nightly, "backfill")
    assert url in text_of(root.get(page_url(nightly)))
    assert "to see how many runs would be added" in text_of(root.get(url))

    assert "3 runs for 3 scheduled times." in text_of(root.post(url, {**TIMES, "_preview": "1"}))
    assert not Run.objects.exists()
    response = root.post(url, {**TIMES, "_save": "1"})

    assert response.url == page_url(Batch.objects.get())
    assert text_of(root.get(response.url)).count('href="/admin/django_jobs/run/') >= 3
    assert "3 runs were added." in said(response)
    assert [run.scheduled_at.day for run in Run.objects.order_by("pk")] == [1, 2, 3]
    assert logged(nightly) == [
        "Backfilled from 2026-03-01T00:00:00+00:00 to 2026-03-03T12:00:00+00:00: 3 runs were added."
    ]
    again = text_of(root.post(url, {**TIMES, "_preview": "1"}))
    assert "0 runs for 3 scheduled times; 3 times had a run." in again


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"end_0": "2999-01-01"}, "has not come"),
        ({"end_0": "2026-01-01"}, "is after the end"),
        ({"start_0": ""}, "This field is required."),
        ({"start_0": "2026-02-30"}, "Enter a valid date."),
    ],
)
def test_what_cannot_be_backfilled_is_said(root, page_url, nightly, changes, message):
    for button in ("_preview", "_save"):
        assert message in text_of(root.post(page_url(nightly, "backfill"), {**TIMES, **changes, button: "1"}))
    assert not Run.objects.exists()


def test_only_those_who_may_run_and_manage_jobs_backfill_a_schedule(
    client_of, root, page_url, make_job, nightly
):
    url = page_url(nightly, "backfill")
    for permissions in ((), ("run_job",), ("manage_job",)):
        client = client_of("view_job", *permissions)
        assert url not in text_of(client.get(page_url(nightly)))
        assert client.post(url, {**TIMES, "_save": "1"}).status_code == 403
    assert client_of("view_job", "run_job", "manage_job").get(url).status_code == 200
    once = make_job(kind=Kind.SCHEDULED)
    assert root.get(page_url(once, "backfill")).status_code == 403
    assert not Run.objects.exists()
