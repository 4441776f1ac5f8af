"""Each option works for the kind of job that it is given to, or is refused with what to use instead."""

from datetime import timedelta

import pytest

from django_jobs import Alert, Debounce, Limit, Retry, Unique
from django_jobs.models import Job, Run
from django_jobs.registry.options import NAMES
from django_jobs.storage.records import NewRun
from tests.probes import jobs

pytestmark = pytest.mark.django_db

VALUES = {
    "queue_name": "slow", "priority": 5, "retry": Retry(max_attempts=2), "timeout": 3, "at_most_once": True,
    "atomic": True, "expires": 60, "max_instances": 2, "overlap": "wait", "pause_after_failures": 2,
    "coalesce": False, "misfire_grace_time": 5, "limit": Limit("k", concurrency=1), "fair_key": "k",
    "alert": Alert(after=3), "late": 60, "longest": 60, "log_level": "INFO", "sensitive": ["key"],
    "tags": ["a"], "about": "auth.user:1", "name": "another name", "on_conflict": "skip", "keep": timedelta(days=1), "keep_arguments": False,
    "unique": Unique("k"), "debounce": Debounce("k", wait=5, max_wait=60),
}  # fmt: skip
OF_SCHEDULES = {"max_instances", "overlap", "pause_after_failures", "coalesce", "misfire_grace_time"}
# What each kind refuses.
REFUSED = {
    "now": OF_SCHEDULES,
    "many": OF_SCHEDULES,
    "batch": OF_SCHEDULES | {"unique", "debounce"},
    "later": (OF_SCHEDULES - {"misfire_grace_time"}) | {"debounce"},
    "every": {"unique", "debounce"},
    "cron": {"unique", "debounce"},
}
COLUMNS = {"queue_name", "priority", "name"}
JOBS_COLUMNS = {"max_instances", "coalesce", "misfire_grace_time"}


def add(manager, kind, name):
    view = manager.using(**{name: VALUES[name]})
    match kind:
        case "now":
            view.add_immediate_job(jobs.nothing)
        case "many":
            view.add_many([(jobs.nothing, ())])
        case "batch":
            with manager.batch("b") as batch:
                batch.using(**{name: VALUES[name]}).add(jobs.nothing)
        case "later":
            view.add_scheduled_job(jobs.nothing, timedelta(hours=1))
        case "every":
            view.add_recurring_job(jobs.nothing, 60, job_id="j")
        case _:
            view.add_cron_job(jobs.nothing, "0 3 * * *", job_id="j")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", REFUSED)
def test_an_option_works_or_is_refused_with_what_to_use_instead(manager, kind, name):
    if name in REFUSED[kind]:
        with pytest.raises(TypeError, match=r"[^:]*: \S+"):
            add(manager, kind, name)
        assert not Run.objects.exists()
        assert not Job.objects.exists()
        return

    add(manager, kind, name)

    job = Job.objects.first()
    kept = Run.objects.get() if job is None else NewRun.of(job, job.pk)
    if name == "on_conflict":
        # Of the call alone.
        return
    if name in JOBS_COLUMNS:
        assert getattr(job, name) == VALUES[name]
    elif name in COLUMNS:
        assert getattr(kept, name) == VALUES[name]
    else:
        assert name in kept.options
