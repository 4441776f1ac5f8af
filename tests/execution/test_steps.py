import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from django_jobs import Retry, signals
from django_jobs.exceptions import JobFailed
from django_jobs.models import Run, Step
from django_jobs.testing import drain_jobs
from tests.probes import durable
from tests.probes.models import Mark

AGAIN = Retry(max_attempts=3, delay=0, jitter=0)


@pytest.fixture(autouse=True)
def fresh():
    durable.began.clear()
    durable.go_on.clear()
    durable.script[:] = []
    yield durable
    durable.go_on.set()


@pytest.fixture
def run_script(db, manager):
    """Return a function that runs a script, and once it has failed another one in the same run."""

    def run(first, second):
        durable.script[:] = first
        manager.using(retry=Retry(max_attempts=2, delay=3600)).add_immediate_job(durable.follow_script)
        assert [one.status for one in drain_jobs()] == ["READY"]
        durable.script[:] = second
        (executed,) = drain_jobs(deferred=True)
        return executed

    return run


def do(text, **options):
    return lambda run: run.step(durable.do, text, **options)


def did():
    return [mark.text for mark in Mark.objects.order_by("pk")]


def test_a_step_is_done_once_in_all_attempts_of_a_run(serve, manager):
    serve()
    durable.script[:] = [do("one"), do("two", name="second"), durable.fail_once, do("three")]

    job_id = manager.using(retry=AGAIN).add_immediate_job(durable.follow_script)

    assert manager.wait(job_id, 10) == ["did one", "did two", None, "did three"]
    assert (Run.objects.get().attempt, did()) == (2, ["one", "two", "three"])


def test_steps_of_one_name_are_told_apart_by_their_occurrence(serve, manager):
    serve()
    durable.script[:] = [do("one"), do("two"), durable.fail_once]

    job_id = manager.using(retry=AGAIN).add_immediate_job(durable.follow_script)

    assert manager.wait(job_id, 10) == ["did one", "did two", None]
    assert list(Step.objects.values_list("name", "occurrence")) == [("do", 0), ("do", 1)]


def test_a_step_returns_what_it_returned_in_our_types(db, manager):
    value = {"at": durable.timedelta(hours=1), "pair": (1, 2)}
    durable.script[:] = [lambda run: run.step(lambda: value, name="typed") == value]

    manager.add_immediate_job(durable.follow_script)

    assert drain_jobs()[0].result == [True]


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        # A step was added before, in the middle, and after.
        (["a", "b"], ["new", "a", "b"], ["a", "b", "new"]),
        (["a", "b"], ["a", "new", "b"], ["a", "b", "new"]),
        (["a", "b"], ["a", "b", "new"], ["a", "b", "new"]),
        # One was removed, renamed, moved.
        (["a", "b"], ["b"], ["a", "b"]),
        (["a", "b"], ["a", "renamed"], ["a", "b", "renamed"]),
        (["a", "b"], ["b", "a"], ["a", "b"]),
    ],
)
def test_a_function_may_be_edited_between_two_attempts(run_script, before, after, expected, caplog):
    run_script(
        [*(do(name, name=name) for name in before), durable.fail_once],
        [do(name, name=name) for name in after],
    )

    assert did() == expected
    run = Run.objects.get()
    assert (run.status, run.attempt) == ("SUCCESSFUL", 2)
    for forgotten in set(before) - set(after):
        assert f"'{forgotten}' (occurrence 1) is kept and was not asked for" in caplog.text
        assert f"'{forgotten}' (occurrence 1) is kept" in run.log
    assert ("not asked for" in caplog.text) == bool(set(before) - set(after))


def test_an_argument_may_be_added_to_a_step(run_script):
    run_script(
        [do("one", name="a"), durable.fail_once],
        [lambda run: run.step(lambda text, more: more, "one", "more", name="a")],
    )

    assert (Run.objects.get().result, did()) == ('["did one"]', ["one"])


def test_a_step_that_raises_is_not_remembered(serve, manager):
    serve()
    durable.script[:] = [lambda run: run.step(durable.fail_times, 1)]

    job_id = manager.using(retry=AGAIN).add_immediate_job(durable.follow_script)

    assert manager.wait(job_id, 10) == ["at last"]
    assert did() == ["tried", "tried"]


def test_an_atomic_step_that_raises_leaves_nothing(db, manager):
    durable.script[:] = [lambda run: run.step(durable.fail_times, 5, atomic=True)]
    manager.add_immediate_job(durable.follow_script)

    assert drain_jobs()[0].error == "ValueError: try 1"

    assert did() == []


def test_a_step_has_a_retry_of_its_own(db, manager):
    manager.add_immediate_job(durable.retrying_step)

    (executed,) = drain_jobs()

    assert (executed.status, executed.result, executed.attempt) == ("SUCCESSFUL", "at last", 1)
    step = Step.objects.get()
    assert (step.tries, step.error) == (2, "")


def test_a_step_of_an_async_function_has_a_retry_of_its_own(serve, manager):
    serve()

    assert manager.wait(manager.add_immediate_job(durable.retrying_step_async), 10) == 3
    assert (Run.objects.get().attempt, Step.objects.get().tries) == (1, 2)


def test_a_step_sends_two_statements_and_one_that_is_remembered_none(db, manager):
    sent = []

    def count(run, name):
        with CaptureQueriesContext(connection) as queries:
            run.step(len, "x", name=name)
        # Neither a server asked for its time, nor a test's savepoints, nor SQLite for its lock.
        ours = [query["sql"] for query in queries if "django_jobs_" in query["sql"]]
        sent.append([sql.split()[0] for sql in ours if not sql.endswith("WHERE 0")])

    durable.script[:] = [
        lambda run: count(run, "first"),
        lambda run: count(run, "second"),
        durable.fail_once,
        lambda run: count(run, "third"),
    ]

    manager.using(retry=AGAIN).add_immediate_job(durable.follow_script)
    drain_jobs(deferred=True)

    # What the run keeps is read once in an attempt; then its row is locked for each step.
    read, keep = ["SELECT"], ["INSERT", "SELECT"]
    assert sent == [read + keep, keep, read, [], keep]


def test_a_steps_retry_waits_without_a_thread(db, manager):
    manager.add_immediate_job(durable.retrying_step, 3600)

    (executed,) = drain_jobs()

    run = Run.objects.get()
    assert (executed.status, run.state, run.attempt, run.errors) == ("READY", "deferred", 0, None)
    assert Step.objects.get().error == "ValueError: try 1"
    assert drain_jobs(deferred=True)[-1].result == "at last"


def test_a_result_that_cannot_be_kept_ends_the_run(serve, manager):
    serve()
    durable.script[:] = [lambda run: run.step(durable.unstorable)]

    job_id = manager.using(retry=AGAIN).add_immediate_job(durable.follow_script)

    with pytest.raises(JobFailed, match=r"GiveUp: .*'unstorable'.*The step was done"):
        manager.wait(job_id, 10)
    assert did() == ["unstorable"]


def test_a_run_keeps_no_more_than_its_limit(db, manager, settings):
    settings.DJANGO_JOBS = {"MAX_STEPS": 2}
    durable.script[:] = [do("one"), do("two"), do("three")]
    manager.using(retry=AGAIN).add_immediate_job(durable.follow_script)

    (executed,) = drain_jobs()

    assert executed.status == "FAILED"
    assert "keeps 2 steps (MAX_STEPS)" in executed.error


def test_a_changed_row_is_never_believed(db, manager):
    durable.script[:] = [do("one"), durable.fail_once]
    manager.using(retry=Retry(max_attempts=2, delay=3600)).add_immediate_job(durable.follow_script)
    drain_jobs()
    Step.objects.update(value='"forged"')

    (executed,) = drain_jobs(deferred=True)

    run = Run.objects.get()
    assert (run.state, did()) == ("broken", ["one"])
    assert "signature" in executed.error


@pytest.mark.parametrize(
    ("function", "error"),
    [
        (durable.step_in_a_transaction, "a step inside transaction.atomic"),
        (durable.step_in_an_atomic_function, "a step in an atomic function"),
        (durable.step_without_a_name, "has no name to remember its result by"),
        (durable.plain_step_in_async, "await current_run().astep"),
    ],
)
def test_a_step_that_could_be_done_twice_is_refused(db, manager, function, error):
    manager.add_immediate_job(function)

    (executed,) = drain_jobs()

    assert (executed.status, did()) == ("FAILED", [])
    assert error in executed.error


def test_a_step_in_a_step_is_refused(db, manager):
    durable.script[:] = [lambda run: run.step(durable.step_in_a_step)]
    manager.add_immediate_job(durable.follow_script)

    assert "step 'step_in_a_step' is under way" in drain_jobs()[0].error


def test_async_functions_have_steps(serve, manager):
    serve()

    job_id = manager.using(retry=AGAIN).add_immediate_job(durable.steps_async)

    assert manager.wait(job_id, 10) == ["did one", "did two"]
    assert did() == ["one", "two"]


def test_a_key_is_the_same_in_every_attempt_and_in_no_other_run(db, manager):
    for _ in range(2):
        manager.using(retry=AGAIN).add_immediate_job(durable.return_the_key)

    results = [one.result for one in drain_jobs(deferred=True) if one.status == "SUCCESSFUL"]

    assert [charge for charge, _ in results] == did()
    assert len({key for keys in results for key in keys}) == 4


def test_a_lost_run_keeps_nothing_more(serve, manager, until):
    refused = []
    note = lambda run, **_: refused.append(run.id)  # noqa: E731 - signals hold weak references
    signals.run_refused.connect(note)
    durable.script[:] = [
        do("one"),
        lambda run: Run.objects.filter(pk=run.run_id).update(fence=1),
        do("two", atomic=True),
    ]
    serve()

    manager.add_immediate_job(durable.follow_script)

    until(lambda: refused)
    assert did() == ["one"]
    assert Step.objects.count() == 1


def test_steps_go_with_their_run(db, manager):
    durable.script[:] = [do("one")]
    manager.add_immediate_job(durable.follow_script)
    drain_jobs()

    manager.prune(keep_days=0, keep_runs_per_job=None)

    assert (Run.objects.count(), Step.objects.count()) == (0, 0)
