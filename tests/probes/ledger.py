"""Functions to call as jobs that write down what they did, beside what the database says of them."""

import json
import os
import time
from pathlib import Path

from django_jobs import current_run

PATIENCE = 60.0


def write(event, **more):
    """Append one line to the file that FAULTS_LEDGER names; one write, so that lines of processes do not mix."""
    line = json.dumps({"event": event, "pid": os.getpid(), "at": time.time(), **more}) + "\n"
    file = os.open(os.environ["FAULTS_LEDGER"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(file, line.encode())
    finally:
        os.close(file)


def _write(event, **more):
    run = current_run()
    write(event, job=run.job_id, run=run.run_id, attempt=run.attempt, **more)


def _wait_for(condition):
    end = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError("nobody let this run go on")
        time.sleep(0.01)


def note(text=""):
    _write("began", text=text)
    _write("ended", text=text)
    return text


def swallow(text):
    _write("began")
    _write("ended")


def work(seconds):
    _write("began")
    time.sleep(seconds)
    _write("ended")


def keyed(key, seconds):
    """Work under a limit of a key."""
    _write("began", key=key)
    time.sleep(seconds)
    _write("ended", key=key)


def hold(gate):
    """Work, deaf to everything, until a file appears."""
    _write("began")
    _wait_for(Path(gate).exists)
    _write("ended", is_lost=current_run().is_lost)
    return "held"


def listen():
    """Work until told to end."""
    _write("began")
    current_run().wait(PATIENCE)
    _write("told", reason=current_run().stop_reason)
    return "listened"


def notice_loss():
    """Work on the first attempt until it is lost; the next one ends at once."""
    run = current_run()
    _write("began")
    if run.attempt == 1:
        _wait_for(lambda: run.is_lost)
        _write("lost", reason=run.stop_reason)
        return "too late"
    _write("ended")
    return "in time"


def die():
    """End the process without a word."""
    _write("began")
    os._exit(7)


def die_at(gate):
    """End the process without a word when a file appears."""
    _write("began")
    _wait_for(Path(gate).exists)
    os._exit(7)


def succeed_on(attempt):
    """Fail until some attempt."""
    _write("began")
    if current_run().attempt < attempt:
        raise ValueError(f"attempt {current_run().attempt}")
    _write("ended")


def unstorable():
    return object()


def long_result(length):
    return "x" * length


def long_error(length):
    raise ValueError("x" * length)


def long_log(length):
    for _ in range(10):
        current_run().log("x" * (length // 10))
    return "logged"


def fail_with_odd_text():
    raise ValueError("nul \x00 and surrogate \udc80 here")


def log_odd_text():
    current_run().log("nul \x00 and surrogate \udc80 here")
    return "logged"


def return_odd_text():
    return "nul \x00 and surrogate \udc80 here"


def progress_with_odd_text():
    current_run().set_progress(1, 2, "nul \x00 and surrogate \udc80 here")
    time.sleep(1)  # long enough that the progress is written while it runs
    return "progressed"


def needs(one, two):
    return [one, two]
