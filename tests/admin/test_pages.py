import os
import sys

import pytest
from django.contrib.admin import AdminSite, AllValuesFieldListFilter, ModelAdmin, site
from django_apscheduler.admin import DjangoJobAdmin, DjangoJobExecutionAdmin
from django_apscheduler.models import DjangoJob, DjangoJobExecution

from django_jobs.admin import JobAdmin, hide_apscheduler_pages
from django_jobs.models import Dashboard, Job, Queue, Run, Worker

SCRIPT = """
import django
from django.conf import settings
settings.configure(
    SECRET_KEY="x" * 50, USE_TZ=True,
    DATABASES={{"default": {{"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}}},
    INSTALLED_APPS=["django.contrib.admin", "django.contrib.auth", "django.contrib.contenttypes",
                    "django.contrib.sessions", "django.contrib.messages", *{apps!r}],
    DJANGO_JOBS={options!r},
)
django.setup()
from django.contrib.admin import site
print(sorted(model.__name__ for model in site._registry if model._meta.app_label.startswith("django_")))
"""


@pytest.mark.parametrize(
    "apps", [["django_apscheduler", "django_jobs"], ["django_jobs", "django_apscheduler"]]
)
@pytest.mark.parametrize("options", [{}, {"SHOW_APSCHEDULER_ADMIN": True}])
def test_apschedulers_own_pages_show_only_when_asked_for_whatever_the_order_of_apps(apps, options, zygote):
    script = SCRIPT.format(apps=apps, options=options)

    done = zygote.run([sys.executable, "-c", script], os.environ)

    theirs = ["DjangoJob", "DjangoJobExecution"] if options else []
    assert done.stdout.strip() == str(
        sorted([*theirs, "Batch", "Dashboard", "Job", "LimitEdit", "Queue", "Run", "Worker"])
    )


def test_pages_that_the_project_registered_in_their_place_are_left():
    class Own(ModelAdmin):
        pass

    place = AdminSite()
    place.register(DjangoJob, Own)
    place.register(DjangoJobExecution, DjangoJobExecutionAdmin)

    hide_apscheduler_pages(place)

    assert place.is_registered(DjangoJob)
    assert not place.is_registered(DjangoJobExecution)


def test_hiding_twice_does_nothing():
    place = AdminSite()
    place.register(DjangoJob, DjangoJobAdmin)

    hide_apscheduler_pages(place)
    hide_apscheduler_pages(place)

    assert not place.is_registered(DjangoJob)


def test_our_pages_are_in_the_stock_admin(root):
    assert all(site.is_registered(model) for model in (Dashboard, Job, Run, Worker, Queue))
    assert root.get("/admin/django_jobs/").status_code == 200


@pytest.mark.parametrize(
    ("model", "lookup"),
    [
        *(
            (model, f"payload__{how}")
            for model in ("job", "run")
            for how in ("contains", "regex", "startswith")
        ),
        ("job", "signature__startswith"),
        ("job", "last_run__payload__contains"),
        ("job", "last_run__result__contains"),
        ("job", "status__regex"),
        ("run", "result__contains"),
        ("run", "log__contains"),
        ("run", "error__regex"),
        ("worker", "host__regex"),
    ],
)
def test_a_list_tells_nothing_about_columns_that_it_does_not_show(client_of, list_url, model, lookup):
    client = client_of(f"view_{model}")

    assert client.get(list_url(model)).status_code == 200
    assert client.get(list_url(model, **{lookup: "hunter2"})).status_code == 400


def test_filters_that_a_list_offers_are_allowed(root, list_url, make_job):
    make_job(id="hourly", kind="recurring")

    for query in ({"status": "scheduled"}, {"queue": "default"}, {"kind__exact": "recurring"}):
        response = root.get(list_url("job", **query))
        assert [job.pk for job in response.context["cl"].result_list] == ["hourly"]
    assert root.get(list_url("worker", state="working")).status_code == 200


def test_filters_that_a_project_adds_are_allowed(rf):
    class Own(JobAdmin):
        list_filter = ["func", ("max_instances", AllValuesFieldListFilter)]

    page = Own(Job, AdminSite())

    assert all(
        page.lookup_allowed(name, "x", rf.get("/"))
        for name in ("func", "func__exact", "max_instances", "max_instances__isnull")
    )
    assert not page.lookup_allowed("payload__contains", "x", rf.get("/"))
    assert not page.lookup_allowed("func_x", "x", rf.get("/"))


def test_wide_pages_lead_to_the_other_pages_that_a_person_may_see(root, client_of):
    for url in ("/admin/django_jobs/dashboard/", "/admin/django_jobs/run/"):
        every = [page["label"] for page in root.get(url).context["nav"]]
        some = [page["label"] for page in client_of("view_run", "view_job").get(url).context["nav"]]

        assert every == ["Dashboard", "Runs", "Errors", "Jobs", "Batches", "Queues", "Limits", "Workers"]
        assert some == ["Dashboard", "Runs", "Errors", "Jobs", "Batches"]
