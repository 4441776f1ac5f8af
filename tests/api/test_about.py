import re
from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.db.models import QuerySet
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from django_jobs import Unique, job
from django_jobs.models import Job, Run, RunTag
from django_jobs.operations import listing
from django_jobs.operations.run_query import Criteria, pages
from django_jobs.registry.about import reference
from django_jobs.registry.limits import digest
from django_jobs.storage import tags
from django_jobs.storage.retention import prune
from tests.many_rows import copy_row, numbered

pytestmark = pytest.mark.django_db


@pytest.fixture
def ada():
    return User.objects.create_user("ada")


def about(thing):
    return f"auth.user:{thing.pk}"


def test_a_job_is_found_by_what_it_is_about(manager, probes, ada):
    other = User.objects.create_user("other")
    view = manager.using(about=ada)
    now = view.add_immediate_job(probes.nothing)
    later = view.add_scheduled_job(probes.nothing, timedelta(hours=1))
    manager.using(about=other).add_immediate_job(probes.nothing)
    manager.add_immediate_job(probes.nothing)

    for subject in (ada, about(ada)):
        assert {found["id"] for found in manager.get_jobs(about=subject)} == {now, later}
    assert manager.get_job(now)["about"] == manager.get_job(later)["about"] == about(ada)
    assert manager.get_job(now)["last_run"]["about"] == about(ada)


def test_what_is_about_nothing_pays_nothing(manager, probes, django_assert_num_queries):
    with django_assert_num_queries(1) as captured:
        manager.add_immediate_job(probes.nothing)

    assert "about" not in captured[0]["sql"]
    assert Run.objects.get().about is None


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        (User(username="new"), ValueError, "save it first"),
        (5, TypeError, "must be a saved model instance, not int"),
        ("order 5", ValueError, "app_label.model:pk"),
        ("auth.user:" + "x" * 255, ValueError, "at most 255"),
        ("auth.user:a\x00", ValueError, "no NUL"),
    ],
    ids=["unsaved", "number", "text", "long", "nul"],
)
def test_what_no_job_can_be_about_is_refused_at_the_call(manager, probes, value, error, message):
    with pytest.raises(error, match=message):
        manager.using(about=value)
    with pytest.raises(error, match=message):
        job(about=value)


def test_a_lazy_object_and_a_proxy_are_about_the_same_row(ada):
    from django.utils.functional import SimpleLazyObject

    class Author(User):
        class Meta:
            proxy = True
            app_label = "auth"

    assert reference(SimpleLazyObject(lambda: ada)) == about(ada)
    assert reference(Author.objects.get(pk=ada.pk)) == about(ada)


@job
def add_more():
    from django_jobs import get_job_manager

    get_job_manager().add_immediate_job("tests.probes.jobs:nothing")
    get_job_manager().using(tags=["own"]).add_immediate_job("tests.probes.jobs:nothing")


def test_what_a_run_adds_is_about_the_same_and_has_its_tags_unless_it_has_its_own(manager, ada, jobs):
    manager.using(about=ada, tags=["import"]).add_immediate_job(add_more)
    jobs.drain()

    inherited = Run.objects.filter(func="tests.probes.jobs:nothing").order_by("pk")
    assert [(run.about, run.tags) for run in inherited] == [(about(ada), ["import"]), (about(ada), ["own"])]


def test_another_run_of_the_job_is_about_the_same(manager, probes, ada):
    job_id = manager.using(about=ada).add_immediate_job(probes.nothing)
    manager.using(about=ada).add_recurring_job(probes.nothing, 60, job_id="r")

    manager.run_job(job_id)
    manager.run_job("r")

    assert list(Run.objects.values_list("about", flat=True)) == [about(ada)] * 3
    assert Job.objects.get().about == about(ada)


def test_lists_pages_and_searches_select_by_what_a_run_is_about_and_by_its_tag(manager, probes, ada):
    manager.using(about=ada, tags=["import"]).add_immediate_job(probes.nothing)
    manager.add_immediate_job(probes.nothing)

    assert len(listing.page(about=about(ada))["entries"]) == len(listing.page(tag="import")["entries"]) == 1
    assert not listing.page(about=about(ada), tag="other")["entries"]
    searched = Criteria().searching(f"about:{about(ada)}", using="default")
    assert searched == Criteria(about=about(ada))
    assert searched.apply(Run.objects.all()).count() == 1
    assert not searched.is_searched


def test_a_job_is_found_by_its_tag(manager, probes, django_assert_num_queries):
    # MariaDB's collation takes the last two for the same.
    view = manager.using(tags=["import", "Nightly", "nightly"])
    now, later = view.add_immediate_job(probes.nothing), view.add_recurring_job(probes.nothing, 60)
    unique = view.using(unique=Unique("one")).add_immediate_job(probes.nothing)
    many = view.add_many([(probes.nothing, []), (probes.nothing, [])])
    manager.add_immediate_job(probes.nothing)

    for tag in ("import", "nightly", "Nightly"):
        assert {found["id"] for found in manager.get_jobs(tag=tag)} == {now, later, unique, *many}
    assert manager.get_jobs(tag="NIGHTLY") == []
    # What other options say is no tag.
    view.using(tags=["ä", '"'], overlap="wait").add_recurring_job(probes.nothing, 60, job_id="other")
    assert manager.get_jobs(tag="wait") == manager.get_jobs(tag="tags") == []
    assert [found["id"] for tag in ("ä", '"') for found in manager.get_jobs(tag=tag)] == ["other"] * 2
    with pytest.raises(TypeError, match="tag must be a string"):
        manager.get_jobs(tag=["import"])
    with django_assert_num_queries(2):
        view.using(queue_name="other").add_immediate_job(probes.nothing)


@pytest.mark.django_db(transaction=True)
def test_a_run_is_not_there_without_its_tags(manager, probes, monkeypatch):
    monkeypatch.setattr(QuerySet, "bulk_create", raising(RuntimeError("no disk")))

    for view in (manager.using(tags=["a"]), manager.using(tags=["a"], unique=Unique("one"))):
        with pytest.raises(RuntimeError, match="no disk"):
            view.add_immediate_job(probes.nothing)

    assert not Run.objects.exists()


def raising(error):
    def stub(*args, **kwargs):
        raise error

    return stub


def test_postgresql_is_asked_for_many_runs_of_a_tag_with_one_value(manager, probes, make_run):
    if connection.vendor != "postgresql":
        pytest.skip("the others read a list of ids as fast")
    manager.using(tags=["import"]).add_immediate_job(probes.nothing)
    tagged = Run.objects.get()
    copy_row(tagged, 300)
    ids = Run.objects.exclude(pk=tagged.pk).values_list("pk", flat=True)
    RunTag.objects.bulk_create(RunTag(run_id=pk, tag=digest("import")) for pk in ids)
    rare = list(ids[:3])
    Run.objects.filter(pk__in=rare).update(func="rare:rare")
    values = []

    def note(execute, sql, params, many, context):
        values.append(len(params or ()))
        return execute(sql, params, many, context)

    with connection.execute_wrapper(note):
        found = pages.page(
            Criteria(tag="import", func="rare:rare"),
            Run.objects.all(),
            size=9,
            before=None,
            after=None,
            using="default",
        )

    assert len(found.runs) == 3
    assert max(values) < 20


def test_runs_of_a_tag_are_paged_through_its_index(manager, probes, monkeypatch):
    monkeypatch.setattr(pages, "LOOKED_AT_OF_STATUS", 4)
    monkeypatch.setattr(pages, "NEAR_TAGS", 2)
    monkeypatch.setattr(tags, "READ", 2)
    for number in range(12):
        view = manager.using(tags=["even", "all"] if number % 2 == 0 else ["all"])
        view.add_immediate_job(probes.nothing)
        manager.add_immediate_job(probes.give, number)
    runs = Run.objects.defer("payload")
    even = next(tags.runs_of("even", first=9, most=9, using="default"))

    def page(before=None, after=None, **more):
        found = pages.page(
            Criteria(tag="even", **more), runs, size=2, before=before, after=after, using="default"
        )
        return [run.pk for run in found.runs], found

    first, found = page()
    assert first == even[:2]
    second, found = page(before=found.older)
    assert second == even[2:4]
    assert page(after=found.newer)[0] == even[:2]
    # Of those with the tag, none is of this function: some are looked at, and it says how far.
    none, found = page(func="gone:gone")
    assert (none, found.searched_to) == ([], even[3])
    assert page(func="gone:gone", before=found.older)[1].searched_to is None
    assert [entry["run_id"] for entry in listing.page(["queued"], tag="even")["entries"]] == even[::-1]
    Run.objects.update(status="SUCCESSFUL", finished_at=timezone.now())
    assert [entry["run_id"] for entry in listing.page(["finished"], tag="even", limit=3)["entries"]] == even[
        :3
    ]


def test_the_tags_of_a_run_go_with_it(manager, probes, make_run):
    manager.using(tags=["gone"]).add_immediate_job(probes.nothing)
    manager.using(tags=["kept"]).add_immediate_job(probes.nothing)
    gone, kept = Run.objects.order_by("pk")
    long_ago = timezone.now() - timedelta(days=9)
    Run.objects.filter(pk=gone.pk).update(status="SUCCESSFUL", enqueued_at=long_ago, finished_at=long_ago)

    assert prune(keep_days=7, keep_runs_per_job=None).runs == 1
    assert set(RunTag.objects.values_list("run_id", flat=True)) == {kept.pk}


def test_a_runs_page_links_to_what_it_is_about(manager, probes, ada, admin_client):
    manager.using(about=ada).add_immediate_job(probes.nothing)
    manager.using(about="gone.model:1").add_immediate_job(probes.nothing)

    known, gone = (
        admin_client.get(reverse("admin:django_jobs_run_change", args=[run.pk])).content.decode()
        for run in Run.objects.order_by("pk")
    )

    assert f'<a href="{reverse("admin:auth_user_change", args=[ada.pk])}">{about(ada)}</a>' in known
    assert "gone.model:1" in gone


def test_lists_by_object_and_by_tag_go_through_their_index(make_run):
    write_history(make_run)
    first = {"size": 50, "before": None, "after": None, "using": "default"}
    asked = {
        "django_jobs_run_about": [
            lambda: pages.page(Criteria(about="auth.user:7"), Run.objects.all(), **first),
            lambda: pages.page(Criteria(about="auth.user:7", status="FAILED"), Run.objects.all(), **first),
            lambda: listing.page(["failed"], about="auth.user:7"),
        ],
        "django_jobs_tag_runs": [
            lambda: pages.page(Criteria(tag="import"), Run.objects.all(), **first),
            lambda: pages.page(Criteria(tag="import", status="FAILED"), Run.objects.all(), **first),
            lambda: listing.page(["failed"], tag="import"),
        ],
    }
    for index, asks in asked.items():
        for ask in asks:
            with CaptureQueriesContext(connection) as queries:
                ask()

            sent = [one["sql"] for one in queries if re.search(r"\Wabout\W+= |_tag\W", one["sql"])]
            text = plan(sent[0])
            assert index in text, (text, sent)


def test_what_is_still_to_run_about_an_object_is_found_whatever_ended_about_it(make_run, manager):
    waiting = make_run(about="auth.user:7")
    copy_row(waiting, 500, about=numbered("auth.user:1"))
    write_history(make_run)

    with CaptureQueriesContext(connection) as queries:
        (found,) = manager.get_jobs(about="auth.user:7")

    assert found["id"] == waiting.job_id
    of_runs = [one["sql"] for one in queries if re.search(r"FROM .django_jobs_run.*\Wabout\W+= ", one["sql"])]
    text = plan(of_runs[-1])
    assert "django_jobs_run_about_open" in text, text


def test_a_filter_beside_an_object_looks_at_a_bounded_part_of_its_runs(make_run, monkeypatch):
    monkeypatch.setattr(pages, "LOOKED_AT_OF_STATUS", 3)
    failed = make_run(status="FAILED", about="auth.user:7")
    others = [make_run(status="SUCCESSFUL", about="auth.user:7") for _ in range(4)]
    criteria = Criteria(about="auth.user:7", status="FAILED")
    asked = {"size": 2, "using": "default"}

    first = pages.page(criteria, Run.objects.all(), before=None, after=None, **asked)
    second = pages.page(criteria, Run.objects.all(), before=first.older, after=None, **asked)
    back = pages.page(criteria, Run.objects.all(), before=None, after=second.newer, **asked)

    assert (first.runs, first.searched_to) == ([], others[1].pk)
    assert [run.pk for run in second.runs] == [failed.pk]
    assert back.runs == []
    assert [entry["run_id"] for entry in every_page(["failed"], about="auth.user:7")] == [failed.pk]


def every_page(statuses, **filters):
    found, after = [], None
    while True:
        part = listing.page(statuses, after=after, **filters)
        found += part["entries"]
        after = part["next"]
        if after is None:
            return found


def write_history(make_run):
    """Write runs of many objects, all of which failed, and some with a tag."""
    template = make_run(status="FAILED")
    values = {one.attname: getattr(template, one.attname) for one in Run._meta.fields if one.attname != "id"}
    Run.objects.bulk_create(Run(**{**values, "about": f"auth.user:{n % 500}"}) for n in range(2000))
    RunTag.objects.bulk_create(
        RunTag(run_id=template.pk + n, tag=digest("import" if n % 100 == 0 else f"other {n % 9}"))
        for n in range(2000)
    )
    # MariaDB's commits, and it needs none.
    if connection.vendor != "mysql":
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE")


def plan(sql):
    with connection.cursor() as cursor:
        word = "EXPLAIN QUERY PLAN" if connection.vendor == "sqlite" else "EXPLAIN"
        cursor.execute(f"{word} {sql}".replace("%", "%%"))
        return "\n".join(str(row) for row in cursor.fetchall())
