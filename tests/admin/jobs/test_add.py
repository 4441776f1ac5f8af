from html import unescape

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.contenttypes.models import ContentType
from django.urls import reverse

from django_jobs import Retry, codec, triggers
from django_jobs.models import Job
from django_jobs.registry.retry import to_json
from django_jobs.testing import drain_jobs
from tests.admin.pages import unescaped_text_of
from tests.probes import signatures as probes

ADD = "/admin/django_jobs/job/add/"
BASE = {
    "kind": "interval", "every": "5", "unit": "minutes", "zone": "UTC", "queue_name": "default", "priority": "0",
    "max_instances": "1", "attempts": "1", "delay": "10", "backoff": "exponential", "max_delay": "3600",
}  # fmt: skip


def url_of(func):
    return f"{ADD}?func={func.__module__}:{func.__qualname__}"


@pytest.fixture
def add(root):
    """Return a function that fills in the form of a function and presses a button."""

    def press(func, button="_save", client=root, arguments=(), **values):
        data = {**BASE, **values, button: "1", **{f"argument-{k}": v for k, v in dict(arguments).items()}}
        return client.post(url_of(func), data)

    return press


def test_functions_registered_with_job_can_be_chosen_and_no_others(root):
    raw = root.get(ADD).content.decode()
    text = unescape(raw)

    assert f'href="?func={probes.__name__}%3Ascalars"' in text
    assert "Take one of each." in text
    assert "More words that nobody lists" not in text
    assert "wait_for_go" not in text
    assert "Take &lt;b&gt;raw&lt;/b&gt; bytes." in raw


def test_functions_are_searched_by_part_of_their_name(root):
    text = unescaped_text_of(root.get(f"{ADD}?q=SCAL"))

    assert "%3Ascalars" in text
    assert "%3Acollections" not in text
    assert "No function of such a name" in unescaped_text_of(root.get(f"{ADD}?q=zzz"))


@pytest.mark.parametrize(
    "path",
    ["os:system", "tests.probes.jobs:nothing", "django_jobs.bulk:act_on_matching", "nonsense", "", "a:<b>"],
)
def test_a_function_that_was_not_registered_cannot_be_added(root, path):
    assert root.get(f"{ADD}?func={path}").status_code == 404
    assert root.post(f"{ADD}?func={path}", {**BASE, "_save": "1"}).status_code == 404
    assert not Job.objects.exists()


def test_a_recurring_job_is_added(add, said, logged):
    response = add(
        probes.rest, arguments={"first": "1", "second": "9"}, job_id="mine/1", name="Mine", every="90"
    )

    job = Job.objects.get()
    assert (job.pk, job.name, job.func, job.kind) == (
        "mine/1",
        "Mine",
        f"{probes.__name__}:rest",
        "recurring",
    )
    assert codec.load_arguments(job.payload) == ((), {"first": 1, "second": 9})
    codec.verify(job.func, job.payload, job.signature)
    assert triggers.describe(triggers.loads(job.job_state)) == "every 1 hour 30 minutes"
    assert response.url == reverse("admin:django_jobs_job_change", args=["mine_2F1"])
    assert said(response) == "The job was added."
    entry = LogEntry.objects.get()
    assert entry.is_addition()
    assert f"Added for {probes.__name__}:rest: status “Scheduled”; trigger “every 1 hour 30 minutes”" in str(
        entry.change_message
    )


def test_the_added_job_does_its_work(add, manager):
    add(probes.rest, arguments={"first": "1"}, job_id="mine")

    manager.run_job("mine")
    drain_jobs()

    assert manager.get_job("mine")["last_run"]["status"] == "SUCCESSFUL"


def test_a_job_for_one_time_is_added(add):
    add(probes.rest, arguments={"first": "1"}, kind="once", at_0="2031-05-06", at_1="07:08")

    job = Job.objects.get()
    assert (job.kind, f"{job.next_run_time:%Y-%m-%d %H:%M}", len(job.pk)) == (
        "scheduled",
        "2031-05-06 07:08",
        32,
    )


def test_the_policy_begins_as_the_function_has_it_and_can_be_changed(root, add):
    text = unescaped_text_of(root.get(url_of(probes.defaults)))
    assert 'name="queue_name" value="slow"' in text
    assert 'name="attempts" value="4"' in text

    add(probes.defaults, job_id="a", queue_name="fast", attempts="2", delay="1", max_delay="9", priority="3")
    add(probes.defaults, job_id="b", attempts="1", max_instances="6")

    a, b = Job.objects.order_by("pk")
    assert (a.queue_name, a.priority, a.options["retry"]) == (
        "fast",
        3,
        to_json(Retry(max_attempts=2, delay=1, max_delay=9)),
    )
    assert (b.max_instances, b.options["retry"]["max_attempts"]) == (6, 1)


def test_secrets_are_stored_as_such_and_logged_nowhere(add, root, page_url):
    add(
        probes.defaults,
        arguments={"text": "plain", "limit": "10", "api_key": "k3y", "pin": "47114711"},
        job_id="a",
    )

    job = Job.objects.get()
    assert codec.load_arguments(job.payload) == ((), {"api_key": "k3y", "pin": 47114711})
    assert "47114711" not in str(LogEntry.objects.get().change_message)
    text = unescaped_text_of(root.get(page_url(job)))
    assert "k3y" not in text
    # Longer than the fractions of seconds, which pages have.
    assert "47114711" not in text


def test_mistakes_in_arguments_and_schedule_are_said_together_and_nothing_is_added(add):
    text = unescaped_text_of(add(probes.rest, arguments={"first": "x"}, every="", queue_name=""))

    assert "Enter a whole number." in text
    assert "Fill this in" in text
    assert "This field is required." in text
    assert not Job.objects.exists()


def test_an_id_in_use_is_refused_and_its_job_left_alone(add, make_job, make_run):
    job = make_job(id="taken")
    make_run(job_id="queued")

    for job_id in ("taken", "queued"):
        text = unescaped_text_of(add(probes.rest, arguments={"first": "1"}, job_id=job_id))
        assert "There is a job of this id already." in text

    assert Job.objects.get().func == job.func


def test_what_cannot_be_stored_is_said(add, settings):
    settings.DJANGO_JOBS = {"MAX_PAYLOAD_BYTES": 100}

    text = unescaped_text_of(add(probes.unknown_hints, arguments={"value": '"' + "x" * 300 + '"'}))

    assert "MAX_PAYLOAD_BYTES" in text
    assert not Job.objects.exists()


def test_the_preview_adds_nothing_and_keeps_what_was_filled_in(add):
    text = unescaped_text_of(
        add(probes.rest, "_preview", arguments={"first": "17"}, kind="cron", expression="0 4 1 1 *")
    )

    assert text.count("-01-01 04:00:00</time>") == 5
    assert 'value="17"' in text
    assert not Job.objects.exists()
    assert not LogEntry.objects.exists()


def test_a_function_that_no_form_can_call_says_why(root, said):
    response = root.get(url_of(probes.impossible))

    assert response.url == ADD
    assert "manager's own word" in said(response)


def test_a_function_without_parameters_has_no_such_fields(root):
    assert "argument-" not in unescaped_text_of(root.get(url_of(probes.bare)))


@pytest.mark.parametrize(
    "permissions", [[], ["view_job"], ["view_job", "change_job"], ["view_job", "run_job"]]
)
def test_who_may_not_add_cannot(client_of, add, list_url, permissions):
    client = client_of(*permissions)

    assert client.get(ADD).status_code == 403
    assert client.get(url_of(probes.rest)).status_code == 403
    assert add(probes.rest, client=client, arguments={"first": "1"}).status_code == 403
    assert "addlink" not in client.get(list_url("job")).content.decode()
    assert not Job.objects.exists()


@pytest.mark.parametrize("permission", ["add_job", "manage_job"])
def test_who_may_add_or_manage_can(client_of, add, list_url, permission):
    client = client_of("view_job", permission)

    assert "addlink" in unescaped_text_of(client.get(list_url("job")))
    add(probes.rest, client=client, arguments={"first": "1"})

    assert Job.objects.count() == 1


def test_adding_needs_a_csrf_token(make_user):
    from django.test import Client

    client = Client(enforce_csrf_checks=True)
    client.force_login(make_user("view_job", "manage_job"))

    assert client.post(url_of(probes.rest), {**BASE, "_save": "1", "argument-first": "1"}).status_code == 403
    assert not Job.objects.exists()


@pytest.mark.parametrize("url", [ADD, url_of(probes.scalars), url_of(probes.defaults)])
def test_the_pages_have_no_inline_style_or_script(root, url):
    raw = root.get(url).content.decode()

    assert " style=" not in raw
    assert " onclick=" not in raw
    assert "<script>" not in raw


def test_the_pages_cost_a_few_queries(root, add, django_assert_max_num_queries):
    root.get(ADD)
    ContentType.objects.get_for_model(Job)

    with django_assert_max_num_queries(3):
        root.get(ADD)
    with django_assert_max_num_queries(3):
        root.get(url_of(probes.defaults))
    with django_assert_max_num_queries(15):
        add(probes.rest, arguments={"first": "1"}, job_id="mine")
