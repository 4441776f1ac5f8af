import re
from datetime import UTC, date, datetime, timedelta

import pytest
from apscheduler.triggers.calendarinterval import CalendarIntervalTrigger
from django.contrib.admin.sites import site
from django.utils import timezone

from django_jobs import codec, triggers
from django_jobs.admin.jobs.page import JobAdmin
from django_jobs.models import Job, Run, Status
from django_jobs.scheduler import schedule_edits
from tests.admin.pages import text_of

HOSTILE = "<script>alert('x')</script>"
AWKWARD_IDS = [
    "reports/daily",
    "with spaces & ampersand?",
    "ünïcode-日本",
    'quo"ted',
    "it's",
    "a_2Fb",
    "100%",
    "semi;colon:#",
]


def test_the_list_shows_state_trigger_and_last_outcome(root, list_url, make_job, make_run):
    run = make_run(job_id="nightly", status=Status.FAILED, finished_at=timezone.now() + timedelta(seconds=3))
    make_job(id="nightly", name="Nightly report", trigger=triggers.interval(1800), last_run=run, priority=7)

    text = text_of(root.get(list_url("job")))

    assert "nightly" in text
    assert "Nightly report" in text
    assert "Scheduled" in text
    assert triggers.describe(triggers.interval(1800)) in text
    assert "Failed" in text
    assert "3.0 s" in text


def test_a_job_whose_last_run_was_pruned_is_listed(root, list_url, make_job):
    make_job(id="old", last_run_id=999_999)

    assert "old" in text_of(root.get(list_url("job")))


def test_a_job_whose_trigger_cannot_be_read_is_listed_and_shown(root, list_url, page_url, make_job):
    job = make_job(id="damaged", job_state=b"\x80garbage", broken_reason="cannot read the trigger")

    assert "Broken" in text_of(root.get(list_url("job")))
    text = text_of(root.get(page_url(job)))
    assert "cannot read the trigger" in text
    assert "manage.py jobs re-sign" in text


def test_a_jobs_page_says_that_its_signature_does_not_match(root, page_url, make_job):
    fits, planted = make_job(id="fits"), make_job(id="planted", signature="forged")

    assert "does not match" not in text_of(root.get(page_url(fits)))
    text = text_of(root.get(page_url(planted)))
    assert f"signature of {planted.func} does not match" in text
    assert "Resume" not in text.partition("does not match")[2].partition("Schedule")[0]


@pytest.mark.parametrize("state", ["scheduled", "paused", "broken"])
def test_the_list_can_be_filtered_by_status(root, list_url, make_job, state):
    make_job(id="id-scheduled")
    make_job(id="id-paused", next_run_time=None, paused_at=timezone.now())
    make_job(id="id-broken", broken_reason="why")

    response = root.get(list_url("job", status=state))

    assert [job.pk for job in response.context["cl"].result_list] == [f"id-{state}"]


def test_the_list_can_be_filtered_by_queue_and_kind(root, list_url, make_job):
    make_job(id="a", queue_name="mail")
    make_job(id="b", queue_name="default", kind="scheduled")

    by_queue = root.get(list_url("job", queue="mail"))
    by_kind = root.get(list_url("job", kind__exact="scheduled"))

    assert [job.pk for job in by_queue.context["cl"].result_list] == ["a"]
    assert [job.pk for job in by_kind.context["cl"].result_list] == ["b"]
    # As the other words of the filters.
    assert re.findall(r"kind__exact=\w+[^>]*>\s*(\w+)", text_of(by_queue)) == ["Scheduled", "Recurring"]


def test_the_list_is_filtered_and_ordered_by_the_last_outcome(root, list_url, make_job, make_run):
    for name, status in (("good", Status.SUCCESSFUL), ("bad", Status.FAILED)):
        make_job(id=name, last_run=make_run(job_id=name, status=status))
    make_job(id="new")

    def listed(**query):
        return [job.pk for job in root.get(list_url("job", **query)).context["cl"].result_list]

    assert listed(last="FAILED") == ["bad"]
    assert listed(last="none") == ["new"]
    assert [pk for pk in listed(o="4") if pk != "new"] == ["bad", "good"]


def test_the_page_says_once_why_a_job_is_broken_and_once_who_paused_it(root, page_url, make_job):
    broken = make_job(id="a", broken_reason="shop.old:sync is not importable", next_run_time=None)
    paused = make_job(id="b", next_run_time=None, paused_at=timezone.now(), paused_by="anna")

    assert text_of(root.get(page_url(broken))).count("shop.old:sync is not importable") == 1
    assert text_of(root.get(page_url(paused))).count("by anna") == 1


def test_before_a_job_is_deleted_it_says_what_becomes_of_its_runs(root, page_url, make_job):
    page = text_of(root.get(page_url(make_job(), "delete")))

    assert "waiting runs are cancelled. A run under way finishes, and the history stays." in page


def test_the_list_says_why_a_job_is_broken_and_who_paused_it(root, list_url, make_job):
    make_job(broken_reason="shop.old:sync is not importable", next_run_time=None)
    make_job(next_run_time=None, paused_at=timezone.now(), paused_by="anna")

    text = text_of(root.get(list_url("job")))

    assert '<span class="jobs-more">shop.old:sync is not importable</span>' in text
    assert '<span class="jobs-more">by anna</span>' in text


def test_a_job_is_stopped_with_all_its_runs_by_two_clicks(
    root, page_url, make_job, make_run, make_worker, said
):
    job, worker = make_job(id="wild"), make_worker()
    running = [make_run(job_id="wild", status=Status.RUNNING, worker_id=worker.pk) for _ in range(2)]
    waiting, other = make_run(job_id="wild"), make_run(job_id="else")
    url = page_url(job, "act", "pause")
    assert url in text_of(root.get(page_url(job)))

    first = root.post(url)

    assert "2 runs of wild go on: “Stop its runs” asks them to end." in said(first)
    stop = page_url(job, "act", "stop_runs")
    assert stop in text_of(root.get(first.url))

    second = root.post(stop)

    assert "Runs of 1 job that waited were cancelled" in said(second)
    for run in (*running, waiting, other, job):
        run.refresh_from_db()
    assert [run.cancel_requested for run in running] == [True, True]
    assert (waiting.status, other.status) == (Status.CANCELLED, Status.READY)
    assert job.next_run_time is None
    assert "has no run that waits or runs" in said(root.post(stop))


def test_who_may_not_cancel_runs_is_not_offered_to_stop_them(client_of, page_url, make_job, make_run):
    job = make_job(id="wild")
    make_run(job_id="wild")
    client = client_of("view_job", "manage_job")

    assert "stop_runs" not in text_of(client.get(page_url(job)))
    assert client.post(page_url(job, "act", "stop_runs")).status_code == 403


@pytest.mark.parametrize("term", ["ightl", "Weekly", "probes.jobs:nothing"])
def test_jobs_are_found_by_part_of_id_name_and_function(root, list_url, make_job, term):
    make_job(id="nightly", name="Weekly sum")
    make_job(id="other", func="elsewhere:func")

    response = root.get(list_url("job", q=term))

    assert [job.pk for job in response.context["cl"].result_list] == ["nightly"]


def test_the_list_costs_the_same_with_one_job_and_with_fifty(
    root, list_url, make_job, make_run, django_assert_num_queries
):
    root.get(list_url("job"))
    make_job(id="first", last_run=make_run(job_id="first", status=Status.SUCCESSFUL))
    with django_assert_num_queries(7):
        root.get(list_url("job"))
    for n in range(49):
        make_job(id=f"job-{n}", last_run=make_run(job_id=f"job-{n}", status=Status.SUCCESSFUL))

    with django_assert_num_queries(7):
        response = root.get(list_url("job"))

    assert len(response.context["cl"].result_list) == 50


def test_a_jobs_page_costs_the_same_with_one_run_and_with_many(
    root, page_url, make_job, make_run, django_assert_num_queries
):
    job = make_job(id="busy")
    make_run(job_id="busy", status=Status.FAILED)
    root.get(page_url(job))
    with django_assert_num_queries(4):
        root.get(page_url(job))
    for _ in range(30):
        make_run(job_id="busy", status=Status.FAILED)

    with django_assert_num_queries(4):
        text = text_of(root.get(page_url(job)))

    assert text.count('class="jobs-cell jobs-cell-failed"') == 20


def test_a_jobs_page_shows_the_next_five_firings(root, page_url, make_job):
    first = datetime(2030, 1, 1, 3, 0, tzinfo=UTC)
    job = make_job(trigger=triggers.interval(3600), next_run_time=first)

    text = text_of(root.get(page_url(job)))

    for hour in range(3, 8):
        assert f"2030-01-01 0{hour}:00:00" in text
    assert "2030-01-01 08:00:00" not in text


@pytest.mark.parametrize(("zone", "hour"), [("Pacific/Auckland", 8), ("America/New_York", 20)])
def test_firings_of_a_calendars_days_follow_its_own_zone(root, page_url, make_job, zone, hour):
    trigger = CalendarIntervalTrigger(days=1, hour=hour, timezone=zone, start_date=date(2030, 1, 10))
    first = trigger.get_next_fire_time(None, timezone.now())
    job = make_job(trigger=trigger, next_run_time=first.astimezone(UTC))
    days = [first + timedelta(days=n) for n in range(5)]

    (shown,) = re.findall(r'<ol class="jobs-firings">(.*?)</ol>', root.get(page_url(job)).content.decode())

    times = [datetime.fromisoformat(text) for text in re.findall(r'datetime="([^"]+)"', shown)]
    assert times == [day.astimezone(UTC) for day in days]


def test_a_paused_jobs_page_shows_no_firings(root, page_url, make_job):
    job = make_job(next_run_time=None, paused_at=timezone.now())

    assert "None while it is paused." in text_of(root.get(page_url(job)))


def test_secrets_in_arguments_are_not_shown(root, page_url, make_job):
    payload = codec.dump_arguments((), {"password": "hunter2", "card": "number 4711", "room": "visible"})
    job = make_job(payload=payload, options={"sensitive": ["card"]})

    text = text_of(root.get(page_url(job)))

    assert "hunter2" not in text
    assert "number 4711" not in text
    assert "visible" in text


def test_a_damaged_payload_is_said_and_the_page_still_shown(root, page_url, make_job):
    job = make_job(payload="{not json", options=["odd"])

    assert "The stored arguments cannot be read" in text_of(root.get(page_url(job)))


def test_hostile_text_is_shown_as_text(root, list_url, page_url, make_job, make_run):
    run = make_run(job_id=HOSTILE, status=Status.FAILED, error=HOSTILE, func=HOSTILE)
    job = make_job(
        id=HOSTILE,
        name=HOSTILE,
        func=HOSTILE,
        queue_name=HOSTILE,
        broken_reason=HOSTILE,
        payload=codec.dump_arguments((HOSTILE,), {HOSTILE: HOSTILE}),
        options={HOSTILE: HOSTILE},
        last_run=run,
    )

    for url in (list_url("job"), page_url(job), page_url(job, "delete")):
        text = text_of(root.get(url))
        assert "<script>alert" not in text
        assert "&lt;script&gt;alert" in text


@pytest.mark.parametrize("job_id", AWKWARD_IDS)
def test_awkward_ids_have_pages_buttons_and_deletion(root, page_url, make_job, job_id):
    job = make_job(id=job_id)

    assert root.get(page_url(job)).status_code == 200
    assert root.post(page_url(job, "act", "pause")).status_code == 302
    job.refresh_from_db()
    assert job.status == "paused"
    assert root.get(page_url(job, "history")).status_code == 200
    assert root.post(page_url(job, "delete"), {"post": "yes"}).status_code == 302
    assert not Job.objects.filter(pk=job_id).exists()


def test_a_jobs_page_has_no_fields_to_fill_in(root, page_url, make_job):
    job = make_job(id="fixed")

    text = text_of(root.get(page_url(job)))
    assert 'name="_save"' not in text
    assert 'name="payload"' not in text
    assert root.post(page_url(job), {"func": "os:system", "_save": "1"}).status_code == 403
    job.refresh_from_db()
    assert job.func == "tests.probes.jobs:nothing"


# Actions


def test_run_now_adds_a_run_for_each_job(root, act, make_job, said, logged):
    jobs = [make_job(), make_job()]

    response = act(root, "run_now", *jobs)

    assert "2 jobs run now." in said(response)
    for job in jobs:
        assert Run.objects.ready().filter(job_id=job.pk).count() == 1
        assert logged(job) == ["Run now."]


def test_pause_and_resume(root, act, make_job, said, logged):
    job = make_job()

    assert "1 job was paused." in said(act(root, "pause", job))
    job.refresh_from_db()
    assert job.status == "paused"
    assert "is paused already" in said(act(root, "pause", job))
    assert "1 job was resumed." in said(act(root, "resume", job))
    job.refresh_from_db()
    assert job.status == "scheduled"
    assert "is not paused" in said(act(root, "resume", job))
    paused, resumed = logged(job)
    assert paused.startswith("Paused. Status from “Scheduled” to “Paused”; next run from “20")
    assert paused.endswith(" to “none”.")
    assert resumed.startswith("Resumed. Status from “Paused” to “Scheduled”; next run from “none” to “20")


def test_an_action_says_what_it_did_and_what_it_left(root, act, make_job, said, logged):
    running = make_job(id="one")
    paused = make_job(id="two", next_run_time=None, paused_at=timezone.now())

    words = said(act(root, "pause", running, paused))

    assert "1 job was paused." in words
    assert "1 was left as it is: two is paused already" in words
    assert logged(paused) == []


def test_a_job_that_was_paused_since_the_list_was_made_is_not_left_out_silently(
    root, list_url, make_job, said
):
    job = make_job(next_run_time=None, paused_at=timezone.now())
    data = {"action": "pause", "index": "0", "_selected_action": [job.pk]}

    response = root.post(list_url("job", status="scheduled"), data)

    assert "is paused already" in said(response)


def test_resuming_a_broken_job_that_stays_broken_says_so(root, act, make_job, said):
    job = make_job(job_state=b"garbage", next_run_time=None, broken_reason="unreadable")

    assert "is still broken" in said(act(root, "resume", job))


def test_deleting_jobs_is_confirmed_first_and_keeps_their_history(
    root, act, confirm, make_job, make_run, said, logged
):
    job = make_job(id="doomed")
    finished = make_run(job_id="doomed", status=Status.SUCCESSFUL)
    waiting = make_run(job_id="doomed")

    page = text_of(act(root, "delete_selected", job))
    assert "Are you sure" in page
    assert "1 waiting run is cancelled" in page
    assert "Runs under way finish, and the history stays." in page
    assert Job.objects.filter(pk="doomed").exists()
    response = confirm(root, job)

    assert "Successfully deleted 1 job." in said(response)
    assert not Job.objects.filter(pk="doomed").exists()
    finished.refresh_from_db()
    waiting.refresh_from_db()
    assert waiting.status == Status.CANCELLED
    assert logged(job) == ["Deleted."]


def test_too_many_jobs_at_once_are_refused(root, act, make_job, said, monkeypatch):
    monkeypatch.setattr("django_jobs.admin.shared.actions.AT_ONCE", 2)
    jobs = [make_job() for _ in range(3)]

    assert "At most 2 can be chosen" in said(act(root, "pause", *jobs))
    assert not Job.objects.paused().exists()


# Permissions


def test_who_may_only_look_is_offered_no_action(client_of, list_url, page_url, make_job):
    client, job = client_of("view_job"), make_job()

    assert 'name="action"' not in text_of(client.get(list_url("job")))
    text = text_of(client.get(page_url(job)))
    assert "jobs-button" not in text
    assert "deletelink" not in text


@pytest.mark.parametrize("name", ["run_now", "pause", "resume", "delete_selected"])
def test_who_may_only_look_cannot_act_by_hand(client_of, act, confirm, page_url, make_job, logged, name):
    client, job = client_of("view_job"), make_job()

    act(client, name, job)
    confirm(client, job)
    assert client.post(page_url(job, "act", "pause")).status_code == 403

    job.refresh_from_db()
    assert job.status == "scheduled"
    assert not Run.objects.exists()
    assert logged(job) == []


def test_who_may_change_but_not_delete_is_not_offered_deletion(client_of, list_url, page_url, make_job, act):
    client, job = client_of("view_job", "change_job"), make_job()

    text = text_of(client.get(list_url("job")))
    assert 'value="pause"' in text
    assert 'value="delete_selected"' not in text
    assert client.post(page_url(job, "delete"), {"post": "yes"}).status_code == 403
    assert Job.objects.filter(pk=job.pk).exists()


def test_who_may_nothing_sees_nothing(client_of, list_url, page_url, make_job):
    client, job = client_of(), make_job()

    assert client.get(list_url("job")).status_code == 403
    assert client.get(page_url(job)).status_code == 403


def test_buttons_do_nothing_by_get(root, page_url, make_job):
    job = make_job()

    assert root.get(page_url(job, "act", "pause")).status_code == 405
    job.refresh_from_db()
    assert job.status == "scheduled"


def test_a_button_that_does_not_exist_is_not_found(root, page_url, make_job):
    assert root.post(page_url(make_job(), "act", "delete_model")).status_code == 404


def test_buttons_and_actions_need_a_csrf_token(make_user, list_url, page_url, make_job):
    from django.test import Client

    client, job = Client(enforce_csrf_checks=True), make_job()
    client.force_login(make_user("view_job", "change_job"))

    assert client.post(page_url(job, "act", "pause")).status_code == 403
    assert client.post(list_url("job"), {"action": "pause", "_selected_action": job.pk}).status_code == 403
    job.refresh_from_db()
    assert job.status == "scheduled"


def test_a_button_goes_back_to_the_page_with_the_lists_filters(root, page_url, make_job, said, logged):
    job = make_job()
    text = text_of(root.get(page_url(job) + "?_changelist_filters=status%3Dscheduled"))
    assert "_changelist_filters=status%3Dscheduled" in text

    response = root.post(page_url(job, "act", "pause") + "?_changelist_filters=status%3Dscheduled")

    assert response.url == page_url(job) + "?_changelist_filters=status%3Dscheduled"
    assert "1 job was paused." in said(response)
    assert logged(job)[0].startswith("Paused.")


def test_a_button_of_a_job_that_is_gone_says_so(root, page_url, make_job):
    job = make_job(id="gone")
    url = page_url(job, "act", "pause")
    Job.objects.all().delete()

    response = root.post(url, follow=True)

    assert "Perhaps it was deleted" in text_of(response)


def test_pages_have_no_inline_style_or_script(root, list_url, page_url, make_job, make_run):
    job = make_job(id="plain")
    make_run(job_id="plain", status=Status.FAILED, error="x")

    for url in (list_url("job"), page_url(job)):
        text = text_of(root.get(url))
        assert " style=" not in text
        assert " onclick=" not in text
        assert "<script>" not in text


def test_stock_admin_serves_the_pages():
    assert isinstance(site.get_model_admin(Job), JobAdmin)


DECLARED = {
    "trigger": triggers.rule(triggers.interval(60)),
    "queue_name": "default",
    "priority": 0,
    "max_instances": 1,
}


def test_a_declared_jobs_page_says_so(root, page_url, make_job):
    declared, added = make_job(declared=DECLARED), make_job()

    assert "Declared in code." in text_of(root.get(page_url(declared)))
    assert "Back to declaration" not in text_of(root.get(page_url(declared)))
    assert "Declared in code" not in text_of(root.get(page_url(added)))


def test_what_was_changed_of_a_declared_job_is_shown_beside_what_the_code_says(
    root, page_url, list_url, make_job
):
    job = make_job(id="tick", declared=DECLARED)
    schedule_edits.edit("tick", priority=50, trigger=triggers.crontab("0 4 * * *"))

    text = text_of(root.get(page_url(job)))

    assert "priority (the code says: 0)" in text
    assert "trigger (the code says: every minute)" in text
    assert "overridden: priority, trigger" in text_of(root.get(list_url("job")))


@pytest.mark.parametrize("way", ["button", "action"])
def test_a_declared_job_is_made_what_the_code_says(root, page_url, act, said, logged, make_job, way):
    job = make_job(id="tick", declared=DECLARED)
    schedule_edits.edit("tick", priority=50)
    assert "Back to declaration" in text_of(root.get(page_url(job)))

    if way == "button":
        response = root.post(page_url(job, "act", "back_to_declaration"))
    else:
        response = act(root, "back_to_declaration", job)

    job.refresh_from_db()
    assert (job.priority, job.overridden) == (0, [])
    assert said(response) == "1 job is what the code declares."
    assert logged(job) == ["Back to declaration. Priority from “50” to “0”."]


def test_what_is_not_declared_or_not_changed_is_left_alone(root, act, said, make_job):
    response = act(root, "back_to_declaration", make_job(id="a"), make_job(id="b", declared=DECLARED))

    assert "a is not declared in code; b is what the code declares already" in said(response)


def test_going_back_to_the_declaration_needs_the_permission_and_a_post(client_of, root, page_url, make_job):
    job = make_job(id="tick", declared=DECLARED)
    schedule_edits.edit("tick", priority=50)
    url = page_url(job, "act", "back_to_declaration")

    assert client_of("view_job").post(url).status_code == 403
    assert root.get(url).status_code == 405
    job.refresh_from_db()
    assert job.priority == 50


def test_a_declared_job_is_not_deleted(root, confirm, page_url, said, make_job):
    job = make_job(id="tick", declared=DECLARED)

    assert "would come back" in said(confirm(root, job))
    assert "would come back" in said(root.post(page_url(job, "delete"), {"post": "yes"}))
    assert Job.objects.filter(pk="tick").exists()


def test_the_page_shows_tags(root, page_url, make_job):
    tagged, plain = make_job(options={"tags": ["import", HOSTILE]}), make_job()

    page = root.get(page_url(tagged)).content.decode()

    assert '<span class="jobs-label">import</span>' in page
    assert HOSTILE not in page
    assert "field-tags" not in root.get(page_url(plain)).content.decode()
