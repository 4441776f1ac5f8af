import re
from datetime import UTC, datetime, time, timedelta
from html import unescape
from zoneinfo import ZoneInfo

import pytest
import time_machine
from apscheduler.triggers.calendarinterval import CalendarIntervalTrigger
from django.contrib.admin import AdminSite, site
from django.contrib.admin.models import LogEntry
from django.urls import reverse
from django.utils import timezone, translation

from django_jobs import triggers
from django_jobs.admin import DashboardAdmin
from django_jobs.admin.dashboard import upcoming
from django_jobs.admin.dashboard.chart_groups import DEPTH, GROUPS, MEASURES
from django_jobs.admin.dashboard.overview import Overview
from django_jobs.admin.dashboard.parts import PARTS
from django_jobs.admin.dashboard.ranges import RANGES
from django_jobs.models import Dashboard, DepthSample, Queue
from django_jobs.operations import failures, worker_points
from django_jobs.storage.queues import paused_queues

pytestmark = pytest.mark.django_db

URL = "/admin/django_jobs/dashboard/"


def text_of(html):
    text = re.sub(r"<title>.*?</title>|<[^>]*>", " ", html, flags=re.DOTALL)
    return re.sub(r"\s+", " ", text)


@pytest.fixture
def still():
    """Let no minute pass during a test."""
    with time_machine.travel(datetime.now(UTC), tick=False):
        yield


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
    assert f"{worker.host}:{worker.pid}" in page
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

    assert "1 Running" in page
    assert "2 Waiting 2 without a worker" in page
    assert "2 Failed 0.2% of those that ran" in page
    assert "Runs 1 Deferred 1 Held" in page
    assert "Last hour 1,234 Successful" in page
    assert "Jobs 1 Scheduled 1 Paused" in page


def test_tiles_say_what_waits_for_what(root, make_run, make_worker, manager):
    make_worker(queues=["mail", "slow"])
    manager.pause_queue("slow")
    for name in ("mail", "slow", "slow", "gpu"):
        make_run(queue_name=name)

    assert "4 Waiting 2 paused · 1 without a worker · 1 for a thread" in part(root, "counts")


def test_failed_and_ended_lead_to_those_of_the_range(root, make_run, tally):
    old = timezone.now() - timedelta(hours=3)
    make_run(status="FAILED", finished_at=old), make_run(status="SUCCESSFUL", finished_at=old)
    failed = make_run(status="FAILED", enqueued_at=old)
    done = make_run(status="SUCCESSFUL", enqueued_at=old)
    tally(outcome="FAILED"), tally()

    def led_to(label):
        (url,) = re.findall(
            rf'href="([^"]+)"><span class="jobs-tile-count">[^<]*</span> <span [^>]+>{label}<', html
        )
        return [run.pk for run in root.get(url.replace("&amp;", "&")).context["cl"].result_list]

    html = html_of(root, "counts")

    assert led_to("Failed") == [failed.pk]
    assert led_to("Ended per minute") == [done.pk, failed.pk]


@pytest.mark.parametrize("chosen", RANGES)
@pytest.mark.usefixtures("still")
def test_the_chart_counts_all_that_ended_within_the_range_and_nothing_before(root, tally, chosen):
    overview = Overview(RANGES[chosen])
    tally(runs=3)
    tally(outcome="FAILED", at=overview.since + timedelta(seconds=1))
    tally(runs=1000, at=overview.since - timedelta(seconds=1))

    page = part(root, "chart", range=chosen)

    assert "1 Failed 3 Successful" in page
    steps = RANGES[chosen].length / RANGES[chosen].step
    assert len(re.findall('class="jobs-column[ "]', html_of(root, "chart", range=chosen))) == steps


@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/New_York"])
def test_days_of_the_chart_begin_at_midnight_of_the_reader(root, zone):
    with timezone.override(zone):
        labels = re.findall(r"<title>([^<]+)</title>", html_of(root, "chart", range="month"))
        overview = Overview(RANGES["month"])

        assert len(labels) == 30
        assert all(" 00:00" in label for label in labels)
        assert timezone.localtime(overview.since).time() == time()


@pytest.mark.parametrize("what", [name for name in MEASURES if name != DEPTH])
@pytest.mark.parametrize("by", GROUPS)
def test_each_measure_is_drawn_by_each_group(root, tally, what, by):
    for number in range(8):
        tally(func=f"shop.jobs:f{number}", queue_name=f"queue-{number}", runs=10 - number)

    page = part(root, "chart", chart=what, by=by)

    named = {"queue": "queue-0", "func": "shop.jobs:f0"}.get(by)
    assert named is None or named in page
    # Counts tell no workers apart.
    assert ("Others" in page) == (by in {"queue", "func"} and "-" not in what)


def values_of(client, **query):
    """Return what the legend of the chart says."""
    (legend,) = re.findall(r'<p class="jobs-legend">(.*?)</p>', html_of(client, "chart", **query))
    return text_of(legend).partition(" incomplete")[0].strip()


def test_what_started_is_what_has_ended_since_and_what_still_runs(root, make_run, tally):
    tally(func="shop.jobs:send", queue_name="mail", runs=7)
    for minutes in (1, 2, 120):
        make_run(
            status="RUNNING", func="shop.jobs:load", started_at=timezone.now() - timedelta(minutes=minutes)
        )

    assert values_of(root, chart="started") == "9 Started"
    assert values_of(root, chart="started", by="func") == "7 shop.jobs:send 2 shop.jobs:load"
    assert values_of(root, chart="started", by="queue") == "7 mail 2 default"


def test_what_started_in_a_step_is_one_click_away(root, make_run):
    at = timezone.now() - timedelta(minutes=10)
    first = make_run(status="RUNNING", started_at=at - timedelta(minutes=5), enqueued_at=at)
    second = make_run(status="SUCCESSFUL", started_at=at, finished_at=timezone.now(), enqueued_at=at)
    make_run(status="RUNNING", started_at=at), make_run()

    urls = dict.fromkeys(
        re.findall(r'href="([^"]+started_from[^"]+)"', html_of(root, "chart", chart="started"))
    )
    pages = [root.get(unescape(url)) for url in urls]

    found = [[run.pk for run in page.context["cl"].result_list] for page in pages]
    assert found == [[first.pk], [second.pk + 1, second.pk]]
    assert "started from" in pages[0].content.decode()


def test_a_part_of_a_bar_leads_to_the_runs_of_its_group(root, tally):
    tally(queue_name="mail"), tally(queue_name="reports", runs=2)

    html = html_of(root, "chart", by="queue")

    assert {*re.findall(r"queue=(\w+)&amp;ended_from", html)} == {"mail", "reports"}
    assert "status=FAILED&amp;ended_from" not in html_of(root, "chart")
    tally(outcome="FAILED")
    assert "status=FAILED&amp;ended_from" in html_of(root, "chart")


def test_workers_are_told_apart_among_the_newest_runs(root, make_run, make_worker, monkeypatch):
    now = timezone.now()
    one, other = make_worker(id="w-1", host="alpha", pid=11), make_worker(id="w-2", host="beta", pid=22)
    for worker in (one, one, other):
        make_run(
            status="SUCCESSFUL", worker_id=worker.pk, started_at=now - timedelta(seconds=40),
            finished_at=now - timedelta(seconds=30),
        )  # fmt: skip
    make_run(status="RUNNING", worker_id=other.pk, started_at=now - timedelta(seconds=5))
    make_run(status="SUCCESSFUL", worker_id="w-long-gone", finished_at=now, started_at=now)
    make_run()

    assert values_of(root, by="worker") == "2 alpha:11 1 beta:22 1 w-long-gone"
    assert values_of(root, by="worker", chart="started") == "2 alpha:11 2 beta:22 1 w-long-gone"
    assert "Workers are told apart" not in part(root, "chart", by="worker")
    assert re.search(r"\n\d+[.]\d s alpha:11\n", html_of(root, "chart", by="worker", chart="ran-95"))
    monkeypatch.setattr(worker_points, "NEWEST", 3)
    page = part(root, "chart", by="worker")
    assert values_of(root, by="worker", chart="started") == "1 beta:22 1 w-long-gone"
    assert "Workers are told apart among the last 3 runs that were added, since " in page


def test_the_step_that_is_not_over_is_marked(root, tally):
    tally()

    assert html_of(root, "chart").count("jobs-column-partial") == 1
    assert html_of(root, "chart", chart="wait-95").count("jobs-stroke-partial") == 1
    assert "jobs-key-partial" in html_of(root, "chart")
    past = {"from": "2020-01-01T00:00", "until": "2020-01-01T05:00"}
    assert "partial" not in html_of(root, "chart", **past)
    assert "partial" not in html_of(root, "chart", **past, chart="wait-95")


def test_a_bar_leads_to_the_runs_that_ended_in_its_time(root, make_run, tally):
    at = timezone.now() - timedelta(minutes=10)
    wanted = make_run(status="FAILED", finished_at=at)
    make_run(status="FAILED"), make_run(status="FAILED", finished_at=at - timedelta(minutes=2))
    tally(outcome="FAILED", at=at)

    # That of the bar's part, and that of all that ended then.
    html = html_of(root, "chart")
    (url,) = set(re.findall(r'href="([^"]+[?]ended_from[^"]+)"', html))
    (of_part,) = set(re.findall(r'href="([^"]+status=FAILED&amp;ended_from[^"]+)"', html))
    assert unescape(of_part).replace("status=FAILED&", "") == unescape(url)

    assert [run.pk for run in root.get(url.replace("&amp;", "&")).context["cl"].result_list] == [wanted.pk]


def test_counts_lead_to_what_they_count(root, make_run):
    later = timezone.now() + timedelta(hours=1)
    runs = {"due": make_run(), "deferred": make_run(run_after=later), "held": make_run(run_after=None)}

    links = set(re.findall(r'href="([^"]+status=[a-z]+)"', html_of(root, "counts")))

    for name, run in runs.items():
        (link,) = [link for link in links if "/run/" in link and link.endswith(f"status={name}")]
        assert [found.pk for found in root.get(link).context["cl"].result_list] == [run.pk]


def test_a_paused_queue_with_runs_is_resumed_from_its_line(root, make_run, manager, make_worker):
    make_worker(has_clock=True)
    manager.pause_queue("mail")
    make_run(queue_name="mail")

    html = html_of(root, "problems")

    assert "Queue mail is paused, and 1 run waits in it." in html
    assert 'name="action" value="resume"' in html


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
    assert len(links) == 7
    assert "manage.py jobs work --queue mail" in html
    for link in links:
        assert root.get(link.replace("&amp;", "&")).status_code == 200


def test_runs_are_named_with_their_progress_the_longest_first(root, make_run):
    make_run(status="RUNNING", func="shop.jobs:young")
    old = make_run(
        status="RUNNING", func="shop.jobs:old", started_at=timezone.now() - timedelta(hours=2),
        progress={"done": 3, "total": 10, "message": "page 3"},
    )  # fmt: skip
    make_run(status="RUNNING", job_id="odd", progress={"done": "x", "total": None})

    page = part(root, "running")

    assert page.index("old") < page.index("young")
    assert "for 2 h 0 min" in page
    assert "3/10 page 3 30% for 2 h 0 min, about 4 h 40 min left Cancel" in page
    cancelled = root.post(reverse("admin:django_jobs_run_act", args=[old.pk, "cancel"]), {"_dashboard": "1"})
    assert cancelled.url == URL
    old.refresh_from_db()
    assert old.cancel_requested


def test_who_may_not_cancel_is_offered_no_button(client_of, make_run):
    make_run(status="RUNNING")

    assert "Cancel" not in part(client_of("view_run"), "running")


def test_queues_have_depth_rate_and_state(root, make_run, tally):
    ago = timezone.now() - timedelta(minutes=2)
    make_run(queue_name="mail", run_after=ago), make_run(queue_name="mail", run_after=ago)
    tally(queue_name="reports", runs=600)
    Queue.objects.create(name="mail", paused_at=ago)

    page = part(root, "queues")

    assert re.search(r"mail Paused 2 2 min \d s 0 0\.0 Resume", page)
    assert re.search(r"reports 0 - 0 \d+\.\d Pause", page)


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

    assert re.search(rf"ValueError tests\.probes\.jobs:nothing 2 .* {run.pk} ", page)


def test_an_error_leads_to_its_runs_of_the_range_and_to_what_retries_them(root, client_of, make_run):
    old = timezone.now() - timedelta(hours=3)
    (
        make_run(status="FAILED", error="ValueError: no", finished_at=old),
        make_run(status="FAILED", error="KeyError: x"),
    )
    runs = [make_run(status="FAILED", error="ValueError: no") for _ in range(2)]
    failure = f"failure={runs[0].error_key}"

    html = html_of(root, "errors").replace("&amp;", "&")
    (listed,) = [url for url in re.findall(r'href="([^"]+/run/\?[^"]+)"', html) if failure in url]
    (bulk,) = [url for url in re.findall(r'href="([^"]+matching[^"]+)"', html) if failure in url]

    assert [run.pk for run in root.get(listed).context["cl"].result_list] == [run.pk for run in runs[::-1]]
    assert root.get(bulk).context["count"] == 2
    assert "matching" not in html_of(client_of("view_run"), "errors")


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
    monkeypatch.setattr(failures, "NEWEST_IN_BRIEF", 2)
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

    (line,) = upcoming.timeline(first).lines

    assert len(line.marks) == 2
    assert not line.is_full


@pytest.mark.parametrize("soon", [200, 20])
def test_what_fires_all_the_time_is_counted_and_leaves_room_for_the_rest(
    make_job, django_assert_num_queries, monkeypatch, soon
):
    monkeypatch.setattr(upcoming, "SOON", soon)
    now = timezone.now()
    for number in range(20):
        make_job(trigger=triggers.interval(20 + number), next_run_time=now + timedelta(seconds=number))
    make_job(id="daily", trigger=triggers.crontab("0 6 * * *", "UTC"), next_run_time=now + timedelta(hours=9))
    make_job(id="often", trigger=triggers.interval(600), next_run_time=now + timedelta(minutes=1))

    with django_assert_num_queries(1 if soon == 200 else 2):
        timeline = upcoming.timeline(now)

    assert timeline.frequent == 20
    often = [("often", True)] if soon == 200 else []
    assert [(line.job.pk, line.is_full) for line in timeline.lines] == [*often, ("daily", False)]
    assert timeline.ends_at - timeline.begins_at == timedelta(days=1)


def test_a_queue_that_no_live_worker_serves_says_so(root, make_worker, make_run):
    make_worker(queues=["mail"])
    make_run(queue_name="mail"), make_run(queue_name="reports")

    page = part(root, "queues")

    assert "reports Not served" in page
    assert "mail Not served" not in page


def test_firings_are_in_order_with_what_is_late_marked(root, make_job):
    hourly = triggers.interval(3600)
    make_job(id="later", trigger=hourly, next_run_time=timezone.now() + timedelta(minutes=5))
    make_job(id="late", trigger=hourly, next_run_time=timezone.now() - timedelta(minutes=5))
    make_job(id="unreadable", job_state=b"\x80", next_run_time=timezone.now() + timedelta(minutes=9))
    make_job(id="paused-one", next_run_time=None)

    page = part(root, "firings")

    assert re.search(r"late every (1 )?hour Late 5 minutes ago .*later every (1 )?hour in 5 minutes", page)
    assert "unreadable" in page
    assert "paused-one" not in page


def test_live_workers_are_shown_and_those_that_are_gone_counted(root, make_worker, make_run):
    now = timezone.now()
    alive = make_worker(host="a", threads=4, version="1.2.3", has_clock=True)
    make_run(status="RUNNING", worker_id=alive.pk)
    lost = now - timedelta(hours=1)
    gone = make_worker(host="z", stopped_at=lost, heartbeat_at=lost, was_lost=True)
    make_worker(host="y", lease_expires_at=now - timedelta(minutes=1), heartbeat_at=lost)
    make_worker(stopped_at=now - timedelta(days=2), was_lost=True)
    make_worker(stopped_at=now)

    page = part(root, "workers")

    assert "1 alive, 1 of 4 threads busy 2 gone , 60 minutes ago" in page
    assert re.search(r"a:1 Alive 1 of 4 (now|0 seconds ago|\d seconds? ago) Yes 1\.2\.3 all", page)
    assert page.count("Alive") == 1
    (url,) = re.findall(r'href="([^"]+state=lost)"', html_of(root, "workers"))
    assert gone in root.get(url).context["cl"].result_list


def test_every_part_is_kept_up_to_date(root):
    assert re.findall(r'data-live-part="(\w+)"', root.get(URL).content.decode()) == list(PARTS)


def test_an_unknown_range_is_the_usual_one(root):
    assert 'range=hour" title="Last hour" aria-current' in root.get(URL, {"range": "ever"}).content.decode()


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


def test_a_range_from_one_moment_to_another_is_in_the_address_and_all_leads_into_it(root, tally):
    at = timezone.now() - timedelta(hours=30)
    tally(outcome="FAILED", runs=3, at=at)
    tally(outcome="FAILED", runs=4, at=at + timedelta(hours=20))
    since, until = (f"{timezone.localtime(at + timedelta(hours=shift)):%Y-%m-%dT%H:%M}" for shift in (-1, 1))

    page = root.get(URL, {"from": since, "until": until, "chart": "wait-95"})

    overview = page.context["page"].overview
    assert overview.total.outcomes == {"FAILED": 3}
    assert overview.range.step == timedelta(minutes=10)
    html = page.content.decode()
    assert re.search(r'status=FAILED&amp;ended_from=[^"]+&amp;ended_until=', html)
    # What was chosen besides stays chosen where another range is.
    assert 'href="?range=day&amp;chart=wait-95"' in html


@pytest.mark.parametrize(
    "query",
    [
        {"from": "2026-02-30T00:00", "until": "2026-03-01T00:00"},
        {"from": "2020-01-02T00:00", "until": "2020-01-01T00:00"},
        {"from": "nonsense"},
        {"until": "2020-01-01T00:00"},
    ],
)
def test_a_range_that_cannot_be_read_is_the_last_hour(root, query):
    assert root.get(URL, query).context["page"].range.name == "hour"


def test_a_long_range_has_steps_that_counts_are_kept_for(root):
    for days, step in (
        (1, timedelta(hours=1)),
        (2.9, timedelta(hours=1)),
        (70, timedelta(days=1)),
        (5000, timedelta(days=1)),
    ):
        since = timezone.now() - timedelta(days=days)

        page = root.get(URL, {"from": since.strftime("%Y-%m-%dT%H:%M")}).context["page"]

        assert page.range.step == step
        assert len(page.overview.points) <= 402


def test_the_chart_shows_how_much_waited_by_queue_and_what_waits_now(root, make_run, monkeypatch):
    monkeypatch.setattr("django_jobs.admin.dashboard.chart_groups.SHOWN", 2)
    minute = timezone.now().replace(second=0, microsecond=0) - timedelta(minutes=10)
    for name, due in (("a", 7), ("b", 5), ("c", 2), ("d", 1)):
        DepthSample.objects.create(sampled_at=minute, queue_name=name, due=due, every_seconds=60)
    for _ in range(3):
        make_run(queue_name="b")

    page = root.get(URL, {"chart": "depth", "by": "queue"})

    found = page.context["parts"]["chart"]
    assert [(one["label"], one["total"]) for one in found["series"]] == [
        ("a", "at most 7"), ("b", "at most 5"), ("Others", "at most 3"),
    ]  # fmt: skip
    (past, now) = (column for column in found["columns"] if not column["is_zero"])
    assert (past["values"], past["url"]) == (["7", "5", "3"], "")
    assert now["values"] == ["0", "3", "0"]
    assert "status=due" in now["url"]
    whole = root.get(URL, {"chart": "depth", "by": "func"}).context["parts"]["chart"]
    assert [column["values"] for column in whole["columns"] if not column["is_zero"]] == [["15"], ["3"]]


@pytest.mark.parametrize(
    ("count", "words"), [(1, "1 job fires every 5 minutes"), (2, "2 jobs fire every 5 minutes")]
)
def test_what_fires_all_the_time_alone_is_not_said_to_be_more_than_nothing(root, make_job, count, words):
    for _ in range(count):
        make_job(trigger=triggers.interval(20), next_run_time=timezone.now() + timedelta(seconds=9))

    page = part(root, "firings")

    assert f"{words} or more often, and no other is scheduled." in page
    assert "more fire" not in page
    assert "All scheduled jobs" in page
