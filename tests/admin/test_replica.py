import pytest
from django.urls import reverse

from django_jobs.models import Queue
from tests.admin.pages import text_of


class ReadsElsewhere:
    """A router as projects with a replica have one; there is none by this name, so reading from it raises."""

    def db_for_read(self, model, **hints):
        return "replica" if model._meta.app_label in {"django_jobs", "django_apscheduler"} else None


@pytest.fixture
def rows(make_run, make_job, make_worker):
    job, worker = make_job(), make_worker()
    waiting = make_run(job_id=job.pk)
    failed = make_run(status="FAILED", error="no", job_id=job.pk, worker_id=worker.pk)
    return {"job": job, "worker": worker, "run": failed, "queue": Queue.objects.create(name="mail")}, waiting


@pytest.mark.parametrize("name", ["dashboard", "job", "run", "queue", "worker"])
def test_lists_read_where_jobs_are_written(admin_client, rows, settings, name):
    settings.DATABASE_ROUTERS = [ReadsElsewhere()]

    assert text_of(admin_client.get(reverse(f"admin:django_jobs_{name}_changelist")))


@pytest.mark.parametrize("name", ["job", "run", "queue", "worker"])
def test_pages_of_rows_read_where_jobs_are_written(admin_client, rows, settings, name):
    settings.DATABASE_ROUTERS = [ReadsElsewhere()]

    page = reverse(f"admin:django_jobs_{name}_change", args=[rows[0][name].pk])

    assert text_of(admin_client.get(page))
    if name in {"job", "run"}:
        assert text_of(admin_client.get(page.replace("change", "history")))


@pytest.mark.parametrize(
    ("name", "action"), [("run", "retry"), ("run", "delete_selected"), ("job", "pause"), ("job", "run_now")]
)
def test_actions_read_where_jobs_are_written(admin_client, rows, settings, name, action):
    settings.DATABASE_ROUTERS = [ReadsElsewhere()]

    sent = {"action": action, "_selected_action": [rows[0][name].pk]}
    response = admin_client.post(reverse(f"admin:django_jobs_{name}_changelist"), sent, follow=True)

    assert response.status_code == 200
