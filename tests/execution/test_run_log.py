import logging
import random
import signal
import time
from datetime import UTC, datetime

import pytest
from django.db import DatabaseError, connection

from django_jobs import job
from django_jobs.execution import log_capture, recording
from django_jobs.execution.attempt import Attempt
from django_jobs.execution.run_log import RunLog
from django_jobs.models import LogChunk, Run
from django_jobs.registry import log_lines
from django_jobs.storage import claims, logs
from django_jobs.storage.logs import parse
from tests.executed import execute_all

AT = datetime(2026, 1, 1, 12, tzinfo=UTC)


def texts(text):
    return [line.text for line in parse(text)]


def test_a_line_of_level_info_is_stored_as_before_there_were_levels():
    assert log_lines.line_of(AT, logging.INFO, "hello") == "2026-01-01T12:00:00.000+00:00 hello"


@pytest.mark.parametrize("level", logs.LEVELS)
def test_lines_are_read_as_they_were_said(level):
    text = "\n".join([
        log_lines.line_of(AT, log_lines.level_number(level), "one\nof two lines"), log_lines.line_of(AT, 20, "two")
    ])  # fmt: skip

    first, second = parse(text)

    assert (first.at, first.level, first.text) == (AT, level, "one\nof two lines")
    assert (second.level, second.text) == ("INFO", "two")


@pytest.mark.parametrize("level", ["LOUD", 3.5, None, True])
def test_a_level_that_there_is_not_is_refused(level):
    with pytest.raises(ValueError, match="there is no level"):
        log_lines.level_number(level)


def test_lines_are_taken_once_and_again_when_they_could_not_be_written():
    log = RunLog(1000)
    log.add("one")
    log.add("two", logging.ERROR)

    lines, level = log.take()
    log.give_back(lines, level)
    again = log.take()

    assert again == (lines, logging.ERROR)
    assert log.take() is None
    assert texts(log.text) == ["one", "two"]


def test_lines_wait_for_their_time():
    log = RunLog(1000)
    log.add("one")

    assert log.take(older_than=60) is None
    assert log.take(older_than=0) is not None


def test_a_log_that_is_too_long_ends_with_a_mark():
    log = RunLog(100)
    for _ in range(100):
        log.add("x" * 20)

    assert log.text.splitlines()[-1] == "... cut at 100 bytes (MAX_LOG_BYTES)"
    assert len(log.text) < 200


def test_somebody_is_told_of_the_first_line_that_nobody_has_taken():
    told = []
    log = RunLog(1000, lambda: told.append(1))

    log.add("one")
    log.add("two")
    log.take()
    log.add("three")

    assert len(told) == 2


def test_what_a_run_says_is_stored_while_it_executes(serve, manager, probes, until):
    serve()
    job_id = manager.add_immediate_job(probes.talk)
    assert probes.began.wait(10)
    until(LogChunk.objects.exists)
    run = Run.objects.get(job_id=job_id)

    assert (run.status, run.log) == ("RUNNING", "")
    assert texts(logs.read(run, using="default")) == ["one", "careful"]
    chunk = LogChunk.objects.get()
    assert (chunk.run_id, chunk.attempt, chunk.level) == (run.pk, 1, logging.WARNING)

    probes.go_on.set()
    manager.wait(job_id, 10)
    run.refresh_from_db()

    assert texts(run.log) == ["one", "careful", "two"]
    until(lambda: not LogChunk.objects.exists())
    assert logs.read(run, using="default") == run.log


def test_what_a_coroutine_says_is_stored_while_it_is_awaited(serve, manager, probes, until):
    serve()
    manager.add_immediate_job(probes.talk_async)

    until(LogChunk.objects.exists)
    stored = LogChunk.objects.get()
    probes.go_on.set()

    assert texts(stored.text) == ["awaited"]


def test_what_a_child_process_says_is_stored_while_it_executes(
    serve, settings, manager, probes, until, tmp_path
):
    settings.DJANGO_JOBS = {"ENGINES": {"apart": "processes"}, "PROCESSES": 1}
    serve()
    gate = tmp_path / "gate"
    job_id = manager.using(queue_name="apart").add_immediate_job(probes.talk_and_wait_for, str(gate))

    until(LogChunk.objects.exists, timeout=60)
    assert texts(LogChunk.objects.get().text) == ["told to wait"]
    gate.touch()
    manager.wait(job_id, 20)

    assert texts(Run.objects.get(job_id=job_id).log) == ["told to wait", "told to go on"]
    until(lambda: not LogChunk.objects.exists())


def test_what_a_killed_process_said_is_kept(runjobs, manager, probes, until, tmp_path):
    process = runjobs("--threads", "1")
    job_id = manager.add_immediate_job(probes.talk_and_wait_for, str(tmp_path / "never"))
    until(LogChunk.objects.exists, timeout=60)

    process.send_signal(signal.SIGKILL)
    process.wait(30)

    run = Run.objects.get(job_id=job_id)
    assert run.log == ""
    assert texts(logs.read(run, using="default")) == ["told to wait"]


def test_a_kill_at_any_moment_loses_about_the_last_second(runjobs, manager, probes, until, tmp_path):
    said = [tmp_path / f"said-{number}" for number in range(4)]
    process = runjobs("--threads", "4")
    job_ids = [manager.add_immediate_job(probes.talk_until_killed, str(path)) for path in said]
    until(lambda: LogChunk.objects.values("run_id").distinct().count() == len(said), timeout=60)

    time.sleep(random.uniform(0.5, 2))
    process.send_signal(signal.SIGKILL)
    process.wait(30)

    for job_id, path in zip(job_ids, said, strict=True):
        kept = texts(logs.read(Run.objects.get(job_id=job_id), using="default"))
        times = [float(line) for line in path.read_text().splitlines()]
        assert kept == [str(number) for number in range(len(kept))]
        # Half a second until it is taken, half until somebody looks, and a busy machine.
        assert times[-1] - times[len(kept) - 1] < 3


def test_what_a_run_said_before_it_was_handed_back_is_kept(serve, manager, probes, settings):
    settings.DJANGO_JOBS = {"SHUTDOWN_SECONDS": 0.1}
    serve()
    job_id = manager.add_immediate_job(probes.talk)
    assert probes.began.wait(10)

    manager.shutdown()
    probes.go_on.set()

    run = Run.objects.get(job_id=job_id)
    assert (run.status, run.attempt) == ("READY", 0)
    assert texts(logs.read(run, using="default")) == ["one", "careful"]


def test_the_log_of_an_attempt_that_was_handed_back_outlives_the_next_one(make_run):
    said = log_lines.line_of(AT, 20, "before")
    run = make_run(status="SUCCESSFUL", log=log_lines.line_of(AT.replace(hour=13), 20, "after"), fence=2)
    LogChunk.objects.create(run_id=run.pk, attempt=1, fence=1, written_at=AT, level=20, text=said)

    assert texts(logs.read(run, using="default")) == ["before", "after"]


def test_lines_that_could_not_be_stored_are_stored_later(serve, manager, probes, until, monkeypatch):
    append, failures = logs.append, []

    def fail_once(chunks, *, using):
        if not failures:
            failures.append(1)
            raise DatabaseError("away")
        append(chunks, using=using)

    monkeypatch.setattr(logs, "append", fail_once)
    serve()
    manager.add_immediate_job(probes.talk)

    until(LogChunk.objects.exists)
    stored = LogChunk.objects.get()
    probes.go_on.set()

    assert failures
    assert texts(stored.text) == ["one", "careful"]


def test_a_run_that_ends_soon_writes_its_log_with_its_outcome_alone(make_run, django_assert_num_queries):
    run = make_run(func="tests.probes.jobs:report", status="RUNNING", fence=1, worker_id="w")
    claimed = claims.read(run.pk, using="default")
    attempt = Attempt(claimed, is_inline=True)
    attempt.start_clock()
    outcome = attempt.execute_to_end()

    with django_assert_num_queries(0):
        recording.write_lines([attempt], older_than=0.5, using="default")
    # MariaDB: the locks, and the UPDATE.
    with django_assert_num_queries(2 if connection.vendor == "mysql" else 1):
        written = recording.record([(claimed, outcome)], using="default")

    assert written == {claimed.key}
    assert texts(Run.objects.get().log) == ["began with this"]


def test_chunks_of_runs_that_were_deleted_are_pruned(make_run):
    run = make_run()
    for run_id in (run.pk, run.pk + 1):
        LogChunk.objects.create(run_id=run_id, attempt=1, fence=1, written_at=AT, level=20, text="x")

    assert logs.prune(using="default") == 1

    assert [chunk.run_id for chunk in LogChunk.objects.all()] == [run.pk]


# By `logging`


@pytest.fixture
def shop():
    """The logger of a project, which `caplog` must not keep from being alone."""
    logger = logging.getLogger("shop")
    yield logger
    logging.getLogger().removeHandler(log_capture._handler)


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("level", "expected"),
    [
        (None, []),
        ("WARNING", ["shop: stock of tea is low", "shop: no tea"]),
        ("ERROR", ["shop: no tea"]),
    ],
)
@pytest.mark.parametrize("by", ["setting", "option"])
def test_records_of_logging_are_lines_of_the_log_where_that_is_wanted(
    manager, probes, settings, shop, level, expected, by
):
    if by == "setting":
        settings.DJANGO_JOBS = {"LOG_LEVEL": level}
        manager.add_immediate_job(probes.talk_by_logging)
    else:
        manager.using(log_level=level).add_immediate_job(probes.talk_by_logging)

    execute_all()

    run = Run.objects.get()
    assert run.status == "SUCCESSFUL"
    assert texts(run.log) == expected
    assert [line.level for line in parse(run.log)] == ["WARNING", "ERROR"][-len(expected) :][: len(expected)]


def test_what_is_logged_outside_of_a_run_is_nobodys(shop):
    log_capture.install()

    shop.error("nobody's")


def test_a_record_that_no_other_handler_sees_is_still_printed(shop, capsys, monkeypatch):
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", [])
    log_capture.install()

    shop.warning("look here")
    shop.info("not here")

    assert capsys.readouterr().err == "look here\n"


@pytest.mark.parametrize("level", ["LOUD", 20])
def test_a_log_level_that_there_is_not_is_refused(level):
    with pytest.raises(ValueError, match="log_level must be one of DEBUG"):
        job(log_level=level)(lambda: None)
