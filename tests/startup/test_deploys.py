import os
import random
import signal

import pytest
from django.conf import settings

from django_jobs import get_job_manager
from django_jobs.models import Job, Run, ScheduleRevision, SchedulerProcess

# Three seconds each. What could go wrong is the same everywhere but for locks, which PostgreSQL has most of.
ROUNDS = 20 if "postgresql" in settings.DATABASES["default"]["ENGINE"] else 8

VERSIONS = {
    "first": """
from django_jobs import cron, job, recurring


@recurring(seconds=0.5, job_id="steady")
def steady():
    pass


@recurring(minutes=10, job_id="changed")
@recurring(minutes=5, job_id="paused")
@cron("0 4 * * *", job_id="only-first", priority=1)
def work():
    pass
""",
    "second": """
from django_jobs import cron, job, recurring


@recurring(seconds=0.5, job_id="steady")
def steady():
    pass


@recurring(minutes=20, job_id="changed", queue_name="default")
@recurring(minutes=5, job_id="paused", priority=9)
@recurring(hours=3, job_id="only-second")
def work():
    pass
""",
}
EXPECTED = {
    "first": {"steady": 0, "changed": 0, "paused": 0, "only-first": 1},
    "second": {"steady": 0, "changed": 0, "paused": 9, "only-second": 0},
}
LENGTHS = {"first": "every 10 minutes", "second": "every 20 minutes"}


@pytest.fixture
def deploy(runjobs, tmp_path, child_env):
    """Return a function that starts a process of one of the two versions."""
    for name, text in VERSIONS.items():
        folder = tmp_path / name / "deployed"
        folder.mkdir(parents=True)
        folder.joinpath("__init__.py").touch()
        folder.joinpath("jobs.py").write_text(text)

    def start(name):
        path = os.pathsep.join([str(tmp_path / name), child_env["PYTHONPATH"]])
        # Short, so that a version that is gone is given up soon.
        settings = '{"HEARTBEAT_SECONDS": 0.5, "LEASE_SECONDS": 4, "POLL_SECONDS": 0.5}'
        process = runjobs(
            "--threads", "1",
            env={"PYTHONPATH": path, "TESTS_APP": "deployed", "TESTS_DJANGO_JOBS": settings},
        )  # fmt: skip
        process.version = name
        return process

    return start


def is_declaring(process):
    assert process.poll() is None, process.log.read_text()
    return SchedulerProcess.objects.filter(process_key__contains=f"/{process.pid}/").exists()


def declared():
    return dict(Job.objects.declared().values_list("pk", "priority"))


@pytest.mark.timeout(600)
def test_two_versions_started_and_stopped_around_each_other_end_as_the_last_one_says(deploy, until):
    chance = random.Random(20)
    running = [deploy("first")]
    until(lambda: is_declaring(running[0]), timeout=60)
    assert declared() == EXPECTED["first"]
    get_job_manager().pause_job("paused")
    created = dict(Job.objects.values_list("pk", "created_at"))

    def end(process):
        process.send_signal(chance.choice([signal.SIGTERM, signal.SIGTERM, signal.SIGKILL]))
        process.wait(60)

    for number in range(ROUNDS):
        # A deploy each other round; between them, one of either version is started again.
        version = "second" if number == 0 else chance.choice(["first", "second"])
        running.append(deploy(version))
        if chance.random() < 0.7:
            until(lambda: is_declaring(running[-1]), timeout=60)
        while len(running) > chance.choice([1, 2, 3]):
            end(running.pop(chance.randrange(len(running))))
        present = set(Job.objects.declared().values_list("pk", flat=True))
        assert {"steady", "changed", "paused"} <= present

    for last in ("second", "first"):
        running.append(deploy(last))
        until(lambda: is_declaring(running[-1]), timeout=60)
        for process in [process for process in running if process.version != last]:
            running.remove(process)
            end(process)
        until(lambda last=last: declared() == EXPECTED[last], timeout=60)
        assert get_job_manager().get_job("changed")["trigger"] == LENGTHS[last]
        assert get_job_manager().get_job("paused")["status"] == "paused"

    for process in running:
        process.send_signal(signal.SIGTERM)
    for process in running:
        assert process.wait(60) == 0, process.log.read_text()
    # What both declare was one job all the time, in step.
    kept = dict(Job.objects.values_list("pk", "created_at"))
    assert {pk: kept[pk] for pk in ("steady", "changed", "paused")} == {
        pk: created[pk] for pk in ("steady", "changed", "paused")
    }
    fired = list(Run.objects.filter(job_id="steady").values_list("scheduled_at", flat=True))
    assert len(fired) == len(set(fired)) > ROUNDS
    assert {round((at - fired[0]).total_seconds() / 0.5, 3) % 1 for at in fired} == {0}
    assert sorted(ScheduleRevision.objects.exclude(pk="").values_list("number", flat=True)) == [1, 2]


def test_a_mistake_in_a_jobs_module_ends_the_start_with_what_is_wrong(spawn, tmp_path, child_env, deploy):
    module = tmp_path / "first" / "deployed" / "jobs.py"
    for text, message in (
        ("raise RuntimeError('no licence')", "RuntimeError: no licence"),
        (
            "from django_jobs import recurring\n@recurring(minutes=-5)\ndef f(): pass",
            "ValueError: an interval of",
        ),
        (
            "from django_jobs import recurring\n@recurring(minutes=5, args=[object()])\ndef f(x): pass",
            "the schedule 'deployed.jobs:f' is declared wrongly",
        ),
    ):
        module.write_text(text)
        process = deploy("first")

        assert process.wait(60) != 0
        assert message in process.log.read_text()
