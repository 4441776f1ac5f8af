import pytest
from django.core.management import CommandError

pytestmark = pytest.mark.django_db

VALUES = (
    "", "\0", "x\0y", "0001-01-01T00:00Z", "0001-01-01T00:00+14:00", "9999-12-31T23:59:59-12:00", "10000-01-01T00:00Z",
    "-1", "0", "9" * 9, "9" * 18, "9" * 19, "9" * 400, "9" * 400 + "w", "1e999", "nan", "%", "'", "\u0661", "\U0001f600",
    "x" * 5000,
)  # fmt: skip
COMMANDS = (
    ("list", "--after"), ("list", "--limit"), ("list", "--queue"), ("list", "--func"), ("list", "--job"),
    ("list", "--status", "finished", "--queue"), ("list", "--status", "finished", "--func"),
    ("show",), ("show", "--run"), ("show", "nightly", "--limit"),
    ("add",), ("add", "tests.probes.jobs:nothing"), ("add", "tests.probes.jobs:nothing", "--at"),
    ("add", "tests.probes.jobs:nothing", "--every"), ("add", "tests.probes.jobs:nothing", "--cron"),
    ("add", "tests.probes.jobs:nothing", "--cron", "@daily", "--timezone"), ("add", "tests.probes.jobs:nothing", "--id"),
    ("add", "tests.probes.jobs:nothing", "--name"), ("add", "tests.probes.jobs:nothing", "--queue"),
    ("add", "tests.probes.jobs:nothing", "--priority"), ("add", "tests.probes.jobs:nothing", "--timeout"),
    ("add", "tests.probes.jobs:nothing", "--every", "60", "--max-instances"),
    ("pause",), ("pause", "--queue"), ("resume",), ("resume", "--queue"), ("run",), ("cancel",), ("cancel", "--runs"),
    ("retry",), ("retry", "--runs"), ("remove", "--yes"), ("prune", "--keep-days"), ("prune", "--keep-runs-per-job"),
    ("status", "--overdue"), ("import-apscheduler", "--yes"),
)  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_no_value_of_an_argument_ends_a_command_without_a_message(jobs, make_job, make_run, command):
    make_job(id="nightly"), make_run(job_id="nightly", status="FAILED"), make_run(job_id="waits")

    for value in VALUES:
        # With its option, so that it is not taken for one.
        last = command[-1]
        words = (
            [*command[:-1], f"{last}={value}"]
            if last.startswith("--") and last not in {"--runs", "--yes"}
            else [*command, value]
        )
        # Anything but a message would be a traceback.
        try:
            jobs(*words)
        except CommandError as error:
            assert error.returncode in {1, 2}, (value, error)  # noqa: PT017 - only some end so
