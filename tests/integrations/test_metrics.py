import re
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.request import urlopen

import pytest
from django.contrib.auth.middleware import LoginRequiredMiddleware
from django.contrib.auth.models import AnonymousUser
from django.core.exceptions import ImproperlyConfigured
from django.db import DatabaseError, connection
from django.test import RequestFactory
from django.utils import timezone
from prometheus_client import REGISTRY, CollectorRegistry, start_http_server
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse

from django_jobs.integrations.metrics import JobsCollector, MetricsView, exposition
from django_jobs.models import BIN_ENDS, jobs_database
from django_jobs.operations import health
from django_jobs.registry import discovery
from django_jobs.storage import statistics, table_health, transactions
from django_jobs.storage.records import ClaimedRun, Outcome

pytestmark = pytest.mark.django_db
OPENMETRICS = "application/openmetrics-text; version=1.0.0"


def samples(collector=None):
    """Values by name and labels, the label that says of what it is first."""
    text = exposition(collector)[0].decode()

    def key(sample):
        names = sorted(sample.labels, key=lambda name: (name not in {"queue", "function"}, name))
        return sample.name, *(sample.labels[name] for name in names)

    return {key(sample): sample.value for family in parse(text) for sample in family.samples}


def count(
    outcome="SUCCESSFUL", *, queue_name="default", func="shop:sell", seconds=0.5, waited=0.0, at=None, times=1
):
    ended_at = at or timezone.now()
    began_at = ended_at - timedelta(seconds=seconds)
    run = ClaimedRun(
        id=1, job_id="a", func=func, payload="", signature="", queue_name=queue_name, priority=0, options={},
        kind="immediate", attempt=1, rescues=0, unique_key=None, errors=[], name="a", worker_id="w",
        run_after=began_at - timedelta(seconds=waited),
    )  # fmt: skip
    retry_in = 1.0 if outcome == "READY" else None
    statistics.note_attempts([(run, Outcome(outcome, began_at, ended_at, retry_in=retry_in))] * times)
    assert statistics.flush(jobs_database())


def test_what_ended_is_counted_by_queue_and_outcome():
    count(times=3)
    count("FAILED", queue_name="mail")
    count("READY", queue_name="mail", times=2)

    found = samples()

    assert found["django_jobs_runs_total", "default", "successful"] == 3
    assert found["django_jobs_runs_total", "mail", "failed"] == 1
    assert found["django_jobs_runs_total", "mail", "retried"] == 2
    # So that the first failure of a queue is an increase, and not a beginning.
    assert found["django_jobs_runs_total", "default", "failed"] == 0


def test_durations_and_waits_are_histograms_with_the_sums_of_the_tallies():
    count(seconds=0.3, waited=3)
    count(seconds=0.3, waited=3)
    count("FAILED", seconds=70, waited=0.0004)

    found = samples()

    def buckets(name):
        return [found[f"{name}_bucket", "default", le] for le in [*(str(end) for end in BIN_ENDS), "+Inf"]]

    ran = buckets("django_jobs_run_duration_seconds")
    assert ran == sorted(ran)
    assert found["django_jobs_run_duration_seconds_bucket", "default", "0.2"] == 0
    assert found["django_jobs_run_duration_seconds_bucket", "default", "0.5"] == 2
    assert found["django_jobs_run_duration_seconds_bucket", "default", "100.0"] == 3
    assert ran[-1] == found["django_jobs_run_duration_seconds_count", "default"] == 3
    assert found["django_jobs_run_duration_seconds_sum", "default"] == pytest.approx(70.6)
    assert found["django_jobs_run_wait_seconds_bucket", "default", "0.001"] == 1
    assert found["django_jobs_run_wait_seconds_count", "default"] == 3
    assert found["django_jobs_run_wait_seconds_sum", "default"] == pytest.approx(6.0004)


def test_what_waits_runs_and_lives_is_there(make_run, make_job, make_worker, manager):
    alive = make_worker(has_clock=True, threads=4)
    make_worker(lease_expires_at=timezone.now() - timedelta(hours=1), threads=2)
    make_run(run_after=timezone.now() - timedelta(seconds=100))
    make_run(run_after=timezone.now() + timedelta(hours=1))
    make_run(run_after=None)
    make_run(status="RUNNING", worker_id=alive.pk)
    make_job()
    make_job(next_run_time=None)
    make_job(broken_reason="cannot be read")
    manager.pause_queue("mail")

    found = samples()

    assert [found["django_jobs_queue_runs", "default", state] for state in ("due", "later", "held")] == [
        1,
        1,
        1,
    ]
    assert 100 <= found["django_jobs_queue_oldest_seconds", "default"] < 200
    assert (found["django_jobs_queue_paused", "mail"], found["django_jobs_queue_paused", "default"]) == (1, 0)
    assert found["django_jobs_running_runs",] == 1
    assert [found["django_jobs_jobs", status] for status in ("scheduled", "paused", "broken")] == [1, 1, 1]
    assert [found["django_jobs_workers", state] for state in ("alive", "late", "gone")] == [1, 0, 1]
    assert (found["django_jobs_worker_threads",], found["django_jobs_clocks",]) == (4, 1)
    problems = {code for code in health.CODES if found["django_jobs_problem", code]}
    assert problems == {"broken_jobs"}
    assert found["django_jobs_up",] == 1


def test_every_problem_that_a_report_can_have_is_a_label(make_run, make_job, make_worker, monkeypatch):
    long_ago = timezone.now() - timedelta(hours=1)
    make_job(next_run_time=long_ago)
    make_job(broken_reason="cannot be read")
    make_run(run_after=long_ago)
    make_run(run_after=None, error="BadPayload: no")
    make_run(status="RUNNING", worker_id="gone")
    make_job(next_run_time=timezone.now() + timedelta(days=800))
    tables = [("old_transaction", "for 2.0 hours", 1), ("bloated_table", "django_jobs_run", 9)]
    monkeypatch.setattr(table_health, "recent_problems", lambda using: tables)
    monkeypatch.setattr(discovery, "_failures", {"theirs.jobs": "theirs.jobs cannot be imported"})
    without_workers = samples()
    project = {"name": "other", "mark": "of another key"}
    make_worker(details={"problems": ["a thread has ended"], "clock_ahead": 60, "project": project})
    with_one = samples()

    found = {
        code: without_workers["django_jobs_problem", code] or with_one["django_jobs_problem", code]
        for code in health.CODES
    }
    # Another worker's that does not know a function is looked for where such a run waits.
    assert found == {code: int(code != "unknown_functions") for code in health.CODES}


def test_limits_are_those_of_the_health_check(make_run, make_worker):
    make_worker(has_clock=False)
    make_run(run_after=timezone.now() - timedelta(minutes=6))

    found = samples(JobsCollector(overdue=timedelta(minutes=7), needs_clock=False))

    assert not any(found["django_jobs_problem", code] for code in health.CODES)


@pytest.mark.parametrize("queues", [1, 30])
@pytest.mark.parametrize("functions", [0, 5])
def test_a_scrape_costs_eight_queries_whatever_there_is(
    queues, functions, make_run, make_worker, django_assert_num_queries
):
    for number in range(queues):
        count(queue_name=f"queue-{number}", func=f"shop:function_{number}")
        make_run(queue_name=f"queue-{number}")
        make_worker()

    with django_assert_num_queries(8):
        exposition(JobsCollector(most_functions=functions))


def test_labels_are_bounded_and_who_is_named_stays_named():
    collector = JobsCollector(most_queues=2, most_functions=2)
    for number in range(4):
        count(queue_name=f"queue-{3 - number}", func=f"shop:function_{3 - number}")
    before = samples(collector)
    # It would be the first by its name, and has most runs.
    count(queue_name="a-queue", func="a:function", times=100)

    after = samples(collector)

    def named(found, name):
        return {key[1] for key in found if key[0] == name}

    for found in (before, after):
        assert named(found, "django_jobs_runs_total") == {"queue-3", "queue-2", "other"}
        assert named(found, "django_jobs_queue_runs") == {"queue-3", "queue-2"}
        assert named(found, "django_jobs_function_runs_total") == {
            "shop:function_3",
            "shop:function_2",
            "other",
        }
    counters = [key for key in before if key[0].endswith(("_total", "_count", "_sum", "_bucket"))]
    assert all(after[key] >= before[key] for key in counters)
    assert after["django_jobs_runs_total", "other", "successful"] == 102
    assert after["django_jobs_function_runs_total", "other", "successful"] == 102
    assert after["django_jobs_function_duration_seconds_total", "other"] == pytest.approx(51)


def test_what_waits_in_more_queues_than_are_named_is_summed_up(make_run):
    for number in range(4):
        make_run(queue_name=f"queue-{number}")

    found = samples(JobsCollector(most_queues=1))

    assert found["django_jobs_queue_runs", "queue-0", "due"] == 1
    assert found["django_jobs_queue_runs", "other", "due"] == 3


def test_counters_begin_anew_with_the_month_and_what_was_counted_lately_is_there_with_zero(monkeypatch):
    def scrape_at(*moment):
        monkeypatch.setattr(transactions, "database_now", lambda using: datetime(*moment, tzinfo=UTC))
        return samples()

    count(queue_name="long ago", at=datetime(2025, 11, 30, 12, tzinfo=UTC))
    count(queue_name="monthly", at=datetime(2025, 12, 3, 12, tzinfo=UTC))
    count(queue_name="mail", times=7, at=datetime(2026, 1, 31, 12, tzinfo=UTC))

    assert scrape_at(2026, 1, 31, 23, 59, 59)["django_jobs_runs_total", "mail", "successful"] == 7

    found = scrape_at(2026, 2, 1)
    assert found["django_jobs_runs_total", "mail", "successful"] == 0
    assert found["django_jobs_run_duration_seconds_count", "mail"] == 0
    assert found["django_jobs_runs_total", "monthly", "failed"] == 0
    assert ("django_jobs_runs_total", "long ago", "successful") not in found

    count(queue_name="mail", times=2, at=datetime(2026, 2, 1, 0, 0, 1, tzinfo=UTC))
    assert scrape_at(2026, 2, 1, 0, 1)["django_jobs_runs_total", "mail", "successful"] == 2


def test_both_formats_can_be_parsed_and_say_which_they_are():
    count()

    plain, plain_type = exposition()
    openmetrics, openmetrics_type = exposition(accept=OPENMETRICS)

    assert plain_type.startswith("text/plain")
    assert openmetrics_type.startswith("application/openmetrics-text")
    names = {family.name for family in parse(plain.decode())}
    assert names == {family.name for family in parse_openmetrics(openmetrics.decode())}
    assert all(name.startswith("django_jobs_") for name in names)


def test_a_database_that_does_not_answer_is_a_metric_and_no_error(monkeypatch):
    def away(**_):
        raise DatabaseError("gone")

    monkeypatch.setattr(health, "report", away)

    assert samples() == {("django_jobs_up",): 0}


def test_it_can_be_registered_before_there_is_a_database(django_assert_num_queries):
    collector = JobsCollector(most_functions=3)

    with django_assert_num_queries(0):
        REGISTRY.register(collector)
    try:
        described = {metric.name for metric in collector.describe()}
        assert described == {metric.name for metric in collector.collect()}
        # Those of the process itself are there beside ours.
        assert REGISTRY.get_sample_value("python_info", dict(_python_info())) == 1
        assert REGISTRY.get_sample_value("django_jobs_up") == 1
    finally:
        REGISTRY.unregister(collector)


def _python_info():
    (metric,) = [metric for metric in REGISTRY.collect() if metric.name == "python_info"]
    return metric.samples[0].labels


@pytest.mark.django_db(transaction=True)
def test_the_servers_of_the_library_itself_leave_no_connection_open(make_worker):
    registry = CollectorRegistry()
    registry.register(JobsCollector())
    make_worker()
    opened = []
    server, thread = start_http_server(0, "127.0.0.1", registry)
    collect = JobsCollector.collect

    def spy(self):
        yield from collect(self)
        opened.append((threading.get_ident(), connection.connection))

    JobsCollector.collect = spy
    try:
        with urlopen(f"http://127.0.0.1:{server.server_port}/metrics", timeout=10) as answer:
            text = answer.read().decode()
    finally:
        JobsCollector.collect = collect
        server.shutdown()
        server.server_close()
        thread.join(10)

    assert 'django_jobs_workers{state="alive"} 1.0' in text
    ((scraped_in, left_open),) = opened
    assert scraped_in != threading.get_ident()
    assert left_open is None


def get(view, **headers):
    return view(RequestFactory().get("/metrics", headers=headers))


def test_the_view_wants_its_token():
    view = MetricsView.as_view(token="s3cret")

    assert get(view).status_code == 401
    assert get(view, authorization="Bearer wrong").status_code == 401
    assert get(view, authorization="s3cret").status_code == 401
    answer = get(view, authorization="Bearer s3cret", accept=OPENMETRICS)
    assert (answer.status_code, answer["Content-Type"].split(";")[0]) == (200, "application/openmetrics-text")
    assert b"django_jobs_up 1.0" in answer.content


def test_a_view_with_a_token_needs_no_login():
    middleware = LoginRequiredMiddleware(lambda request: None)
    request = RequestFactory().get("/")
    request.user = AnonymousUser()

    def redirects(view):
        return middleware.process_view(request, view, (), {}) is not None

    assert not redirects(MetricsView.as_view(token="s3cret"))
    assert redirects(MetricsView.as_view(is_public=True))


def test_a_view_without_a_word_on_who_may_read_it_is_refused():
    with pytest.raises(ImproperlyConfigured, match="needs a token, or is_public=True"):
        MetricsView.as_view()
    with pytest.raises(ImproperlyConfigured):
        MetricsView.as_view(token="")

    assert get(MetricsView.as_view(is_public=True)).status_code == 200


def test_a_view_takes_a_collector_of_ones_own():
    count()

    answer = get(MetricsView.as_view(is_public=True, collector=JobsCollector(most_functions=1)))

    assert b'django_jobs_function_runs_total{function="shop:sell",outcome="successful"} 1.0' in answer.content


def test_the_view_changes_nothing():
    assert MetricsView.as_view(is_public=True)(RequestFactory().post("/metrics")).status_code == 405


def test_the_page_explains_every_metric_and_asks_for_none_that_is_not_there():
    page = (Path(__file__).parents[2] / "docs" / "observability.md").read_text()
    there = {}
    for metric in JobsCollector(most_functions=1).describe():
        labels = ", ".join(f"`{name}`" for name in metric._labelnames)
        there[metric.name + ("_total" if metric.type == "counter" else "")] = labels

    documented = dict(re.findall(r"^\| `(django_jobs_\w+)` \| ?(.*?) ?\| ", page, re.MULTILINE))

    assert documented == there
    used = set(re.findall(r"\bdjango_jobs_\w+", "".join(re.findall(r"```yaml\n.*?```", page, re.DOTALL))))
    used |= set(re.findall(r"\((django_jobs_\w+)", page))
    assert {re.sub(r"_(bucket|count|sum)$", "", name) for name in used} - {"django_jobs"} <= there.keys()
    assert len(used) > 6
