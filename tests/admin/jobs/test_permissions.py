import pytest
from django.contrib.admin.models import LogEntry

from django_jobs import codec
from django_jobs.models import Job, Run
from tests.admin.pages import unescaped_text_of

HOSTILE = "<script>alert('x')</script>"
BUTTONS = {"run_now": "Run now", "pause": "Pause"}


@pytest.mark.parametrize(
    ("permission", "may"),
    [("run_job", {"run_now"}), ("manage_job", {"pause"}), ("change_job", {"run_now", "pause"})],
)
def test_each_permission_allows_its_own_buttons_and_actions(
    client_of, act, list_url, page_url, make_job, permission, may
):
    client = client_of("view_job", permission)
    for name, words in BUTTONS.items():
        job = make_job(id=f"{name}-{permission}")

        assert (f"jobs-button-{name}" in unescaped_text_of(client.get(page_url(job)))) is (name in may), words
        assert (f'value="{name}"' in unescaped_text_of(client.get(list_url("job")))) is (name in may)
        assert client.post(page_url(job, "act", name)).status_code == (302 if name in may else 403)
        act(client, name, job)

    is_paused = Job.objects.get(pk=f"pause-{permission}").status == "paused"
    assert is_paused is ("pause" in may)
    assert Run.objects.count() == (2 if "run_now" in may else 0)


def test_who_may_run_or_manage_but_not_view_sees_no_page(client_of, list_url, page_url, make_job):
    client, job = client_of("run_job", "manage_job"), make_job()

    assert client.get(list_url("job")).status_code == 403
    assert client.get(page_url(job)).status_code == 403


def test_arguments_are_shown_to_those_who_may_view_them(client_of, make_user, root, page_url, make_job):
    job = make_job(payload=codec.dump_arguments((), {"room": "visible-value"}))

    hidden = unescaped_text_of(client_of("view_job", "change_job", "delete_job").get(page_url(job)))

    assert "visible-value" not in hidden
    assert "Shown to those who may view arguments" in hidden
    assert "visible-value" in unescaped_text_of(root.get(page_url(job)))


def test_deleting_is_logged_with_what_was_deleted(root, page_url, make_job):
    job = make_job(id="doomed", priority=7)

    root.post(page_url(job, "delete"), {"post": "yes"})

    (entry,) = LogEntry.objects.all()
    assert entry.is_deletion()
    assert "tests.probes.jobs:nothing" in entry.change_message
    assert "trigger “every minute”" in entry.change_message
    assert "priority “7”" in entry.change_message


def test_hostile_words_in_the_log_and_in_messages_are_shown_as_text(root, act, page_url, list_url, make_job):
    job = make_job(id=HOSTILE, queue_name=HOSTILE, name=HOSTILE)
    url = page_url(job, "schedule")

    root.post(page_url(job, "act", "pause"))
    data = {"kind": "interval", "every": "5", "unit": "hours", "queue_name": HOSTILE + "2", "priority": "0",
            "max_instances": "1", "attempts": "1", "delay": "1", "backoff": "fixed", "max_delay": "5",
            "_save": "1"}  # fmt: skip
    text = root.post(url, data, follow=True).content.decode()

    assert Job.objects.get().queue_name == HOSTILE + "2"
    for raw in (
        text,
        root.get(page_url(job, "history")).content.decode(),
        root.get(list_url("job")).content.decode(),
    ):
        assert "<script>alert" not in raw
        assert "&lt;script&gt;alert" in raw
