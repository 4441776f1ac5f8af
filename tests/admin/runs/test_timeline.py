from datetime import UTC, datetime, timedelta

import pytest
import time_machine

from django_jobs.admin.runs import gantt, timeline
from django_jobs.models import Run, Status
from django_jobs.storage.records import INTERRUPTED

NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)


def at(seconds):
    return NOON + timedelta(seconds=seconds)


def entry(number, start, end, **more):
    return {
        "attempt": number,
        "started_at": at(start).isoformat(),
        "finished_at": at(end).isoformat(),
        "worker_id": "w1",
        "error": f"ValueError: {number}",
        "traceback": "Traceback",
        **more,
    }


def make(**fields):
    return Run(pk=1, enqueued_at=NOON, **fields)


def told(run):
    return [(step.kind, step.title, step.took) for step in timeline.steps(run, {}, with_payload=True)]


def test_a_run_that_was_tried_three_times():
    run = make(
        status=Status.SUCCESSFUL,
        attempt=3,
        worker_id="w2",
        started_at=at(100),
        finished_at=at(110),
        errors=[entry(1, 10, 20), entry(2, 50, 60)],
    )

    assert told(run) == [
        ("moment", "Enqueued", ""),
        ("waited", "Waited", "10.0 s"),
        ("attempt", "Attempt 1", "10.0 s"),
        ("waited", "Waited", "30.0 s"),
        ("attempt", "Attempt 2", "10.0 s"),
        ("waited", "Waited", "40.0 s"),
        ("attempt", "Attempt 3", "10.0 s"),
        ("end", "Successful", "1 min 50 s"),
    ]


def test_a_failed_attempt_is_there_once():
    run = make(status=Status.FAILED, attempt=1, started_at=at(1), finished_at=at(2), errors=[entry(1, 1, 2)])

    assert [kind for kind, *_ in told(run)] == ["moment", "waited", "attempt", "end"]


def test_an_attempt_that_was_handed_back_and_the_one_that_came_of_it_are_both_there():
    stopped = entry(1, 1, 2, worker_id="old", error=INTERRUPTED, traceback="")
    run = make(
        status=Status.SUCCESSFUL,
        attempt=1,
        worker_id="new",
        started_at=at(3),
        finished_at=at(4),
        errors=[stopped],
    )

    assert [kind for kind, *_ in told(run)] == [
        "moment", "waited", "attempt", "waited", "attempt", "end"
    ]  # fmt: skip


def test_attempts_that_are_not_kept_leave_a_gap():
    run = make(
        status=Status.FAILED,
        attempt=9,
        started_at=at(8),
        finished_at=at(9),
        errors=[entry(1, 1, 2), entry(9, 8, 9)],
    )

    assert [kind for kind, *_ in told(run)] == [
        "moment", "waited", "attempt", "gap", "waited", "attempt", "end"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("fields", "title"),
    [
        ({"status": Status.READY, "run_after": NOON}, "Waits for a worker"),
        (
            {"status": Status.READY, "run_after": None},
            "Held until its job is resumed, or this run is retried.",
        ),
        ({"status": Status.RUNNING, "cancel_requested": True, "started_at": NOON}, "Was asked to stop"),
        ({"status": Status.CANCELLED, "finished_at": NOON}, "Cancelled"),
        ({"status": Status.SKIPPED, "scheduled_at": NOON, "finished_at": NOON}, "Skipped"),
    ],
)
def test_it_ends_with_what_the_run_waits_for_or_came_to(fields, title):
    with time_machine.travel(at(60), tick=False):
        assert told(make(**fields))[-1][1] == title


def test_it_says_which_attempt_it_waits_for():
    policy = {"retry": {"max_attempts": 5}}
    waiting = {"status": Status.READY, "run_after": at(3600)}

    # The one whose worker died is none of the policy's.
    run = make(**waiting, attempt=2, rescues=1, errors=[entry(1, 0, 1), entry(2, 2, 3)], options=policy)

    with time_machine.travel(at(60), tick=False):
        assert told(run)[-1][1] == "Waits for attempt 2 of 5, until"
        assert told(make(**waiting, options=policy))[-1][1] == "Waits until"


@pytest.mark.parametrize(
    ("obstacle", "title"),
    [
        ("paused", "Waits: its queue is paused"),
        ("unserved", "Waits: no live worker serves its queue"),
        ("busy", "Waits for a worker"),
    ],
)
def test_what_is_due_says_why_it_does_not_begin(obstacle, title):
    run = make(status=Status.READY, run_after=NOON)

    with time_machine.travel(at(60), tick=False):
        assert [*timeline.steps(run, {}, with_payload=True, obstacle=obstacle)][-1].title == title


def test_a_deferred_run_says_until_when():

    with time_machine.travel(at(0), tick=False):
        step = list(timeline.steps(make(status=Status.READY, run_after=at(300)), {}, with_payload=True))[-1]

    assert step.title == "Waits until"
    assert "in 5 minutes" in step.at


def test_tracebacks_are_payload():
    run = make(status=Status.FAILED, attempt=1, started_at=at(1), finished_at=at(2), errors=[entry(1, 1, 2)])

    steps = list(timeline.steps(run, {}, with_payload=False))

    assert [step.traceback for step in steps] == [""] * 4
    assert steps[2].error == "ValueError: 1"


def test_times_that_make_no_sense_make_no_picture_that_overflows():
    run = make(
        status=Status.FAILED,
        attempt=3,
        started_at=at(-50),
        finished_at=at(1),
        errors=[entry(1, -100, -90), entry(2, 500, 400), entry("x", 0, 0), "odd", {"started_at": 5}],
    )

    told(run)
    parts = [part for row in gantt.of_run(run).rows for part in row.segments]
    assert len(parts) >= 3
    for part in parts:
        assert part.x >= 0
        assert part.width > 0
        assert part.x + part.width <= gantt.WIDTH


def drawn(run):
    return [
        (row.label, [(part.state, part.x, part.width) for part in row.segments])
        for row in gantt.of_run(run).rows
    ]


def test_each_attempt_has_a_row_with_the_wait_before_it():
    run = make(
        status=Status.SUCCESSFUL,
        attempt=3,
        started_at=at(90),
        finished_at=at(100),
        errors=[entry(1, 10, 20), entry(2, 50, 60)],
    )

    assert drawn(run) == [
        ("Attempt 1", [("waiting", 0, 100), ("failed", 100, 100)]),
        ("Attempt 2", [("retry", 200, 300), ("failed", 500, 100)]),
        ("Attempt 3", [("retry", 600, 300), ("successful", 900, 100)]),
    ]
    picture = gantt.of_run(run)
    assert picture.length == "1 min 40 s"
    assert [part["state"] for part in picture.legend] == ["waiting", "retry", "failed", "successful"]
    assert picture.rows[1].segments[0].title == "Waiting for a retry: 30.0 s"


def test_a_wait_that_goes_on_and_an_attempt_that_runs_reach_to_now():
    with time_machine.travel(at(100), tick=False):
        waits = make(status=Status.READY, attempt=1, run_after=at(200), errors=[entry(1, 10, 20)])
        runs = make(status=Status.RUNNING, attempt=1, started_at=at(50))
        new = make(status=Status.READY, run_after=NOON)

        assert drawn(waits)[1] == ("Waiting for a retry", [("retry", 200, 800)])
        assert drawn(runs) == [("Attempt 1", [("waiting", 0, 500), ("running", 500, 500)])]
        assert drawn(new) == [("Waiting", [("waiting", 0, 1000)])]
    with time_machine.travel(NOON, tick=False):
        assert gantt.of_run(new) is None
