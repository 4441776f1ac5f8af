import json
import logging
import logging.config

import pytest

from django_jobs.logs import RunFilter


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
