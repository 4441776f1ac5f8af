import threading
from datetime import timedelta
from types import SimpleNamespace

import pytest
from django.db import connection, connections, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from django_jobs.models import Run
from django_jobs.storage import claim_by_queue, fences
from django_jobs.storage.backends import by_queue, mariadb, postgresql
from django_jobs.storage.backends.choose import backend_of
from django_jobs.storage.backends.claiming import Scope
from django_jobs.storage.claim_by_queue import ClaimByQueue
from django_jobs.storage.claim_start import ClaimStart
from django_jobs.storage.queues import pause, resume
from tests.many_rows import analyze, copy_row
from tests.storage.attempts import claim

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("workers")]

SCOPES = [
    {},
    {"queues": ["mail"]},
    {"queues": ["mail", "web", "stopped", "none"]},
    {"others": ["web", "bulk"]},
    {"queues": ["mail", "web"], "others": ["web"]},
    {"unknown": ["tests.probes.jobs:other"]},
]


@pytest.fixture
def clock(monkeypatch):
    """Have every walk count as slow; return a list of the seconds since."""
    seconds = [1000.0]
    monkeypatch.setattr(claim_by_queue, "SLOW_SECONDS", -1)
    monkeypatch.setattr(claim_by_queue, "monotonic", lambda: seconds[0])
    return seconds


@pytest.fixture
def start(clock):
    """Return what a consumer keeps whose claims go queue by queue."""
    made = ClaimStart()
    claim(limit=1, start=made, others=["nothing"])
    return made


@pytest.fixture
def make_due(make_run):
    """Make a run that is due for some seconds."""

    def make(seconds, **fields):
        return make_run(run_after=timezone.now() - timedelta(seconds=seconds), **fields)

    return make


@pytest.fixture
def make_many(make_due, make_run):
    """Make runs of several queues and priorities, due and not, some of them in a paused queue."""
    for place, name in enumerate(["stopped", "mail", "web", "bulk", "mail", "default"]):
        for priority in (0, -3, 7):
            make_due(60 - 7 * place, queue_name=name, priority=priority)
            make_due(9 + 5 * place, queue_name=name, priority=priority, func="tests.probes.jobs:other")
            make_run(run_after=timezone.now() + timedelta(hours=1), queue_name=name, priority=priority)
            make_run(run_after=None, waits_for="event", queue_name=name, priority=priority)
    pause("stopped", using="default")


def in_turn(scope, by, limit):
    """Return the ids of the runs that claims of one kind take one after the other, and all within a rollback."""
    found = []
    with transaction.atomic():
        while runs := by("w", fences.new_fence(), Scope(**scope), limit):
            found.append(sorted(run.id for run in runs))
        transaction.set_rollback(True)
    return found


@pytest.mark.parametrize("scope", SCOPES, ids=str)
@pytest.mark.parametrize("limit", [1, 4, 50])
def test_a_claim_queue_by_queue_takes_what_any_claim_takes_in_the_same_order(make_many, scope, limit):
    backend = backend_of(connection)

    walked = in_turn(scope, backend.claim, limit)
    found = in_turn(scope, lambda *claim: backend.claim_by_queue(*claim)[0], limit)

    assert walked
    assert found == walked


def test_a_claim_queue_by_queue_says_who_and_counts_the_attempt(make_due, start):
    made = make_due(9, attempt=1, unique_key=None)

    (run,) = claim("me", start=start)

    row = Run.objects.get(pk=made.pk)
    assert (row.status, row.worker_id, row.attempt, row.fence) == ("RUNNING", "me", 2, run.fence)
    assert (run.id, run.worker_id, run.attempt) == (made.pk, "me", 2)


def test_a_claim_queue_by_queue_takes_nothing_for_a_worker_that_was_declared_dead(
    make_due, make_worker, start
):
    make_due(9)
    make_worker(id="ended", stopped_at=timezone.now())

    assert claim("ended", start=start) == []


def test_a_queue_that_is_paused_is_left_and_one_that_is_resumed_is_served(make_due, start):
    make_due(9, queue_name="stopped")
    other = make_due(5, queue_name="new")
    pause("stopped", using="default")

    assert [run.id for run in claim(start=start)] == [other.id]

    resume("stopped", using="default")
    assert len(claim(start=start)) == 1


@pytest.mark.django_db(transaction=True)
def test_workers_that_claim_queue_by_queue_take_each_run_once_and_leave_none(make_run, clock):
    for place in range(60):
        make_run(queue_name=f"q{place % 3}", priority=place % 2)
    starts = [ClaimStart() for _ in range(4)]
    for made in starts:
        claim("awake", limit=1, start=made, others=["q0", "q1", "q2"])
    barrier = threading.Barrier(4)
    taken = []

    def work(place):
        try:
            barrier.wait(10)
            while runs := claim(f"w{place}", limit=3, start=starts[place]):
                taken.extend(run.id for run in runs)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=work, args=(place,)) for place in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)

    assert len(taken) == len(set(taken)) == 60


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("most", [1, 2])
def test_a_claim_queue_by_queue_passes_over_what_others_lock(make_due, start, monkeypatch, most):
    if connection.vendor == "sqlite":
        pytest.skip("one writer at a time")
    for module in (mariadb, postgresql):
        # So many are looked at.
        monkeypatch.setattr(module, "enough", lambda limit: most)
    first, second = make_due(9), make_due(5)
    holder = connections.create_connection("default")
    try:
        holder.set_autocommit(False)
        with holder.cursor() as cursor:
            cursor.execute("SELECT id FROM django_jobs_run WHERE id = %s FOR UPDATE", [first.pk])

            found = [run.id for run in claim(limit=1, start=start)]
    finally:
        holder.close()

    assert found == [second.pk]


def test_more_queues_than_are_looked_into_are_walked(make_due, start, monkeypatch):
    monkeypatch.setattr(by_queue, "MOST_QUEUES", 2)
    runs = [make_due(9 - place, queue_name=f"q{place}") for place in range(4)]

    assert [run.id for run in claim(start=start)] == [run.id for run in runs]


def test_claims_that_are_not_slow_or_leave_no_queue_ask_what_they_have_always_asked(make_run, monkeypatch):
    monkeypatch.setattr(claim_by_queue, "monotonic", lambda: seconds[0])
    seconds, asked = [1000.0], []
    copy_row(make_run(), 8)

    def queries(limit=2, **scope):
        with CaptureQueriesContext(connection) as captured:
            claim(limit=limit, fence=1, start=start, **scope)
        return len(captured)

    start = ClaimStart()
    quick = queries()
    asked += [queries(), queries(queues=["default"])]
    monkeypatch.setattr(claim_by_queue, "SLOW_SECONDS", -1)
    # Whether a queue is paused, once a minute.
    assert queries(limit=1) == quick + 1
    asked += [queries(limit=1), queries(limit=1)]

    assert asked == [quick] * 4


def test_each_minute_a_claim_walks_again(clock):
    claims, how = ClaimByQueue(), []

    def walk(most):
        how.append("walk")
        return []

    def by_queue(most):
        how.append("by queue")
        return [], True

    for _ in range(8):
        claims.claim(walk, by_queue, lambda: True, 1)
        clock[0] += 20

    assert how == ["walk", "by queue", "by queue"] * 2 + ["walk", "by queue"]


def test_where_there_are_too_many_queues_it_is_asked_once_a_minute(clock):
    claims, asked = ClaimByQueue(), []

    def walk(most):
        asked.append("walk")
        return []

    def by_queue(most):
        asked.append("by queue")

    for _ in range(3):
        claims.claim(walk, by_queue, lambda: True, 9)

    assert asked == ["walk", "by queue", "walk", "walk"]


def test_claims_that_are_no_faster_queue_by_queue_walk_for_the_rest_of_the_minute(clock, monkeypatch):
    monkeypatch.setattr(claim_by_queue, "MOST_SLOWER", 2)
    claims, how, seconds = ClaimByQueue(), [], [0.2, 0.01, 0.2, 0.2]

    def walk(most):
        how.append("walk")
        clock[0] += 0.1
        return []

    def by_queue(most):
        how.append("by queue")
        clock[0] += seconds.pop(0)
        return [], True

    for _ in range(7):
        claims.claim(walk, by_queue, lambda: True, 1)

    # One that waits for a lock is none of those, unless the next one is slow as well.
    assert how == ["walk", *["by queue"] * 4, "walk", "walk"]


def test_what_others_take_meanwhile_is_looked_for_again_and_at_last_walked(clock):
    claims, asked = ClaimByQueue(), []

    def walk(most):
        asked.append(("walk", most))
        return []

    def by_queue(most):
        asked.append(("by queue", most))
        return [SimpleNamespace()], False

    claims.claim(walk, by_queue, lambda: True, 9)
    claims.claim(walk, by_queue, lambda: True, 9)

    assert asked == [("walk", 9), *[("by queue", 9 - taken) for taken in range(5)], ("walk", 4)]


@pytest.fixture
def make_backlog(make_due, make_run):
    """Make runs that are due before others in a queue that is paused, and those others."""

    def make(count):
        for priority in (5, 0):
            copy_row(make_due(3600, queue_name="stopped", priority=priority), count)
        # What waits is in the index of its queue, and not passed either.
        copy_row(
            make_run(run_after=None, waits_for="limit", limit_key="a", queue_name="mail", priority=5), count
        )
        copy_row(make_run(run_after=timezone.now() + timedelta(days=1), queue_name="mail"), count)
        for name in ("mail", "web"):
            copy_row(make_due(60, queue_name=name), 20)
        pause("stopped", using="default")

    return make


ASKED = [{}, {"queues": ["mail"]}, {"queues": ["mail", "web"]}, {"others": ["stopped"]}]


@pytest.mark.parametrize("asked", ASKED, ids=str)
@pytest.mark.parametrize("is_analyzed", [False, True], ids=["new", "analyzed"])
def test_sqlite_does_not_walk_what_is_due_in_a_queue_that_a_claim_leaves(
    make_backlog, start, steps, asked, is_analyzed
):
    if connection.vendor != "sqlite":
        pytest.skip("SQLite alone counts its steps")
    make_backlog(2000)
    if is_analyzed:
        analyze("django_jobs_run")

    assert steps(lambda: claim(limit=3, **asked)) > 10
    assert steps(lambda: claim(limit=3, start=start, **asked)) < 6
    assert steps(lambda: claim(limit=3, start=start, queues=["none"])) < 3


@pytest.mark.parametrize("asked", ASKED, ids=str)
def test_postgresql_does_not_walk_what_is_due_in_a_queue_that_a_claim_leaves(
    pages, make_backlog, start, asked, statistics
):
    make_backlog(10_000)
    statistics()

    assert pages(lambda: claim(limit=3, start=start, **asked)) < 400


@pytest.mark.django_db(transaction=True)
def test_mariadb_does_not_walk_what_is_due_in_a_queue_that_a_claim_leaves(make_backlog, start, rows_read):
    if connection.vendor != "mysql":
        pytest.skip("MariaDB counts what it reads")
    make_backlog(1000)
    read = {}

    for seen in ("before", "now"):
        if seen == "now":
            analyze("django_jobs_run")
        read |= {
            (str(asked), seen): rows_read(lambda asked=asked: claim(limit=3, start=start, **asked))
            for asked in ASKED
        }

    assert {asked: count for asked, count in read.items() if count > 600} == {}
    assert rows_read(lambda: claim(limit=3)) > 1000
