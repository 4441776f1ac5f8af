from datetime import timedelta

from django.utils import timezone

from django_jobs.models import Run
from django_jobs.testing import drain_jobs
from tests.probes import durable
from tests.probes.models import Mark


def page(client, page_url):
    return client.get(page_url(Run.objects.get())).content.decode()


def test_a_runs_page_shows_what_it_has_kept(root, page_url, manager):
    durable.script[:] = [lambda run: run.step(durable.do, "one"), lambda run: run.wait_for("signed:17", 60)]
    manager.add_immediate_job(durable.follow_script)
    drain_jobs()

    shown = page(root, page_url)

    assert "Step do" in shown
    assert "did one" in shown
    assert "Event signed:17" in shown
    assert "until" in shown


def test_a_runs_page_shows_how_far_a_loop_is(root, page_url, manager):
    Mark.objects.bulk_create([Mark(text="row") for _ in range(4)])
    manager.add_immediate_job(durable.record_odd_rows, 2)
    drain_jobs()

    shown = page(root, page_url)

    assert "Loop over probes.Mark: 4 rows, 2 with errors" in shown
    assert "is odd" in shown


def test_a_runs_page_shows_the_share_of_a_loop_and_when_it_is_likely_to_end(root, page_url, make_run):
    ends_at = timezone.now() + timedelta(minutes=10, seconds=30)
    progress = {"done": 300, "total": 1200, "message": "", "ends_at": ends_at.isoformat()}
    make_run(status="RUNNING", progress=progress)

    shown = page(root, page_url)

    assert "25%" in shown
    assert "about 10 min" in shown


def test_results_of_steps_need_the_permission_for_results(client_of, page_url, manager):
    durable.script[:] = [lambda run: run.step(durable.do, "one")]
    manager.add_immediate_job(durable.follow_script)
    drain_jobs()

    shown = page(client_of("view_run"), page_url)

    assert "Step do" in shown
    assert "did one" not in shown


def test_results_of_sensitive_steps_are_not_shown(root, page_url, manager):
    durable.script[:] = [lambda run: run.step(durable.do, "one", name="token")]
    manager.using(sensitive=["token"]).add_immediate_job(durable.follow_script)
    drain_jobs()

    shown = page(root, page_url).partition("Steps so far")[2].partition("</section>")[0]

    assert "Step token" in shown
    assert "did one" not in shown


def test_secrets_in_results_of_steps_and_in_events_are_not_shown(root, page_url, manager):
    secret = {"api_token": "hunter2", "rows": [{"iban": "DE02"}], "id": 17}
    durable.script[:] = [lambda run: run.step(dict, secret, name="one"), lambda run: run.wait_for("sent:17")]
    manager.send_event("sent:17", secret)
    manager.using(sensitive=["iban"]).add_immediate_job(durable.follow_script)
    drain_jobs()

    shown = page(root, page_url).partition("Steps so far")[2].partition("</section>")[0]

    assert shown.count("api_token") == shown.count("iban") == 2
    assert "hunter2" not in shown
    assert "DE02" not in shown
