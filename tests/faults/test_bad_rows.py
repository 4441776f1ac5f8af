import pickle

import pytest
from django.utils import timezone

from django_jobs import codec, triggers
from django_jobs.models import Job, Run
from tests.probes import ledger as probes

LONG = 10_000_000


def payload(*args):
    return codec.dump_arguments(args, {})


def signed_elsewhere(func, text, settings):
    """Sign as a project with another SECRET_KEY would."""
    before = settings.SECRET_KEY
    settings.SECRET_KEY = "the key of another project, or of this one's production"
    try:
        return codec.sign(func, text)
    finally:
        settings.SECRET_KEY = before


@pytest.fixture
def good_ones_go_on(manager, ledger, until):
    """Add good jobs before and after the bad ones of a test; afterwards all of them must have run."""
    first = manager.add_immediate_job(probes.note)

    def check():
        last = manager.add_immediate_job(probes.note)
        until(
            lambda: {line["job"] for line in ledger.lines("recorded", status="SUCCESSFUL")} >= {first, last}
        )

    return check


def ends(until, run, timeout=30):
    until(lambda: not is_waiting(run), timeout=timeout)
    run.refresh_from_db()
    return run.status, run.error


def is_waiting(run):
    """Whether a run is still to be claimed or finished; a broken one waits for a person, not for us."""
    run.refresh_from_db()
    return run.status in {"READY", "RUNNING"} and run.run_after is not None


def test_each_bad_run_ends_or_waits_with_its_reason_and_good_ones_go_on(
    make_run, worker, good_ones_go_on, until, settings
):
    note, needs = "tests.probes.ledger:note", "tests.probes.ledger:needs"
    good = payload("text")
    runs = {
        "renamed": make_run(func="tests.probes.ledger:its_old_name"),
        "module gone": make_run(func="tests.faults.gone:anything"),
        "module broken": make_run(func="tests.faults.broken:anything"),
        "not allowed": make_run(func="os:system", payload=payload("true")),
        "signature changed": make_run(func=needs, payload=payload("only one")),
        "truncated": make_run(func=note, payload=good[:-3], signature=codec.sign(note, good)),
        "tampered": make_run(func=note, payload=payload("else"), signature=codec.sign(note, good)),
        "another function": make_run(func=needs, payload=good, signature=codec.sign(note, good)),
        "another key": make_run(func=note, payload=good, signature=signed_elsewhere(note, good, settings)),
        "signed rubbish": make_run(func=note, payload="{", signature=codec.sign(note, "{")),
        "unstorable result": make_run(func="tests.probes.ledger:unstorable"),
    }

    worker(jobs={"VERSION_SKEW_SECONDS": 0})

    found = {name: ends(until, run) for name, run in runs.items()}
    expected = {
        "renamed": ("FAILED", "has no its_old_name"),
        "module gone": ("FAILED", "No module named 'tests.faults.gone'"),
        "module broken": ("FAILED", "its dependency is not installed"),
        "not allowed": ("FAILED", "os:system may not be called"),
        "signature changed": ("FAILED", "missing 1 required positional argument: 'two'"),
        "truncated": ("READY", "BadPayload"),
        "tampered": ("READY", "BadPayload"),
        "another function": ("READY", "BadPayload"),
        "another key": ("READY", "BadPayload"),
        "signed rubbish": ("READY", "BadPayload"),
        "unstorable result": ("FAILED", "cannot be stored"),
    }
    assert {name: status for name, (status, _) in found.items()} == {n: s for n, (s, _) in expected.items()}
    for name, (_, reason) in expected.items():
        assert reason in found[name][1], (name, found[name])
    good_ones_go_on()


def test_each_bad_job_row_is_set_aside_with_its_reason_and_good_ones_fire(
    make_job, worker, manager, ledger, until, settings
):
    note, good = "tests.probes.ledger:note", payload("text")
    due = timezone.now()
    bad = {
        "unknown trigger": make_job(next_run_time=due),
        "a pickle": make_job(next_run_time=due),
        "another key": make_job(
            next_run_time=due, func=note, payload=good, signature=signed_elsewhere(note, good, settings)
        ),
        "truncated": make_job(
            next_run_time=due, func=note, payload=good[:-3], signature=codec.sign(note, good)
        ),
    }
    Job.objects.filter(pk=bad["unknown trigger"].pk).update(job_state=b'{"type":"lunar","phase":"full"}')
    Job.objects.filter(pk=bad["a pickle"].pk).update(job_state=pickle.dumps(triggers.interval(1)))
    manager.add_recurring_job(probes.note, 1, job_id="good")

    worker()

    until(lambda: Job.objects.broken().count() == 4)
    until(lambda: ledger.count("recorded", job="good") >= 2)
    assert set(Job.objects.broken().values_list("pk", flat=True)) == {row.pk for row in bad.values()}
    assert set(Run.objects.values_list("job_id", flat=True)) == {"good"}


def test_arguments_of_ten_megabytes_are_refused_at_the_call(manager):
    with pytest.raises((TypeError, ValueError), match="MAX_PAYLOAD_BYTES"):
        manager.add_immediate_job(probes.note, "x" * LONG)

    assert not Run.objects.exists()


def test_results_errors_and_logs_of_ten_megabytes_are_bounded_and_good_ones_go_on(
    manager, worker, good_ones_go_on, until
):
    for function in (probes.long_result, probes.long_error, probes.long_log):
        manager.add_immediate_job(function, LONG, job_id=function.__name__)

    worker()

    runs = {name: Run.objects.get(job_id=name) for name in ("long_result", "long_error", "long_log")}
    found = {name: ends(until, run) for name, run in runs.items()}
    assert [status for status, _ in found.values()] == ["FAILED", "FAILED", "SUCCESSFUL"]
    assert "MAX_RESULT_BYTES" in found["long_result"][1]
    assert len(found["long_error"][1]) <= 1000
    assert len(runs["long_error"].errors[0]["traceback"]) < 60_000
    assert "... cut at" in runs["long_error"].errors[0]["traceback"]
    assert len(runs["long_log"].log) < 110_000
    assert "... cut at" in runs["long_log"].log
    good_ones_go_on()


def test_text_that_databases_do_not_store_harms_nobody(manager, worker, good_ones_go_on, until):
    functions = (
        probes.fail_with_odd_text,
        probes.log_odd_text,
        probes.return_odd_text,
        probes.progress_with_odd_text,
    )
    for function in functions:
        manager.add_immediate_job(function, job_id=function.__name__)

    process = worker()

    runs = {function.__name__: Run.objects.get(job_id=function.__name__) for function in functions}
    found = {name: ends(until, run) for name, run in runs.items()}
    assert found["fail_with_odd_text"][0] == "FAILED"
    assert "nul \\x00 and surrogate \\udc80 here" in found["fail_with_odd_text"][1]
    assert "surrogate" in runs["fail_with_odd_text"].errors[0]["traceback"]
    assert found["log_odd_text"] == ("SUCCESSFUL", "")
    assert found["progress_with_odd_text"] == ("SUCCESSFUL", "")
    # A result is kept as it is, or its run says why not.
    status, error = found["return_odd_text"]
    assert status == "SUCCESSFUL" or error
    assert "does not answer" not in process.log.read_text()
    good_ones_go_on()


def test_a_broken_run_waits_unchanged_and_runs_when_the_key_is_back(
    make_run, worker, manager, ledger, until, settings
):
    note, good = "tests.probes.ledger:note", payload("text")
    signature = signed_elsewhere(note, good, settings)
    run = make_run(func=note, payload=good, signature=signature)
    worker()
    until(lambda: not is_waiting(run))
    assert (run.payload, run.signature) == (good, signature)

    Run.objects.filter(pk=run.pk).update(signature=codec.sign(note, good))
    assert manager.resume_job(run.job_id)

    until(lambda: ledger.count("recorded", run=run.pk) == 1)
