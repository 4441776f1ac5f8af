import collections

import pytest

from django_jobs import Retry, current_run
from django_jobs.execution.steps import loop
from django_jobs.execution.steps.keyset import Keyset
from django_jobs.models import Job, Run, Step
from django_jobs.storage import leases
from django_jobs.storage.records import INTERRUPTED, PROGRESSED
from django_jobs.testing import drain_jobs
from tests.probes import durable
from tests.probes.models import Mark

AGAIN = Retry(max_attempts=3, delay=0, jitter=0)


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    # However slow this machine is, a page is kept at its end.
    monkeypatch.setattr(loop, "KEEP_SECONDS", float("inf"))
    durable.began.clear()
    durable.go_on.clear()
    yield durable
    durable.go_on.set()


@pytest.fixture
def rows(db):
    return Mark.objects.bulk_create([Mark(text="row") for _ in range(10)])


def touched():
    return [mark.text for mark in Mark.objects.filter(text__startswith="touched").order_by("pk")]


def names(rows):
    return [f"touched {row.pk}" for row in rows]


@pytest.mark.parametrize("size", [1, 3, 10, 11])
@pytest.mark.parametrize("atomic", [False, True])
def test_every_row_is_met_once(rows, manager, size, atomic):
    manager.add_immediate_job(durable.touch_all, size, atomic=atomic)

    (executed,) = drain_jobs()

    assert (executed.result, touched()) == (10, names(Mark.objects.filter(text="row").order_by("pk")))
    progress = Run.objects.get().progress
    assert (progress["done"], progress["total"]) == (10, 10)


def test_another_attempt_goes_on_after_the_last_page(rows, manager):
    manager.using(retry=AGAIN).add_immediate_job(durable.fail_at_once_in_a_loop, 3, 7)

    assert drain_jobs()[-1].status == "SUCCESSFUL"

    # The page of the row that raised is done again from its beginning.
    counts = collections.Counter(touched())
    ids = [row.pk for row in Mark.objects.filter(text="row").order_by("pk")]
    assert [counts[f"touched {pk}"] for pk in ids] == [1, 1, 1, 1, 1, 1, 2, 1, 1, 1]


@pytest.mark.parametrize("function", [durable.fail_at_once_in_a_loop, durable.fail_at_once_in_a_loop_async])
def test_a_slow_page_is_kept_and_shown_in_parts(serve, manager, transactional_db, monkeypatch, function):
    rows = Mark.objects.bulk_create([Mark(text="row") for _ in range(10)])
    monkeypatch.setattr(loop, "KEEP_SECONDS", 0)
    serve()

    manager.wait(manager.using(retry=AGAIN).add_immediate_job(function, 10, 7), 10)

    assert sorted(touched()) == sorted(names(rows))
    assert Run.objects.get().progress["done"] == 10


def test_what_a_page_did_and_its_cursor_are_one_commit(rows, manager):
    manager.using(retry=AGAIN).add_immediate_job(durable.fail_at_once_in_a_loop, 3, 7, atomic=True)

    assert drain_jobs()[-1].status == "SUCCESSFUL"

    assert set(collections.Counter(touched()).values()) == {1}
    assert len(touched()) == 10


@pytest.mark.parametrize("atomic", [False, True])
def test_errors_of_rows_are_recorded_and_the_loop_goes_on(rows, manager, atomic):
    manager.add_immediate_job(durable.record_odd_rows, 4, atomic=atomic)

    (executed,) = drain_jobs()

    odd = [row.pk for row in Mark.objects.filter(text="row").order_by("pk") if row.pk % 2]
    assert (executed.status, executed.result, executed.attempt) == ("SUCCESSFUL", "done", 1)
    run, step = Run.objects.get(), Step.objects.get()
    assert all(f"probes.Mark {pk}: ValueError: row {pk} is odd" in run.log for pk in odd)
    assert all(f"row {pk} is odd" in step.value for pk in odd)
    assert run.progress["done"] == 10
    met = [pk for pk in (row.pk for row in Mark.objects.filter(text="row")) if not atomic or pk % 2 == 0]
    assert sorted(set(touched())) == sorted(f"touched {pk}" for pk in met)


def test_an_error_after_a_loop_is_not_taken_for_a_rows(rows, manager):
    manager.add_immediate_job(durable.break_then_fail)

    (executed,) = drain_jobs()

    assert (executed.status, executed.error) == ("FAILED", "ValueError: after the loop")


def test_the_steps_of_a_row_are_its_own(rows, manager):
    manager.using(retry=AGAIN).add_immediate_job(durable.steps_of_rows, 2)

    executed = drain_jobs()[-1]

    ids = [row.pk for row in Mark.objects.filter(text="row").order_by("-pk")]
    # The page of rows 2 and 3 is met again, and the step of row 2 is remembered.
    assert executed.result == ids[2:]
    assert touched() == [f"touched {pk}" for pk in ids]


@pytest.mark.parametrize("function", [durable.rest_at_each_row, durable.rest_at_each_row_async])
def test_a_loop_whose_body_sleeps_goes_on_at_the_row_that_slept(serve, manager, transactional_db, function):
    rows = Mark.objects.bulk_create([Mark(text="row") for _ in range(4)])
    serve()

    manager.wait(manager.add_immediate_job(function), 20)

    # What a row does before it sleeps is done again after that, as at the function's top.
    assert collections.Counter(touched()) == dict.fromkeys(names(rows), 2)


@pytest.mark.parametrize("function", [durable.steps_around_loops, durable.steps_around_loops_async])
def test_steps_in_loops_in_each_other_and_after_them_are_done_once(
    serve, manager, transactional_db, function
):
    ids = [row.pk for row in Mark.objects.bulk_create([Mark(text="row") for _ in range(4)])]
    serve()

    manager.wait(manager.using(retry=AGAIN).add_immediate_job(function), 20)

    expected = [f"last {ids[0]}"]
    for pk in ids:
        expected += [f"before {pk}", f"after {pk}", *(f"in {pk} {inner}" for inner in ids)]
    done = Mark.objects.exclude(text="row").values_list("text", flat=True)
    assert sorted(done) == sorted(expected)
    scopes = set(Step.objects.filter(kind="step").values_list("key", flat=True))
    assert len(scopes) == len(expected)


def test_async_functions_iterate(serve, manager, transactional_db):
    Mark.objects.bulk_create([Mark(text="row") for _ in range(10)])
    serve()

    assert manager.wait(manager.add_immediate_job(durable.touch_all_async, 3), 10) == 10


def test_a_loop_that_its_worker_stops_goes_on_after_the_row_at_hand(serve, manager, transactional_db, until):
    Mark.objects.bulk_create([Mark(text="row") for _ in range(6)])
    service = serve()
    manager.add_immediate_job(durable.wait_in_a_loop)
    assert durable.began.wait(10)
    (attempt,) = service.worker.attempts()

    attempt.stop("shutdown")
    durable.go_on.set()

    until(lambda: Run.objects.get().status == "SUCCESSFUL")
    run = Run.objects.get()
    assert set(collections.Counter(touched()).values()) == {1}
    assert (run.attempt, len(touched())) == (1, 6)
    assert [entry["error"] for entry in run.errors] == [PROGRESSED]


def test_hand_backs_with_progress_count_towards_no_limit(serve, manager, make_run, until, transactional_db):
    Mark.objects.bulk_create([Mark(text="row") for _ in range(6)])
    entry = {"attempt": 1, "worker_id": "w", "started_at": None, "finished_at": None, "traceback": ""}
    errors = [{**entry, "error": PROGRESSED}] * 30 + [{**entry, "error": INTERRUPTED}] * 19
    make_run(func="tests.probes.durable:wait_in_a_loop", errors=errors)
    service = serve()
    assert durable.began.wait(10)
    (attempt,) = service.worker.attempts()

    attempt.stop("shutdown")
    durable.go_on.set()

    until(lambda: Run.objects.get().status == "SUCCESSFUL")


def test_rescues_with_progress_count_towards_no_limit(make_run, make_worker):
    make_worker(id="dead", stopped_at="2026-01-01T00:00:00Z")
    run = make_run(status="RUNNING", worker_id="dead", fence=7, rescues=3, attempt=5)
    Step.objects.create(
        run_id=run.pk,
        key="k",
        kind="loop",
        name="l",
        occurrence=0,
        attempt=5,
        fence=7,
        started_at=run.enqueued_at,
    )

    leases.rescue(max_rescues=3, using="default")

    run.refresh_from_db()
    # What came before it counts no more: one attempt failed, three died, and this is the fifth.
    assert (run.status, run.rescues, run.attempt) == ("READY", 0, 1)


def test_rescues_without_progress_still_end_a_run(make_run, make_worker):
    make_worker(id="dead", stopped_at="2026-01-01T00:00:00Z")
    run = make_run(status="RUNNING", worker_id="dead", fence=7, rescues=3, attempt=5)
    Step.objects.create(
        run_id=run.pk,
        key="k",
        kind="loop",
        name="l",
        occurrence=0,
        attempt=4,
        fence=6,
        started_at=run.enqueued_at,
    )

    leases.rescue(max_rescues=3, using="default")

    run.refresh_from_db()
    assert (run.status, run.rescues) == ("FAILED", 4)


def test_a_loop_keeps_its_pace(rows, manager):
    manager.add_immediate_job(durable.touch_at_a_pace, 4, 100)

    (executed,) = drain_jobs()

    # Three pages, with a rest after the first two.
    assert executed.result >= 0.07


def test_a_loop_has_one_page_in_memory(rows, manager):
    manager.add_immediate_job(durable.count_living_rows, 2)

    (executed,) = drain_jobs()

    assert executed.result <= 5


@pytest.mark.parametrize(
    ("queryset", "error"),
    [
        (lambda: Mark.objects.all()[:3], "sliced"),
        (lambda: Mark.objects.values("pk"), "model instances"),
        (lambda: Mark.objects.order_by("?"), "cannot go on after '?'"),
        (lambda: Mark.objects.order_by("pk").reverse(), "reversed"),
        (lambda: Run.objects.order_by("run_after"), "never null"),
        (lambda: Job.objects.order_by("last_run__pk"), "cannot go on after"),
    ],
)
def test_a_queryset_without_an_order_to_go_on_by_is_refused(queryset, error):
    with pytest.raises(ValueError, match=error):
        Keyset(queryset())


def test_rows_may_come_in_another_order(db):
    for text in "baca":
        Mark.objects.create(text=text)
    keyset = Keyset(Mark.objects.order_by("-text"))

    met, after = [], None
    while page := keyset.page(after, 1):
        met += page
        after = keyset.key(page[-1])

    assert [mark.text for mark in met] == ["c", "b", "a", "a"]
    assert met[2].pk < met[3].pk


def test_iterate_takes_a_queryset(manager, db):
    with pytest.raises(TypeError, match="takes a queryset"):
        Keyset([1, 2])
    assert current_run() is None
