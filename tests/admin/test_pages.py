import subprocess
import sys

import pytest
from django.contrib.admin import AdminSite, ModelAdmin, site
from django_apscheduler.admin import DjangoJobAdmin, DjangoJobExecutionAdmin
from django_apscheduler.models import DjangoJob, DjangoJobExecution

from django_jobs.admin import hide_apscheduler_pages
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
def test_apschedulers_own_pages_show_only_when_asked_for_whatever_the_order_of_apps(apps, options):
    script = SCRIPT.format(apps=apps, options=options)

    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60
    )

    theirs = ["DjangoJob", "DjangoJobExecution"] if options else []
    assert done.stdout.strip() == str(sorted([*theirs, "Dashboard", "Job", "Queue", "Run", "Worker"]))


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
