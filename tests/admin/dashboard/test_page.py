import re
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from apscheduler.triggers.calendarinterval import CalendarIntervalTrigger
from django.contrib.admin import AdminSite, site
from django.contrib.admin.models import LogEntry
from django.urls import reverse
from django.utils import timezone, translation

from django_jobs.admin import DashboardAdmin
from django_jobs.admin.dashboard import failures, upcoming
from django_jobs.admin.dashboard.overview import RANGES, Overview
from django_jobs.admin.dashboard.parts import PARTS
from django_jobs.models import BIN_ENDS, Dashboard, Queue, Rollup
from django_jobs.storage.queues import paused_queues
from django_jobs.storage.statistics.rows import KEPT

pytestmark = pytest.mark.django_db

URL = "/admin/django_jobs/dashboard/"


@pytest.fixture
def tally(db):
    """Return a function that counts runs that ended at a time, as processes do."""

    def count(func="shop.jobs:send", queue_name="default", outcome="SUCCESSFUL", runs=1, at=None, bin_=3):
        at = at or timezone.now()
        for size in KEPT:
            begins_at = at - timedelta(seconds=at.timestamp() % size)
            key = {"size_seconds": size, "begins_at": begins_at, "func": func, "queue_name": queue_name}
            row, _ = Rollup.objects.get_or_create(**key, outcome=outcome)
            row.runs += runs
            row.ran_seconds += runs * BIN_ENDS[bin_]
            for name in (f"ran_{bin_}", f"waited_{bin_}"):
                setattr(row, name, getattr(row, name) + runs)
            row.save()

    return count


def text_of(html):
    text = re.sub(r"<title>.*?</title>|<[^>]*>", " ", html, flags=re.DOTALL)
    return re.sub(r"\s+", " ", text)


def html_of(client, name, **query):
    """Return a part of the page, and the heading after it."""
    _, _, html = client.get(URL, query).content.decode().partition(f'data-live-part="{name}">')
    assert html
    return html.partition("<div data-live-part=")[0]


def part(client, name, **query):
    return text_of(html_of(client, name, **query))


def test_it_is_the_first_page_of_the_app_in_any_admin_and_language(make_user, rf):
    own = AdminSite(name="own")
    for model, pages in site._registry.items():
        if model._meta.app_label == "django_jobs":
            own.register(model, type(pages))
    request = rf.get("/")
    request.user = make_user(is_superuser=True)

    for place in (site, own):
        for language in ("en", "de"):
            with translation.override(language):
                (app,) = place.get_app_list(request, "django_jobs")
            assert app["models"][0]["object_name"] == "Dashboard"
            assert app["models"][0]["name"].strip() == "Dashboard"


def test_it_is_for_those_who_may_view_runs(client_of, client):
    assert client_of("view_run").get(URL).status_code == 200
    assert client_of("view_job").get(URL).status_code == 403
    assert client.get(URL).status_code == 302
    assert "Dashboard" not in client_of("view_job").get("/admin/").content.decode()


def test_who_may_not_see_jobs_or_pages_of_workers_is_neither_shown_nor_led_there(
    client_of, make_job, make_worker
):
    job, worker = make_job(id="secret-job"), make_worker()

    page = client_of("view_run").get(URL).content.decode()

    assert job.id not in page
    assert "Next firings" not in page
    assert f">{worker.id}<" in page
    assert f"{worker.id}/change" not in page
    assert "Pause queue" not in page


def test_nothing_at_all_is_said_so(root):
    page = text_of(root.get(URL).content.decode())

    assert "Nothing runs at present." in page
    assert "Nothing failed in this time." in page
    assert "No job is scheduled." in page
    assert "There is no worker." in page
    assert "No worker is alive" in page


def test_counts_are_what_there_is(root, make_run, make_job, tally):
    ago = timezone.now() - timedelta(seconds=30)
    make_run(run_after=ago), make_run(run_after=ago)
    make_run(run_after=timezone.now() + timedelta(hours=1))
    make_run(run_after=None)
    make_run(status="RUNNING")
    make_job(), make_job(next_run_time=None)
    tally(runs=1234)
    tally(outcome="FAILED", runs=2)

    page = part(root, "counts")

    assert re.search(r"Runs now 1 Running 2 Waiting oldest 3\d\.\d s 1 Deferred 1 Held", page)
    assert "Last hour 1,234 Successful 2 Failed 0 Cancelled 0 Skipped" in page
    assert "Jobs 1 Scheduled 1 Paused 0 Broken" in page


@pytest.mark.parametrize("chosen", RANGES)
def test_the_chart_counts_all_that_ended_within_the_range_and_nothing_before(root, tally, chosen):
    overview = Overview(RANGES[chosen])
    tally(runs=3)
    tally(outcome="FAILED", at=overview.since + timedelta(seconds=1))
    tally(runs=1000, at=overview.since - timedelta(seconds=1))

    page = part(root, "chart", range=chosen)

    assert "3 succeeded 1 failed" in page
    steps = RANGES[chosen].length / RANGES[chosen].step
    assert html_of(root, "chart", range=chosen).count('class="jobs-column"') == steps


def test_counts_lead_to_what_they_count(root, make_run):
    later = timezone.now() + timedelta(hours=1)
    runs = {"due": make_run(), "deferred": make_run(run_after=later), "held": make_run(run_after=None)}

    links = re.findall(r'href="([^"]+status=[a-z]+)"', html_of(root, "counts"))

    for name, run in runs.items():
        (link,) = [link for link in links if "/run/" in link and link.endswith(f"status={name}")]
        assert [found.pk for found in root.get(link).context["cl"].result_list] == [run.pk]


def test_problems_are_said_first_and_lead_to_what_they_are_about(root, make_job, make_run, make_worker):
    make_job(next_run_time=timezone.now() - timedelta(minutes=5))
    make_job(broken_reason="cannot be read")
    make_run(run_after=timezone.now() - timedelta(minutes=5), queue_name="mail")
    make_run(status="RUNNING", worker_id="nobody")

    html = html_of(root, "problems").partition("</section>")[0]

    for said in (
        "No worker is alive", "Start `manage.py jobs work`", "late. No live worker serves it.", "No live worker has a clock", "1 run in queue mail is late", "1 job is late",
        "1 job is broken", "1 run belongs to a worker that is gone",
    ):  # fmt: skip
        assert said in html
    links = re.findall(r'href="([^"]+)"', html)
    assert len(links) == 6
    for link in links:
        assert root.get(link.replace("&amp;", "&")).status_code == 200


def test_runs_are_named_with_their_progress_the_longest_first(root, make_run):
    make_run(status="RUNNING", job_id="young")
    make_run(
        status="RUNNING", job_id="old", started_at=timezone.now() - timedelta(hours=2),
        progress={"done": 3, "total": 10, "message": "page 3"},
    )  # fmt: skip
    make_run(status="RUNNING", job_id="odd", progress={"done": "x", "total": None})

    page = part(root, "running")

    assert page.index("old") < page.index("young")
    assert "for 2 h 0 min" in page
    assert "3/10 page 3" in page


def test_queues_have_depth_rate_and_state(root, make_run, tally):
    ago = timezone.now() - timedelta(minutes=2)
    make_run(queue_name="mail", run_after=ago), make_run(queue_name="mail", run_after=ago)
    tally(queue_name="reports", runs=600)
    Queue.objects.create(name="mail", paused_at=ago)

    page = part(root, "queues")

    assert re.search(r"mail Paused 2 2 min \d s 0 0 0\.0 Resume", page)
    assert re.search(r"reports 0 - 0 0 \d+\.\d Pause", page)


def test_functions_are_ordered_by_how_slow_they_are_and_how_often_they_fail(root, tally):
    tally("shop.jobs:quick", runs=100, bin_=0)
    tally("shop.jobs:quick", outcome="FAILED", runs=25, bin_=0)
    tally("shop.jobs:slow", bin_=12)
    tally("shop.jobs:slow", outcome="FAILED", bin_=12)

    slowest, _, failing = part(root, "functions").partition("Most failing")

    assert slowest.index("slow") < slowest.index("quick")
    assert failing.index("quick") < failing.index("slow")
    assert "shop.jobs:quick 125 25 20.0%" in failing


def test_percentiles_are_those_of_all_functions(root, tally):
    tally("shop.jobs:a", runs=98, bin_=3)
    tally("shop.jobs:b", runs=2, bin_=9)

    page = part(root, "durations")

    assert "Run time 7 ms 9 ms 9 ms 750 ms" in page


def test_errors_show_the_exception_the_count_and_the_newest_run(root, make_run):
    make_run(status="FAILED", error="ValueError: no")
    run = make_run(status="FAILED", error="ValueError: no again")

    page = part(root, "errors")

    assert re.search(rf"ValueError tests\.probes\.jobs:nothing ValueError: no again 2 .* {run.pk} ", page)


def test_who_may_change_runs_may_see_it(client_of):
    assert client_of("change_run").get(URL).status_code == 200
    assert client_of("view_job").get(URL).status_code == 403


def test_functions_lead_to_their_own_runs(root, tally, make_run):
    run = make_run(func="shop.jobs:give", status="FAILED")
    make_run(func="shop.jobs:give_up", status="FAILED")
    tally(func="shop.jobs:give", outcome="FAILED")

    links = re.findall(r'href="([^"]+)">shop\.jobs:give<', html_of(root, "functions"))

    assert len(links) == 2
    for link in links:
        rows = root.get(link.replace("&amp;", "&")).context["cl"].result_list
        assert [row.pk for row in rows] == [run.pk]


def test_errors_say_among_how_many_runs_they_were_counted(root, make_run, monkeypatch):
    monkeypatch.setattr(failures, "NEWEST", 2)
    old = timezone.now() - timedelta(hours=2)
    make_run(status="FAILED", error="ValueError: no", started_at=old, finished_at=old)
    make_run(status="FAILED", error="ValueError: no"), make_run(status="FAILED", error="ValueError: no")

    assert "there are more" not in part(root, "errors")
    assert "newest 2 failed runs; there are more" in part(root, "errors", range="day")


@pytest.mark.parametrize(("zone", "hour"), [("Pacific/Auckland", 8), ("America/New_York", 20)])
def test_firings_of_a_calendars_days_are_all_on_the_line(make_job, zone, hour):
    first = datetime(2030, 1, 10, hour, tzinfo=ZoneInfo(zone))
    trigger = CalendarIntervalTrigger(days=1, hour=hour, timezone=zone, start_date=first.date())
    make_job(id="daily", trigger=trigger, next_run_time=first.astimezone(UTC))
    # The first one alone would be shown on a line of a day.
    make_job(id="later", next_run_time=(first + timedelta(days=5)).astimezone(UTC))
    make_job(id="last", next_run_time=(first + timedelta(days=5)).astimezone(UTC))

    timeline = upcoming.timeline(first - timedelta(hours=1))

    (line,) = [one for one in timeline.lines if one.job.pk == "daily"]
    assert timeline.ends_at - timeline.begins_at == timedelta(days=7)
    assert len(line.marks) == 7


def test_a_queue_that_no_live_worker_serves_says_so(root, make_worker, make_run):
    make_worker(queues=["mail"])
    make_run(queue_name="mail"), make_run(queue_name="reports")

    page = part(root, "queues")

    assert "reports Not served" in page
    assert "mail Not served" not in page


def test_firings_are_in_order_with_what_is_late_marked(root, make_job):
    make_job(id="later", next_run_time=timezone.now() + timedelta(minutes=5))
    make_job(id="late", next_run_time=timezone.now() - timedelta(minutes=5))
    make_job(id="unreadable", job_state=b"\x80", next_run_time=timezone.now() + timedelta(minutes=9))
    make_job(id="paused-one", next_run_time=None)

    page = part(root, "firings")

    assert page.index("late every minute Late 5 minutes ago") < page.index("later every minute in 5 minutes")
    assert "unreadable" in page
    assert "paused-one" not in page


def test_workers_that_are_gone_are_shown_first_and_old_losses_not(root, make_worker, make_run):
    now = timezone.now()
    alive = make_worker(host="a", threads=4, version="1.2.3", has_clock=True)
    make_run(status="RUNNING", worker_id=alive.pk)
    gone = make_worker(host="z", stopped_at=now - timedelta(hours=1), was_lost=True)
    expired = make_worker(host="y", lease_expires_at=now - timedelta(minutes=1))
    old = make_worker(stopped_at=now - timedelta(days=2), was_lost=True)
    stopped = make_worker(stopped_at=now)

    page = part(root, "workers")

    assert "1 alive, 1 of 4 threads busy 2 gone" in page
    assert max(page.index(gone.pk), page.index(expired.pk)) < page.index(alive.pk)
    assert re.search(r"Alive a 1 1\.2\.3 all 1 of 4 Yes", page)
    assert old.pk not in page
    assert stopped.pk not in page


def test_every_part_is_kept_up_to_date(root):
    assert re.findall(r'data-live-part="(\w+)"', root.get(URL).content.decode()) == list(PARTS)


def test_an_unknown_range_is_the_usual_one(root):
    assert 'range=hour" aria-current' in root.get(URL, {"range": "ever"}).content.decode()


def test_the_switch_pauses_and_resumes_a_queue_and_is_written_to_the_log(root, said):
    url = reverse("admin:django_jobs_dashboard_queue")

    paused = root.post(url, {"name": "mail", "action": "pause", "range": "day"})

    assert paused.url == f"{URL}?range=day"
    assert "Queue mail is paused" in said(paused)
    assert paused_queues(using="default") == ["mail"]
    root.post(url, {"name": "mail", "action": "resume", "range": "//elsewhere"})
    assert paused_queues(using="default") == []
    assert list(LogEntry.objects.order_by("pk").values_list("object_id", "change_message")) == [
        ("mail", "Paused."),
        ("mail", "Resumed."),
    ]


def test_the_switch_wants_a_post_a_permission_and_a_name(root, client_of):
    url = reverse("admin:django_jobs_dashboard_queue")

    assert root.get(url).status_code == 405
    assert (
        client_of("view_run", "view_queue").post(url, {"name": "mail", "action": "pause"}).status_code == 403
    )
    assert (
        client_of("view_run", "change_queue").post(url, {"name": "mail", "action": "pause"}).status_code
        == 302
    )
    assert root.post(url, {"name": "", "action": "pause"}).status_code == 404
    assert root.post(url, {"name": "x" * 101, "action": "pause"}).status_code == 404
    assert (
        client_of("view_run", "change_queue", enforce_csrf_checks=True).post(url, {"name": "m"}).status_code
        == 403
    )


def test_hostile_names_show_as_text(root, make_run, make_job, make_worker, tally):
    bad = "<script>alert(1)</script>"
    make_run(status="FAILED", error=bad, func=bad, job_id=bad)
    make_run(status="RUNNING", job_id=bad, func=bad, progress={"message": bad}, worker_id=bad)
    make_run(queue_name=bad)
    make_job(id=bad, func=bad), make_worker(host=bad, version=bad[:30], queues=[bad])
    tally(bad, queue_name=bad), tally(bad, outcome="FAILED")

    page = root.get(URL).content.decode()

    assert "<script>alert" not in page
    assert "&lt;script&gt;alert" in page


@pytest.mark.parametrize("count", [1, 40])
def test_the_page_costs_at_most_fifteen_queries_whatever_there_is(
    client_of, make_run, make_job, make_worker, tally, count, django_assert_max_num_queries
):
    for number in range(count):
        worker = make_worker()
        make_run(status="RUNNING", worker_id=worker.pk)
        make_run(status="FAILED", error=f"Error{number}: no")
        make_run(queue_name=f"queue-{number}"), make_job(), tally(f"shop.jobs:f{number}")
    client = client_of("view_run", "view_job", "view_worker", "view_queue", "change_queue")

    with django_assert_max_num_queries(15):
        assert client.get(URL).status_code == 200


def test_the_page_names_no_row_that_is_not_there():
    assert Dashboard._meta.proxy
    assert not Dashboard._meta.default_permissions
    assert [str(pattern.name) for pattern in DashboardAdmin(Dashboard, site).get_urls()] == [
        "django_jobs_dashboard_changelist",
        "django_jobs_dashboard_queue",
    ]
