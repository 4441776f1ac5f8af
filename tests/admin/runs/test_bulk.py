import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.contrib.contenttypes.models import ContentType
from django.urls import reverse

from django_jobs.admin.runs import bulk_page
from django_jobs.models import Job, Run, Status
from django_jobs.testing import drain_jobs

URL = "/admin/django_jobs/run/matching/"


@pytest.fixture
def confirmed():
    """Return a function that asks about all runs that match, and confirms what it is told."""

    def answer(client, action, **query):
        page = client.get(URL, query)
        assert page.status_code == 200
        return client.post(
            URL, {"bulk_action": action, "confirmed": page.context["confirmed"]}, query_params=query
        )

    return answer


def test_the_list_leads_to_it_with_its_filters(root, client_of, list_url, make_run):
    make_run(status=Status.FAILED, queue_name="mail")

    text = root.get(list_url("run", status="FAILED", queue="mail", before="99")).content.decode()

    assert f'href="{URL}?status=FAILED&amp;queue=mail"' in text
    assert URL not in client_of("view_run").get(list_url("run")).content.decode()


def test_it_asks_first_and_says_what_matches(root, make_run):
    for _ in range(3):
        make_run(status=Status.FAILED, queue_name="mail")
    make_run()

    text = root.get(URL, {"status": "FAILED", "queue": "mail"}).content.decode()

    assert "3 runs match." in text
    assert "<dt>Status</dt><dd>Failed</dd>" in text
    assert "<dt>Queue</dt><dd>mail</dd>" in text
    assert 'value="retry"' in text
    assert 'value="delete"' in text
    assert 'value="cancel"' not in text
    assert Run.objects.filter(status=Status.FAILED).count() == 3
    assert "No filter is set" in root.get(URL).content.decode()


def test_it_counts_to_an_end_only(root, make_runs, monkeypatch):
    monkeypatch.setattr(bulk_page, "COUNTED", 5)
    make_runs(7)

    assert "More than 5 runs match." in root.get(URL).content.decode()


@pytest.mark.django_db
def test_what_is_confirmed_is_done_by_a_run_that_shows_how_far_it_is(root, confirmed, make_run, said):
    failed = [make_run(status=Status.FAILED, queue_name="mail") for _ in range(3)]
    other = make_run(status=Status.FAILED)

    response = confirmed(root, "retry", queue="mail")

    run = Run.objects.latest("pk")
    assert response.url == f"/admin/django_jobs/run/{run.pk}/change/"
    assert "being done in the background" in said(response)
    assert Run.objects.filter(status=Status.FAILED).count() == 4
    (entry,) = LogEntry.objects.all()
    assert entry.object_id == str(run.pk)
    assert entry.change_message == "Asked to retry all runs that match: queue=mail"

    drain_jobs(queues=["default"])

    assert {one.pk for one in Run.objects.filter(status=Status.READY)} == {one.pk for one in failed}
    other.refresh_from_db()
    assert other.status == Status.FAILED
    page = root.get(response.url).content.decode()
    assert "3 changed, 0 left as they were" in page
    assert '<progress value="100" max="100"' in page


def test_it_is_done_before_what_it_cancels(root, confirmed, make_run):
    waiting = [make_run(priority=50) for _ in range(3)]

    confirmed(root, "cancel", status="READY")
    drain_jobs()

    assert [Run.objects.get(pk=run.pk).status for run in waiting] == [Status.CANCELLED] * 3


@pytest.mark.parametrize(
    ("served", "paused", "expected"),
    [
        ([()], (), "default"),
        ([()], ("default",), "django_jobs"),
        ([("mail",)], (), "mail"),
        ([("mail", "reports")], ("mail",), "reports"),
        ([("mail", "default")], (), "default"),
    ],
)
def test_it_waits_where_somebody_takes_it(
    root, confirmed, make_run, make_worker, manager, said, served, paused, expected
):
    make_run()
    for queues in served:
        make_worker(queues=list(queues))
    for name in paused:
        manager.pause_queue(name)

    response = confirmed(root, "cancel", status="READY")

    assert Run.objects.latest("pk").queue_name == expected
    assert "No live worker" not in said(response)


@pytest.mark.parametrize(
    ("queues", "paused", "engines"),
    [
        (None, (), {}),
        (["mail"], ("mail",), {}),
        # A worker that serves all takes nothing from Celery.
        ([], ("django_jobs",), {"default": "celery"}),
    ],
)
def test_it_says_when_nobody_takes_it(
    root, confirmed, make_run, make_worker, manager, settings, said, queues, paused, engines
):
    make_run()
    if queues is not None:
        make_worker(queues=queues)
    for name in paused:
        manager.pause_queue(name)
    settings.DJANGO_JOBS = {"ENGINES": engines}

    assert "No live worker serves" in root.get(URL).content.decode()
    response = confirmed(root, "cancel", status="READY")

    assert Run.objects.latest("pk").queue_name == "default"
    assert "No live worker serves" in said(response)


def test_what_executes_where_it_is_added_needs_no_worker(root, settings, make_run):
    make_run()
    settings.DJANGO_JOBS = {"ENGINES": {"default": "inline"}}

    assert "No live worker" not in root.get(URL).content.decode()


def test_a_search_is_what_it_was_when_it_was_confirmed(root, confirmed, make_run):
    runs = [make_run(status=Status.FAILED, job_id="tests.probes") for _ in range(2)]
    other = make_run(status=Status.FAILED)

    # With the job's runs gone, the same words mean the beginning of a function.
    response = confirmed(root, "delete", q="tests.probes")
    Run.objects.filter(pk=runs[0].pk).delete()
    drain_jobs()

    assert response.status_code == 302
    assert Run.objects.filter(pk=other.pk).exists()
    assert not Run.objects.filter(pk__in=[run.pk for run in runs]).exists()


@pytest.mark.parametrize("confirmed", ["", "made up", "W3t9LDFd:x:y"])
def test_what_was_not_confirmed_is_not_done(root, make_run, said, confirmed):
    make_run(status=Status.FAILED)

    response = root.post(URL, {"bulk_action": "delete", "confirmed": confirmed})

    assert "Nothing was done" in said(response)
    assert Run.objects.count() == 1


def test_nothing_is_done_without_a_choice_or_by_get(root, make_run, said):
    make_run(status=Status.FAILED)
    confirmed = root.get(URL).context["confirmed"]

    assert "Choose what to do" in said(root.post(URL, {"confirmed": confirmed}))
    root.get(URL, {"bulk_action": "delete", "confirmed": confirmed})

    assert Run.objects.count() == 1


@pytest.mark.parametrize(
    ("permissions", "allowed"),
    [
        ((), []),
        (("view_run",), []),
        (("delete_run",), []),
        (("change_run",), ["hurry", "retry", "cancel"]),
        (("view_run", "delete_run"), ["delete"]),
        (("manage_job",), []),
        (("view_run", "manage_job"), ["hurry", "retry", "cancel"]),
    ],
)
def test_each_may_do_what_their_permissions_say(client_of, make_run, permissions, allowed):
    Permission.objects.get_or_create(
        codename="manage_job",
        content_type=ContentType.objects.get_for_model(Job, for_concrete_model=False),
        defaults={"name": "Can manage jobs"},
    )
    make_run(status=Status.FAILED)
    client = client_of(*permissions)

    response = client.get(URL)

    assert response.status_code == (200 if allowed else 403)
    if allowed:
        assert [choice["name"] for choice in response.context["choices"]] == allowed
    for action in {"retry", "cancel", "delete"} - set(allowed):
        confirmed = response.context["confirmed"] if allowed else ""
        assert client.post(URL, {"bulk_action": action, "confirmed": confirmed}).status_code == 403
    assert Run.objects.count() == 1


def test_strangers_are_asked_to_log_in(client, db):
    assert client.get(URL).status_code == 302
    assert client.post(URL).status_code == 302
    assert client.get(reverse("admin:django_jobs_run_export", args=["csv"])).status_code == 302


def test_hostile_filters_are_shown_as_text(root, db):
    text = root.get(URL, {"queue": "<script>alert(1)</script>", "error": "<script>"}).content.decode()

    assert "<script>alert" not in text
    assert "&lt;script&gt;alert(1)" in text


def test_it_has_few_queries(root, make_run, django_assert_max_num_queries):
    make_run(status=Status.FAILED)
    User.objects.count()

    with django_assert_max_num_queries(10):
        root.get(URL, {"q": "tests.", "queue": "mail", "since": "week", "status": "FAILED"})
