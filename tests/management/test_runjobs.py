import io
import logging
import signal
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command, load_command_class
from django.utils import timezone

from django_jobs.management.commands import runjobs as runjobs_command
from django_jobs.models import Run, Worker
from django_jobs.worker.parts import Parts
from tests.probes.models import Mark

ROOT = Path(__file__).parents[2]


def ready(process):
    return "serves" in process.log.read_text() and Worker.objects.filter(stopped_at__isnull=True).exists()


def test_drain_works_until_nothing_is_due_and_exits(runjobs, manager, probes):
    for number in range(20):
        manager.add_immediate_job(probes.mark, str(number))
    manager.using(queue_name="other").add_immediate_job(probes.mark, "other")

    process = runjobs("--drain")

    assert process.wait(60) == 0, process.log.read_text()
    assert Mark.objects.count() == 21
    assert Run.objects.filter(status="SUCCESSFUL").count() == 21
    log = process.log.read_text()
    assert "serves all queues with 10 threads, with a clock, until nothing is due" in log
    assert log.count("SUCCESSFUL") == 21
    assert not Worker.objects.filter(stopped_at__isnull=True).exists()


def test_drain_runs_what_jobs_add_and_fires_what_is_late(runjobs, manager, probes):
    manager.add_scheduled_job(probes.mark, timezone.now() - timedelta(hours=1), "late")
    manager.add_immediate_job(probes.add_another, "second")

    assert runjobs("--drain").wait(60) == 0
    assert sorted(mark.text for mark in Mark.objects.all()) == ["late", "second"]


def test_drain_of_an_empty_database_exits_at_once(runjobs, transactional_db):
    assert runjobs("--drain").wait(60) == 0


def test_only_the_named_queues_are_served(runjobs, manager, probes):
    manager.using(queue_name="a").add_immediate_job(probes.mark, "a")
    manager.using(queue_name="b").add_immediate_job(probes.mark, "b")
    manager.add_immediate_job(probes.mark, "default")

    process = runjobs("--drain", "--queue", "a", "--queue", "b", "--threads", "1", "--no-clock")

    assert process.wait(60) == 0
    assert sorted(mark.text for mark in Mark.objects.all()) == ["a", "b"]
    assert "serves queue a, b with 1 thread, without a clock" in process.log.read_text()


def test_ctrl_c_lets_running_work_finish(runjobs, manager, probes, until):
    process = runjobs()
    until(lambda: ready(process), timeout=30)
    manager.add_immediate_job(probes.sleep, 1.0)
    until(lambda: Mark.objects.filter(text="slept begins").exists())

    process.send_signal(signal.SIGINT)

    assert process.wait(30) == 0, process.log.read_text()
    assert Mark.objects.filter(text="slept ends").exists()
    assert Run.objects.get().status == "SUCCESSFUL"
    assert process.log.read_text().rstrip().endswith("runjobs: stopped.")


def test_a_wrong_number_of_threads_is_refused():
    with pytest.raises(CommandError, match="at least 1, not 0"):
        call_command("runjobs", threads=0)


@pytest.mark.django_db(transaction=True)
def test_queues_may_be_named_with_commas_between(manager, probes):
    for name in ("default", "mail", "slow", "other"):
        manager.using(queue_name=name).add_immediate_job(probes.nothing, job_id=name)

    call_command("runjobs", "--queue", "default, mail", "--queue", "slow", "--drain", verbosity=0)

    assert set(Run.objects.filter(status="READY").values_list("job_id", flat=True)) == {"other"}
    with pytest.raises(CommandError, match="a name is missing in 'default,'"):
        call_command("runjobs", "--queue", "default,", "--drain")


@pytest.mark.django_db(transaction=True)
def test_a_thread_that_a_job_left_does_not_keep_it_from_exiting(runjobs, manager):
    job_id = manager.add_immediate_job("tests.probes.hostile:leave_a_thread")

    process = runjobs("--drain")

    assert process.wait(60) == 0, process.log.read_text()
    assert manager.wait(job_id, 0) == "ended"
    assert "left by a job" in process.log.read_text()


@pytest.mark.django_db(transaction=True)
def test_a_function_that_was_handed_back_does_not_go_on(runjobs, manager, until, tmp_path):
    steps = tmp_path / "steps"
    process = runjobs(
        env={"TESTS_STEPS": str(steps), "TESTS_DJANGO_JOBS": '{"SHUTDOWN_SECONDS": 0.2}',
             "DJANGO_SETTINGS_MODULE": "tests.settings"},
    )  # fmt: skip
    manager.add_immediate_job("tests.probes.hostile:go_on_in_a_thread")
    until(steps.exists, timeout=60)

    process.terminate()

    # Its function takes 30 s.
    assert process.wait(15) == 0, process.log.read_text()
    assert Run.objects.get().status == "READY", process.log.read_text()


@pytest.mark.django_db(transaction=True)
def test_a_run_that_ends_while_the_process_starts_is_printed_after_the_first_line(
    manager, probes, monkeypatch, until
):
    start = Parts.start

    def start_slowly(parts):
        start(parts)
        until(lambda: "SUCCESSFUL" in out.getvalue())

    manager.add_immediate_job(probes.nothing)
    out = io.StringIO()
    monkeypatch.setattr(Parts, "start", start_slowly)
    # What the log shows on a console is not printed again.
    monkeypatch.setattr(runjobs_command, "_is_on_console", lambda *_: False)

    call_command("runjobs", "--drain", stdout=out)

    lines = out.getvalue().splitlines()
    assert lines[0].startswith("runjobs: process ")
    assert [line.partition(" ")[0] for line in lines].count("runjobs:") == 3
    assert "SUCCESSFUL" in lines[1]


@pytest.mark.django_db(transaction=True)
def test_jobs_work_is_runjobs_by_a_name_that_no_other_app_has(manager, probes, capsys):
    for name in ("default", "mail", "other"):
        manager.using(queue_name=name).add_immediate_job(probes.nothing, job_id=name)

    call_command("jobs", "work", "--queue", "default,mail", "--threads", "1", "--drain", "--no-clock")

    assert set(Run.objects.filter(status="READY").values_list("job_id", flat=True)) == {"other"}
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("jobs work: process ")
    assert said[-1] == "jobs work: stopped."
    with pytest.raises(CommandError, match="at least 1, not 0"):
        call_command("jobs", "work", "--threads", "0")
    with pytest.raises(CommandError, match="starts this command line again"):
        call_command("jobs", "work", "--processes", "2")


def test_jobs_work_supervises_processes_that_are_jobs_work(spawn, manager, probes):
    for number in range(5):
        manager.add_immediate_job(probes.mark, str(number))
    manage = str(ROOT / "testproject" / "manage.py")

    process = spawn(sys.executable, manage, "jobs", "work", "--processes", "2", "--drain")

    assert process.wait(60) == 0, process.log.read_text()
    assert Mark.objects.count() == 5
    log = process.log.read_text()
    assert "jobs work: process " in log.splitlines()[0]
    assert {"[1] jobs work: stopped.", "[2] jobs work: stopped."} <= set(log.splitlines())


@pytest.mark.parametrize("verbosity", ["0", "2"])
def test_djangos_options_may_follow_jobs_work(verbosity):
    parser = load_command_class("django_jobs", "jobs").create_parser("manage.py", "jobs")

    behind = parser.parse_args(["work", "-v", verbosity, "--traceback", "--no-color"])
    before = parser.parse_args(["-v", verbosity, "--traceback", "--no-color", "work"])

    assert behind == before
    assert (behind.verbosity, behind.traceback, behind.no_color) == (int(verbosity), True, True)


@pytest.fixture
def logger():
    """The logger of attempts, without what the project's settings gave its parents."""
    found = logging.getLogger("django_jobs.worker")
    level, propagates = found.level, found.propagate
    found.propagate = False
    yield found
    found.setLevel(level)
    found.propagate = propagates
    found.handlers.clear()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("level", "kind", "times_printed"),
    [
        ("INFO", logging.StreamHandler, 0),
        ("WARNING", logging.StreamHandler, 1),
        ("INFO", logging.NullHandler, 1),
    ],
)
def test_each_attempt_is_written_once_to_the_terminal(
    manager, probes, capsys, logger, level, kind, times_printed
):
    logger.addHandler(kind())
    logger.setLevel(level)
    manager.add_immediate_job(probes.nothing, job_id="one\nERROR forged\x1b[31m")

    call_command("runjobs", "--drain", "--no-clock")

    written = capsys.readouterr()
    assert written.out.count("SUCCESSFUL nothing job=one\\nERROR forged\\x1b[31m") == times_printed
    assert written.err.count("status=SUCCESSFUL") == 1 - times_printed
