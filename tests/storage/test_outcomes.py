import logging
from datetime import timedelta

import pytest
from django.db import connection
from django.db.models import Q
from django.utils import timezone

from django_jobs import signals
from django_jobs.models import Run, Status
from django_jobs.storage import enqueue, leases, outcomes, transactions, transitions
from django_jobs.storage.backends import postgresql
from tests.storage.attempts import claim, end_lease, new_run, outcome

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("workers")]


def test_claim_and_finish_take_a_fixed_number_of_statements(make_run, django_assert_num_queries):
    for _ in range(20):
        make_run()
    # MariaDB has no UPDATE that returns rows: BEGIN is not counted, and the claim's savepoint in the test's transaction is.
    # Before that it looks for priorities. SQLite returns rows one by one: what is claimed is read as one value.
    claims, finishes = {"mysql": (5, 2), "sqlite": (2, 1)}.get(connection.vendor, (1, 1))

    with django_assert_num_queries(claims):
        claimed = claim(limit=20)
    with django_assert_num_queries(finishes):
        written = outcomes.finish([(run, outcome()) for run in claimed], using="default")

    assert written == {run.key for run in claimed}


def test_pages_read_by_outcomes_do_not_grow_with_what_ended_beside_a_held_snapshot_once_they_were_slow(
    pages, end_runs, make_run, monkeypatch
):
    monkeypatch.setattr(postgresql, "by_id_until", {})

    def read():
        for _ in range(5):
            make_run()
        ended = [(run, outcome()) for run in claim(limit=5)]
        return pages(lambda: outcomes.finish(ended, using="default"))

    before = read()
    end_runs(5000)
    assert read() > before + 100

    monkeypatch.setattr(postgresql, "SLOW_SECONDS", -1)
    make_run()
    (run,) = claim(limit=1)
    assert outcomes.finish([(run, outcome())], using="default") == {run.key}
    # Indexes have a level more than of five runs.
    assert read() < before + 60


def test_outcomes_are_written_by_ids_as_ever(make_run, monkeypatch):
    monkeypatch.setattr(postgresql, "by_id_until", {"default": float("inf")})
    first, second, other = make_run(), make_run(), make_run()
    claimed = claim(limit=3)
    Run.objects.filter(pk=other.pk).update(attempt=2)

    written = outcomes.finish([(run, outcome(result=f"{run.id}")) for run in claimed], using="default")

    assert {key[0] for key in written} == {first.pk, second.pk}
    rows = Run.objects.order_by("pk").values_list("status", "result")
    assert list(rows) == [("SUCCESSFUL", f"{first.pk}"), ("SUCCESSFUL", f"{second.pk}"), ("RUNNING", None)]


def test_finish_writes_what_came_of_a_run(make_run):
    make_run(unique_key="i:x")
    (run,) = claim()

    outcomes.finish(
        [(run, outcome(result='{"a":1}', log="a line", progress={"done": 1, "total": 2, "message": ""}))],
        using="default",
    )

    row = Run.objects.get(pk=run.id)
    assert (row.status, row.result, row.log, row.error, row.errors) == (
        "SUCCESSFUL",
        '{"a":1}',
        "a line",
        "",
        None,
    )
    assert row.progress == {"done": 1, "total": 2, "message": ""}
    assert row.finished_at is not None
    assert row.unique_key is None


def test_a_firing_keeps_its_key_when_it_has_finished(make_run):
    make_run(unique_key="f:x@1", scheduled_at=timezone.now())
    (run,) = claim()

    outcomes.finish([(run, outcome())], using="default")

    assert Run.objects.get(pk=run.id).unique_key == "f:x@1"


def test_every_failed_attempt_is_kept(make_run):
    make_run()
    (first,) = claim("w1")
    outcomes.finish([(first, outcome("READY", error="E: one", traceback="tb1", retry_in=0))], using="default")
    (second,) = claim("w2")

    outcomes.finish([(second, outcome("FAILED", error="E: two", traceback="tb2"))], using="default")

    row = Run.objects.get(pk=first.id)
    assert row.status == Status.FAILED
    assert row.error == "E: two"
    assert [(e["attempt"], e["worker_id"], e["error"], e["traceback"]) for e in row.errors] == [
        (1, "w1", "E: one", "tb1"),
        (2, "w2", "E: two", "tb2"),
    ]


def test_a_retry_is_ready_again_later_and_not_finished(make_run):
    make_run(unique_key="i:x")
    (run,) = claim()
    later = transactions.database_now("default") + timedelta(minutes=5)

    outcomes.finish([(run, outcome("READY", error="E", retry_in=300))], using="default")

    row = Run.objects.get(pk=run.id)
    assert (row.status, row.finished_at, row.unique_key) == (Status.READY, None, "i:x")
    assert abs(row.run_after - later) < timedelta(seconds=1)
    assert claim() == []


def test_a_run_that_was_to_be_cancelled_is_not_tried_again(make_run):
    make_run(job_id="asked", unique_key="i:x")
    make_run(job_id="unasked", unique_key="i:y")
    runs = {run.job_id: run for run in claim()}
    transitions.cancel(Q(job_id="asked"), using="default")
    ended = {run.job_id: (run, outcome("READY", error="E", retry_in=300)) for run in runs.values()}

    assert len(outcomes.finish(list(ended.values()), using="default")) == 2

    asked, unasked = Run.objects.get(job_id="asked"), Run.objects.get(job_id="unasked")
    assert (asked.status, asked.unique_key, asked.error) == (Status.CANCELLED, None, "E")
    assert asked.finished_at is not None
    assert (unasked.status, unasked.unique_key, unasked.error) == (Status.READY, "i:y", "E")
    assert ended["asked"][1].status == Status.CANCELLED
    assert ended["unasked"][1].status == Status.READY


def test_a_lost_run_that_was_to_be_cancelled_is_left_to_its_new_worker(make_run):
    make_run()
    (lost,) = claim("slept")
    end_lease("slept")
    leases.rescue(max_rescues=3, using="default")
    claim("awake")
    transitions.cancel(Q(pk=lost.id), using="default")
    late = outcome("READY", error="late", retry_in=0)

    assert outcomes.finish([(lost, late)], using="default") == set()
    assert (late.status, Run.objects.get().status) == (Status.READY, Status.RUNNING)


def test_a_stale_worker_cannot_finish_a_rescued_run(make_run):
    make_run()
    (lost,) = claim("slept")
    end_lease("slept")
    leases.rescue(max_rescues=3, using="default")
    (found,) = claim("awake")

    assert outcomes.finish([(lost, outcome("FAILED", error="late"))], using="default") == set()
    assert outcomes.finish([(found, outcome())], using="default") == {found.key}
    assert Run.objects.get(pk=lost.id).status == Status.SUCCESSFUL


def test_an_earlier_attempt_of_the_same_worker_cannot_finish_a_later_one(make_run):
    make_run()
    (first,) = claim("w")
    outcomes.finish([(first, outcome("READY", error="E", retry_in=0))], using="default")
    (second,) = claim("w")

    assert outcomes.finish([(first, outcome())], using="default") == set()
    assert outcomes.finish([(second, outcome())], using="default") == {second.key}


def test_of_two_attempts_written_together_only_the_present_one_counts(make_run):
    make_run()
    (first,) = claim("w")
    outcomes.finish([(first, outcome("READY", error="E", retry_in=0))], using="default")
    (second,) = claim("w")

    written = outcomes.finish([(first, outcome("FAILED")), (second, outcome())], using="default")

    assert written == {second.key}
    assert Run.objects.get(pk=first.id).status == "SUCCESSFUL"


def test_text_in_any_script_comes_back_as_it_went(make_run):
    make_run()
    (run,) = claim()
    text = 'Grüße, "quotes" \\ back 日本語 🚀 %s %% \n\t'

    outcomes.finish([(run, outcome(error=text, traceback=text, log=text, result='"🚀"'))], using="default")

    row = Run.objects.get(pk=run.id)
    assert (row.error, row.log, row.result) == (text, text, '"🚀"')
    assert row.errors[0]["traceback"] == text


def test_progress_is_stored_while_the_run_is_the_workers(make_run):
    made = make_run()
    (run,) = claim()

    outcomes.set_progress(run, {"done": 1}, using="default")
    assert Run.objects.get(pk=made.pk).progress == {"done": 1}

    outcomes.finish([(run, outcome())], using="default")
    outcomes.set_progress(run, {"done": 2}, using="default")
    assert Run.objects.get(pk=made.pk).progress == {"done": 1}


def test_what_is_paused_while_it_runs_is_held_when_it_is_to_be_tried_again():
    enqueue.insert([new_run("retried"), new_run("broken"), new_run("done"), new_run("other")])
    runs = {run.job_id: run for run in claim()}
    transitions.hold(~Q(job_id="other"), using="default")

    outcomes.finish(
        [
            (runs["retried"], outcome("READY", error="ValueError: no", retry_in=60.0)),
            (runs["broken"], outcome("READY", error="BadPayload: damaged")),
            (runs["done"], outcome()),
            (runs["other"], outcome("READY", error="ValueError: no", retry_in=60.0)),
        ],
        using="default",
    )

    found = {run.job_id: run for run in Run.objects.all()}
    states = {job_id: run.state for job_id, run in found.items()}
    assert states == {"retried": "paused", "broken": "broken", "done": "successful", "other": "deferred"}
    in_a_minute = timezone.now() + timedelta(seconds=60)
    assert abs(found["retried"].held_run_after - in_a_minute) < timedelta(seconds=5)
    transitions.unhold(Q(), using="default")
    assert Run.objects.get(job_id="retried").state == "deferred"


def test_what_is_resumed_while_it_runs_is_tried_again_without_being_asked():
    enqueue.insert([new_run()])
    (run,) = claim()
    transitions.hold(Q(), using="default")
    assert transitions.unhold(Q(), using="default") == 1

    outcomes.finish([(run, outcome("READY", error="ValueError: no", retry_in=0.0))], using="default")

    assert Run.objects.get().state == "ready"


def test_an_end_is_reported_where_somebody_listens_or_a_log_takes_it(make_run, caplog, monkeypatch):
    monkeypatch.setattr(signals.run_finished, "receivers", [])
    make_run()
    (run,) = claim()
    ended, written = [(run, outcome())], {run.key}

    caplog.set_level(logging.WARNING, logger="django_jobs.worker")
    outcomes.report_outcomes(ended, written)
    assert signals.unheard_ends() == {"SUCCESSFUL", "CANCELLED"}
    assert not caplog.records

    caplog.set_level(logging.INFO, logger="django_jobs.worker")
    outcomes.report_outcomes(ended, written)
    assert [record.run_id for record in caplog.records] == [run.id]

    caplog.set_level(logging.WARNING, logger="django_jobs.worker")
    heard = []
    signals.run_finished.connect(lambda run, **_: heard.append(run.id), weak=False)
    outcomes.report_outcomes(ended, written)
    assert heard == [run.id]
