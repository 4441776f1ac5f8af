import pytest
from django.urls import reverse

from django_jobs.models import Batch, Run
from django_jobs.testing import drain_jobs
from tests.admin.runs.test_page import ids_of
from tests.probes import parts

pytestmark = pytest.mark.django_db


@pytest.fixture
def failed(manager):
    with manager.batch("nightly", on_end=parts.give) as batch:
        broken = batch.add(parts.fail)
        batch.add(parts.give, [broken, batch.add(parts.give, 1)])
    drain_jobs(fire=False)
    return batch


def page_of(batch):
    return reverse("admin:django_jobs_batch_change", args=[Batch.objects.get(key=batch.id).pk])


def test_the_list_shows_batches_with_how_far_they_are(root, list_url, manager, failed):
    manager.batch("young").add(parts.give, 1)

    html = root.get(list_url("batch")).content.decode()
    assert html.index("young") < html.index("nightly")
    assert "3 of 3" in html
    assert '&amp;status=FAILED">1</a>' in html
    assert "0 of 1" in html
    assert "young" not in root.get(list_url("batch", state="failed")).content.decode()
    assert "nightly" in root.get(list_url("batch", q=failed.id)).content.decode()


def test_a_batch_shows_what_failed_first_and_what_ended_with_it(root, failed):
    first, _, last = Run.objects.filter(batch_id__isnull=False).order_by("pk")
    html = root.get(page_of(failed)).content.decode()

    path = html[html.index("jobs-failed-path") : html.index("jobs-graph")]
    assert path.index(f"fail ({first.pk})") < path.index(f"give ({last.pk})")
    assert "ValueError: no" in path
    assert html.count('class="jobs-node jobs-node-') == 3
    assert html.count('class="jobs-edge"') == 2
    assert html.count("jobs-gantt-row") == 3
    assert f"on_end: tests.probes.parts:give ({Run.objects.last().job_id})" in html


def test_names_and_errors_are_escaped(root, manager):
    with manager.batch("<b>bold</b>") as batch:
        batch.using(name="<i>run</i>").add(parts.give, 1).then(parts.give)
    html = root.get(page_of(batch)).content.decode()

    assert "<b>bold" not in html
    assert "<i>run" not in html


def test_many_runs_are_folded_into_boxes(root, manager, django_assert_max_num_queries):
    with manager.batch("many") as batch:
        batch.add(parts.give, 1, after=batch.add_many([(parts.give, [1])] * 300))
    with django_assert_max_num_queries(20):
        html = root.get(page_of(batch)).content.decode()

    assert html.count('class="jobs-node jobs-node-') == 2
    assert "300 " in html
    assert html.count("jobs-gantt-row") == 200


def test_buttons_cancel_and_retry(root, manager, failed):
    pk = Batch.objects.get(key=failed.id).pk
    root.post(reverse("admin:django_jobs_batch_act", args=[pk, "retry"]))
    assert manager.get_batch(failed.id)["unfinished"] == 2
    root.post(reverse("admin:django_jobs_batch_act", args=[pk, "cancel"]))
    assert manager.get_batch(failed.id)["status"] == "cancelled"


def test_the_list_of_runs_can_be_filtered_by_batch(root, list_url, failed, make_run):
    make_run()
    ids = ids_of(root.get(list_url("run", batch=failed.id)))

    assert ids == list(
        Run.objects.filter(batch_id__isnull=False).order_by("-pk").values_list("pk", flat=True)
    )
    assert ids_of(root.get(list_url("run", batch="batch:none"))) == []


def test_who_may_view_runs_may_view_batches_and_not_change_them(client_of, failed):
    client = client_of("view_run")
    html = client.get(page_of(failed)).content.decode()

    assert "nightly" in html
    assert "jobs-button-retry" not in html
    pk = Batch.objects.get().pk
    assert client.post(reverse("admin:django_jobs_batch_act", args=[pk, "retry"])).status_code == 403
    assert client_of("view_job").get(page_of(failed)).status_code == 403
