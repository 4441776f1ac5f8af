from datetime import timedelta

from django_jobs.models import Job, Run
from django_jobs.testing import drain_jobs
from tests.probes import jobs as probes


def test_tags_are_given_with_jobs_and_their_runs(manager):
    tagged = manager.using(tags=["orders", "import"])

    alone = tagged.add_immediate_job(probes.nothing)
    daily = tagged.add_recurring_job(probes.nothing, 86400, job_id="daily")

    assert [one["tags"] for one in manager.get_jobs()] == [["import", "orders"]] * 2
    assert manager.get_job(alone)["last_run"]["tags"] == ["import", "orders"]
    assert Job.objects.get(pk=daily).tags == ["import", "orders"]


def test_a_job_without_tags_has_none(manager):
    job_id = manager.add_immediate_job(probes.nothing)

    assert manager.get_job(job_id)["tags"] == []


def test_nearer_tags_go_first(manager):
    ids = [
        probes.tagged.enqueue(),
        probes.tagged.using(tags=["near"]).enqueue(),
        manager.using(tags=[]).add_immediate_job(probes.tagged),
    ]

    assert [manager.get_job(job_id)["tags"] for job_id in ids] == [["far"], ["near"], []]


def test_whatever_follows_a_run_has_its_tags(manager):
    tagged = manager.using(tags=["import"])
    failing = tagged.add_immediate_job(probes.fail)
    again = tagged.add_immediate_job(probes.nothing)
    later = tagged.add_scheduled_job(probes.nothing, timedelta(0))
    drain_jobs()

    manager.retry_job(failing)
    manager.run_job(again)

    assert Run.objects.get(job_id=failing).tags == ["import"]
    assert [run.tags for run in Run.objects.filter(job_id=again)] == [["import"]] * 2
    assert Run.objects.get(job_id=later).tags == ["import"]
