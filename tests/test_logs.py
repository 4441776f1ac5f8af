import json
import logging
import logging.config
import os
import re
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from django_jobs import Retry, signals
from django_jobs.logs import RunFilter
from django_jobs.models import Run

ROOT = Path(__file__).parents[1]


@pytest.fixture
def lines():
    """Lines of the logger "shop", with what the filter put on them."""
    written = []

    class Handler(logging.Handler):
        def emit(self, record):
            written.append(
                (record.getMessage(), record.job_id, record.run_id, record.attempt, record.queue_name)
            )

    handler = Handler()
    handler.addFilter(RunFilter())
    logger = logging.getLogger("shop")
    logger.addHandler(handler)
    level = logger.level
    logger.setLevel(logging.INFO)
    yield written
    logger.removeHandler(handler)
    logger.setLevel(level)


def test_outside_of_a_run_the_fields_are_empty(lines):
    logging.getLogger("shop").info("no run")

    assert lines == [("no run", "", "", "", "")]


@pytest.mark.parametrize("name", ["log_a_line", "log_a_line_async", "log_a_line_in_a_helper"])
def test_lines_that_a_run_logs_say_which_run_it_is(name, lines, serve, manager, probes):
    serve()

    job_id = manager.using(queue_name="mail").add_immediate_job(getattr(probes, name), "shop", job_id="hello")
    run_id = manager.wait(job_id, 10)
    logging.getLogger("shop").info("after it")

    assert lines == [("in a run", "hello", run_id, 1, "mail"), ("after it", "", "", "", "")]


def test_what_a_record_was_given_stays(lines):
    logging.getLogger("shop").info("its own", extra={"job_id": "mine"})

    assert lines == [("its own", "mine", "", "", "")]


@pytest.fixture
def records():
    """Records of our own loggers, with what the filter put on them."""
    kept = []

    class Handler(logging.Handler):
        def emit(self, record):
            kept.append(record)

    handler = Handler()
    handler.addFilter(RunFilter())
    logger = logging.getLogger("django_jobs")
    logger.addHandler(handler)
    yield kept
    logger.removeHandler(handler)


@pytest.mark.django_db
def test_a_run_that_failed_for_good_is_an_error_with_its_traceback_and_its_ids(
    records, manager, probes, jobs
):
    manager.using(queue_name="mail").add_immediate_job(probes.fail, "no bank", job_id="charge")
    jobs.drain()

    (record,) = [record for record in records if "status=FAILED" in record.getMessage()]
    run = Run.objects.get()

    assert (record.levelname, record.name) == ("ERROR", "django_jobs.worker.failed")
    assert (record.job_id, record.run_id, record.attempt, record.queue_name) == ("charge", run.pk, 1, "mail")
    text = logging.Formatter().format(record)
    assert "raise ValueError(message)\nValueError: no bank" in text
    assert ", in fail\n" in text
    # The first frame is the job's, and not one of ours.
    first = run.errors[0]["traceback"].splitlines()[1]
    assert first.endswith(", in fail")
    assert "/tests/probes/jobs.py" in first


@pytest.mark.django_db
def test_an_attempt_that_is_tried_again_is_a_warning_with_its_ids(records, manager, probes, jobs):
    manager.using(retry=Retry(max_attempts=2, delay=timedelta(hours=1))).add_immediate_job(
        probes.fail, job_id="charge"
    )
    jobs.drain()

    (record,) = [record for record in records if "status=RETRY" in record.getMessage()]

    assert (record.levelname, record.job_id, record.exc_info) == ("WARNING", "charge", None)


FORGED = "a\nERROR forged\r\x1b[31m\x9b2J\u2028b"


@pytest.mark.django_db
def test_line_feeds_and_escape_sequences_of_rows_reach_no_line_of_the_log(records, manager, probes, jobs):
    named = manager.using(queue_name=FORGED, name=FORGED)
    named.add_immediate_job(probes.fail, "\x1b[31m", job_id=FORGED)
    named.using(retry=Retry(max_attempts=2)).add_immediate_job(probes.fail, "\x1b[31m", job_id=f"{FORGED}2")
    jobs.drain()
    run = Run.objects.get(job_id=FORGED)
    signals.emit(signals.run_rescued, job_id=FORGED, run_id=7, worker_id="w", status="FAILED", reason=FORGED)
    signals.emit(signals.job_broken, job_id=FORGED, reason=FORGED)
    signals.emit(signals.run_held, run=run, reason=FORGED)
    signals.emit(signals.job_fired, job_id=FORGED, run_id=7, scheduled_at=None, skipped=FORGED)
    signals.emit(signals.run_refused, run=run)

    assert len([record for record in records if "forged" in record.getMessage()]) >= 7
    for record in records:
        assert record.getMessage().isprintable()
        assert str(record.job_id).isprintable()
        assert str(record.queue_name).isprintable()
        text = logging.Formatter("%(job_id)s %(queue_name)s %(message)s").format(record)
        assert all(line.isprintable() for line in text.split("\n"))
        assert not any(line.startswith("ERROR forged") for line in text.split("\n"))


def test_lines_of_a_job_of_such_a_name_are_not_forged_either(lines, serve, manager, probes):
    serve()

    manager.wait(manager.add_immediate_job(probes.log_a_line, "shop", job_id=FORGED), 10)

    (line,) = lines
    assert line[1].isprintable()


def test_a_start_is_said_where_the_project_configures_no_logging(zygote):
    script = (
        "import django; from django.conf import settings; settings.configure(); "
        "from django_jobs import signals; signals.write_to_log(); "
        "signals.emit(signals.worker_started, worker_id='w', queues=['mail'], threads=3, has_clock=True)"
    )

    done = zygote.run([sys.executable, "-c", script], {**os.environ, "PYTHONPATH": str(ROOT)})

    assert done.stderr == "django_jobs: worker=w started: queues=mail threads=3 clock=yes\n"


@pytest.mark.django_db
@pytest.mark.parametrize(("status", "level"), [("READY", "WARNING"), ("FAILED", "ERROR")])
def test_a_rescue_that_ends_a_run_is_an_error(records, status, level):
    signals.emit(
        signals.run_rescued, job_id="charge", run_id=7, worker_id="w", status=status, reason="it died"
    )

    (record,) = records

    assert (record.levelname, record.job_id, record.run_id, record.attempt) == (level, "charge", 7, "")


@pytest.mark.django_db(transaction=True)
def test_lines_of_a_child_process_say_which_run_they_are_of(runjobs, manager, probes):
    settings = {"ENGINES": {"heavy": "processes"}}
    worker = runjobs("--drain", env={"TESTS_DJANGO_JOBS": json.dumps(settings), "TESTS_LOG_FORMAT": "1"})
    job_id = manager.using(queue_name="heavy").add_immediate_job(
        probes.log_a_line, "shop", job_id="heavy-one"
    )

    manager.wait(job_id, 60)

    assert worker.wait(60) == 0
    assert (
        f"[heavy-one {manager.get_job(job_id)['last_run']['id']} 1 heavy] in a run" in worker.log.read_text()
    )


def test_the_settings_of_the_page_write_such_lines(tmp_path, zygote):
    (text,) = re.findall(
        r"```python\n(# settings\.py\nLOGGING = .*?)```",
        (ROOT / "docs" / "observability.md").read_text(),
        re.DOTALL,
    )
    script = tmp_path / "log.py"
    script.write_text(
        f"{text}\n"
        "import logging.config\n"
        "from django_jobs.execution import context\n"
        "logging.config.dictConfig(LOGGING)\n"
        "logging.getLogger('shop').info('before')\n"
        "run = context.RunContext(job_id='a', run_id=7, attempt=1, queue_name='mail', max_log_bytes=9)\n"
        "context.current.set(run)\n"
        "logging.getLogger('shop.mail').warning('within')\n"
    )

    done = zygote.run([sys.executable, script], {**os.environ, "PYTHONPATH": str(ROOT)})

    assert done.returncode == 0, done.stderr
    assert [line.split(" ", 2)[2] for line in done.stderr.splitlines()] == [
        "INFO shop [ ] before",
        "WARNING shop.mail [a 7] within",
    ]
