import re
from datetime import timedelta

import pytest
from django.utils import timezone

from django_jobs.models import Status
from tests.admin.pages import text_of

HOSTILE = "<script>alert('x')</script>"


@pytest.fixture
def ended(make_run):
    """Return a factory of runs of one job that took some seconds and ended five minutes ago."""

    def make(seconds, status=Status.SUCCESSFUL, **fields):
        end = timezone.now() - timedelta(minutes=5)
        start = end - timedelta(seconds=seconds)
        return make_run(job_id="nightly", status=status, started_at=start, finished_at=end, **fields)

    return make


def test_the_strip_has_the_newest_twenty_outcomes_oldest_first_with_links(root, page_url, make_job, ended):
    job = make_job(id="nightly")
    old = ended(1, Status.FAILED)
    runs = [ended(1, Status.SUCCESSFUL) for _ in range(19)] + [ended(2.5, Status.FAILED)]

    text = text_of(root.get(page_url(job)))
    strip = text[text.index("jobs-strip") : text.index("</ol>", text.index("jobs-strip"))]

    places = [strip.index(f'href="{page_url(run)}"') for run in runs]
    assert places == sorted(places)
    assert page_url(old) not in strip
    assert "Failed, 2.5 s, 5 minutes ago, " in strip
    assert strip.count("✕") == 1


def test_the_picture_of_durations_is_in_proportion_and_said_in_words(root, page_url, make_job, ended):
    job = make_job(id="nightly")
    for seconds in (1, 4, 2):
        ended(seconds)

    text = text_of(root.get(page_url(job)))

    heights = re.findall(r'class="jobs-took-bar [^>]+ height="([\d.]+)"', text)
    assert heights == ["50.00", "200.00", "100.00"]
    assert "median 2.0 s, longest 4.0 s, last 2.0 s" in text


def test_runs_that_never_ran_have_no_bar(root, page_url, make_job, make_run, ended):
    job = make_job(id="nightly")
    ended(1)
    make_run(job_id="nightly", status=Status.SKIPPED)
    make_run(job_id="nightly", status=Status.RUNNING)

    text = text_of(root.get(page_url(job)))

    assert "jobs-trend" not in text
    assert text.count('<a class="jobs-cell ') == 3
    assert "1 run under way" in text


def test_runs_that_took_no_time_are_drawn(root, page_url, make_job, ended):
    job = make_job(id="nightly")
    ended(0)
    ended(0)

    assert text_of(root.get(page_url(job))).count('class="jobs-took-bar ') == 2


def test_numbers_of_the_picture_are_the_machines_in_any_language(page_url, make_job, ended, root):
    job = make_job(id="nightly")
    for _ in range(12):
        ended(1)

    text = text_of(root.get(page_url(job), headers={"accept-language": "de"}))

    (part,) = re.findall(r'<figure class="jobs-trend">.*?</svg>', text, re.DOTALL)
    assert not re.search(r' (x|y|width|height|y1|y2)="[^"]*,', part)


def test_previous_and_next_run_are_said_relatively_with_the_exact_time(root, page_url, make_job, ended):
    job = make_job(id="nightly", next_run_time=timezone.now() + timedelta(minutes=5, seconds=3))
    ended(1)

    text = text_of(root.get(page_url(job)))

    assert "in 5 minutes" in text
    assert "5 minutes ago</time>" in text
    assert f'datetime="{job.next_run_time.isoformat()}"' in text


def test_who_paused_a_job_is_shown(root, page_url, make_job):
    job = make_job(next_run_time=None, paused_at=timezone.now(), paused_by=HOSTILE)

    text = text_of(root.get(page_url(job)))

    assert "by &lt;script&gt;" in text
    assert HOSTILE not in text


def test_pausing_in_the_admin_keeps_who_did_and_resuming_forgets_it(root, page_url, make_job):
    job = make_job()

    root.post(page_url(job, "act", "pause"))
    job.refresh_from_db()
    by = job.paused_by
    root.post(page_url(job, "act", "resume"))
    job.refresh_from_db()

    assert by.startswith("staff-")
    assert job.paused_by == ""


@pytest.mark.parametrize("status", list(Status))
def test_every_status_has_a_cell(root, page_url, make_job, make_run, status):
    job = make_job(id="nightly")
    make_run(job_id="nightly", status=status)

    assert f"jobs-cell-{status.lower()}" in text_of(root.get(page_url(job)))


def test_the_list_has_the_newest_ten_outcomes_of_each_job_and_the_share_that_succeeded(
    root, list_url, page_url, make_job, make_run
):
    make_job(id="a"), make_job(id="b"), make_job(id="c")
    old = make_run(job_id="a", status=Status.FAILED)
    of_a = [
        make_run(job_id="a", status=Status.FAILED if n % 5 == 0 else Status.SUCCESSFUL) for n in range(10)
    ]
    (of_b,) = (make_run(job_id="b", status=Status.CANCELLED),)

    response = root.get(list_url("job"))

    shown = {job.pk: [run.pk for run in job.recent_runs] for job in response.context["cl"].result_list}
    assert shown == {"a": [run.pk for run in of_a], "b": [of_b.pk], "c": []}
    text = text_of(response)
    assert page_url(old) not in text
    assert text.count("80% succeeded") == 1
    assert text.count("succeeded</span>") == 1
