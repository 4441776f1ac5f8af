import json
import re
import signal
import time
from pathlib import Path

import pytest
from django.db import connection
from django.db.models import Count

from django_jobs.models import Run, Step
from tests.faults.processes import SHORT_LEASE, end
from tests.probes import durable
from tests.probes.models import Mark

COMPLETION = "django_jobs.execution.completion"
KEEP = "django_jobs.execution.steps.memory:Memory.keep"
WRITE = "django_jobs.storage.steps:write"
MARK = "tests.probes.durable:mark_run"
ROWS = "12345"


def case(function, args, instant, nth, expected, act="kill"):
    return [f"tests.probes.{function}", args, instant, nth, act], expected


def both(function, instant, nth, plain, atomic):
    """What a part that is hit leaves without `atomic`, and with it."""
    return [case(function, [False], instant, nth, plain), case(function, [True], instant, nth, atomic)]


# Killed at an instant: the status, the attempt and the effects of the run once others have ended it. An attempt in
# which a run has kept something is not counted.
KILLED = [
    # A function that is one commit: before it, inside, and after.
    *(
        case(f"effects:{function}", [], f"{COMPLETION}:{instant}", 1, ["SUCCESSFUL", attempt, "done"])
        for function in ("mark_this_run", "complete_this_run")
        for instant, attempt in {
            "_Commit.__enter__ before": 2, "_Commit.__enter__ after": 2, "_Commit.write before": 2,
            "_Commit.write after": 2, "_Commit._note before": 1, "_Commit._note after": 1,
        }.items()
    ),
    # A step: before it, inside, before and after it is kept; and between two.
    *both("durable:mark_steps", f"{MARK} before", 1, ["SUCCESSFUL", 2, "a b"], ["SUCCESSFUL", 2, "a b"]),
    *both("durable:mark_steps", f"{MARK} after", 1, ["SUCCESSFUL", 2, "a a b"], ["SUCCESSFUL", 2, "a b"]),
    *both("durable:mark_steps", f"{KEEP} before", 1, ["SUCCESSFUL", 2, "a a b"], ["SUCCESSFUL", 2, "a b"]),
    *both("durable:mark_steps", f"{WRITE} after", 1, ["SUCCESSFUL", 1, "a b"], ["SUCCESSFUL", 2, "a b"]),
    *both("durable:mark_steps", f"{MARK} before", 2, ["SUCCESSFUL", 1, "a b"], ["SUCCESSFUL", 1, "a b"]),
    *both("durable:mark_steps", f"{KEEP} before", 2, ["SUCCESSFUL", 1, "a b b"], ["SUCCESSFUL", 1, "a b"]),
    # A loop: in its first page, before and after the cursor is kept, and between two pages.
    *both("durable:mark_rows", f"{MARK} after", 1, ["SUCCESSFUL", 1, "1 1 2 3 4 5"], ["SUCCESSFUL", 1, "1 2 3 4 5"]),
    *both("durable:mark_rows", f"{KEEP} before", 2, ["SUCCESSFUL", 1, "1 2 1 2 3 4 5"], ["SUCCESSFUL", 1, "1 2 3 4 5"]),
    *both("durable:mark_rows", f"{WRITE} after", 2, ["SUCCESSFUL", 1, "1 2 3 4 5"], ["SUCCESSFUL", 1, "1 2 3 4 5"]),
    *both("durable:mark_rows", f"{MARK} before", 3, ["SUCCESSFUL", 1, "1 2 3 4 5"], ["SUCCESSFUL", 1, "1 2 3 4 5"]),
    # A sleep: before it is kept, while the run leaves its thread, and after it has.
    case("durable:mark_around_a_sleep", [], f"{KEEP} before", 2, ["SUCCESSFUL", 1, "a b"]),
    case("durable:mark_around_a_sleep", [], "django_jobs.storage.suspension:suspend before", 1, ["SUCCESSFUL", 1, "a b"]),
    case("durable:mark_around_a_sleep", [], "django_jobs.storage.suspension:suspend after", 1, ["SUCCESSFUL", 1, "a b"]),
    # An event: after it was sent, before and after it is taken.
    case("durable:send_and_mark", [], f"{WRITE} after", 1, ["SUCCESSFUL", 2, "a"]),
    case("durable:send_and_mark", [], "django_jobs.storage.events:receive before", 1, ["SUCCESSFUL", 1, "a"]),
    case("durable:send_and_mark", [], "django_jobs.storage.events:receive after", 1, ["SUCCESSFUL", 1, "a"]),
]  # fmt: skip
# Stopped past the lease: others have ended the run when the process goes on, and what it writes is refused.
STOPPED = [
    case("effects:complete_this_run", [], f"{COMPLETION}:Completion.__enter__ before", 1, ["SUCCESSFUL", 2, "done"], "stop"),
    case("durable:mark_steps", [False], f"{KEEP} before", 1, ["SUCCESSFUL", 2, "a a b"], "stop"),
    case("durable:mark_rows", [False], f"{KEEP} before", 2, ["SUCCESSFUL", 1, "1 2 1 2 3 4 5"], "stop"),
    case("durable:mark_rows", [True], "django_jobs.execution.steps.loop:Loop._commit before", 2, ["SUCCESSFUL", 1, "1 2 3 4 5"], "stop"),
    case("durable:mark_around_a_sleep", [], "django_jobs.storage.suspension:suspend before", 1, ["SUCCESSFUL", 1, "a b"], "stop"),
    case("durable:send_and_mark", [], "django_jobs.storage.events:receive before", 1, ["SUCCESSFUL", 1, "a"], "stop"),
]  # fmt: skip
# Stopped inside its transaction, which would keep SQLite's one lock.
STOPPED_INSIDE = [
    case("effects:mark_this_run", [], f"{COMPLETION}:_Commit.write before", 1, ["SUCCESSFUL", 2, "done"], "stop"),
    case("effects:complete_this_run", [], f"{COMPLETION}:_Commit.write before", 1, ["SUCCESSFUL", 2, "done"], "stop"),
    case("durable:mark_steps", [True], f"{KEEP} before", 1, ["SUCCESSFUL", 2, "a b"], "stop"),
    case("durable:mark_steps", [True], f"{MARK} before", 2, ["SUCCESSFUL", 1, "a b"], "stop"),
    case("durable:mark_rows", [True], f"{KEEP} before", 2, ["SUCCESSFUL", 1, "1 2 3 4 5"], "stop"),
]  # fmt: skip


@pytest.fixture
def rows(transactional_db):
    return Mark.objects.bulk_create([Mark(text=f"row {number}") for number in ROWS])


@pytest.mark.parametrize(
    "cases", [KILLED, STOPPED, STOPPED_INSIDE], ids=["killed", "stopped", "stopped inside"]
)
def test_effects_are_as_promised_wherever_a_process_dies_or_sleeps_past_its_lease(cases, kills, rows):
    if cases is STOPPED_INSIDE and connection.vendor == "sqlite":
        pytest.skip("a stopped writer of SQLite stops all others")

    outcomes = kills("at", json.dumps([one for one, _ in cases]))

    found = {f"{' '.join(map(str, one))}": outcome for (one, _), outcome in zip(cases, outcomes, strict=True)}
    assert found == {" ".join(map(str, one)): expected for one, expected in cases}


def fill(count):
    """Insert rows with an empty text."""
    Mark.objects.create(text="")
    table, there = Mark._meta.db_table, 1
    with connection.cursor() as cursor:
        while there < count:
            more = min(there, count - there)
            cursor.execute(f"INSERT INTO {table} (text, at) SELECT text, at FROM {table} LIMIT {more}")
            there += more


def resident_mb(process):
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", status).group(1)) / 1024


@pytest.mark.timeout(0)
@pytest.mark.parametrize("is_atomic", [True, False], ids=["atomic", "plain"])
def test_a_loop_whose_workers_are_killed_meets_each_row_as_often_as_promised(
    is_atomic, worker, manager, soak_minutes, request, chance, say, transactional_db
):
    if not soak_minutes:
        pytest.skip("goes on for minutes: --soak, with --rows")
    count = request.config.getoption("--rows")
    fill(count)
    manager.add_immediate_job(durable.count_rows, is_atomic)
    run = Run.objects.get()
    began, kills, sizes = time.monotonic(), 0, []

    def done():
        step = Step.objects.first()
        return 0 if step is None else json.loads(step.value)["done"]

    # Killed for two thirds of the rows; the last worker is left alone, so that what it takes can be seen.
    process = worker("--threads", "1", jobs=SHORT_LEASE)
    while done() < count * 2 / 3:
        time.sleep(chance.uniform(1, 4))
        end(process, signal.SIGKILL)
        kills += 1
        process = worker("--threads", "1", jobs=SHORT_LEASE)
    while not sizes or not Run.objects.finished().exists():
        sizes.append(resident_mb(process))
        time.sleep(1)

    run.refresh_from_db()
    met = dict(Mark.objects.values_list("text").annotate(Count("pk")).order_by())
    say(
        f"{connection.vendor} {'atomic' if is_atomic else 'plain'}: {count} rows in {time.monotonic() - began:.0f} s, "
        f"{kills} kills; met so often: { {len(text): number for text, number in met.items()} }; "
        f"MB of the last worker: {sizes[0]:.0f} to {max(sizes):.0f}"
    )
    assert (run.status, run.progress["done"]) == ("SUCCESSFUL", count)
    assert met.get("x", 0) + met.get("xx", 0) == count
    # A page has 500 rows.
    assert met.get("xx", 0) <= (0 if is_atomic else kills * 500)
    # It may load a module.
    assert max(sizes) - sizes[min(2, len(sizes) - 1)] < 8
