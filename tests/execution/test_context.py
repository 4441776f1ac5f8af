import pytest

from django_jobs.execution.context import RunContext


class Unprintable:
    def __str__(self):
        raise LookupError("gone")


@pytest.mark.parametrize(
    ("args", "line"),
    [
        (("got %s of %s", 3), "got %s of %s (not formatted: TypeError)"),
        (("100 % of %d", "all"), "100 % of %d (not formatted: TypeError)"),
        (("got %s", Unprintable()), "got %s (not formatted: LookupError)"),
        ((Unprintable(),), "... (not formatted: LookupError)"),
        (("got %(n)s", {"n": 3}), "got 3"),
        (("got %s of %s", 3, 4), "got 3 of 4"),
        (("100 %",), "100 %"),
    ],
    ids=["too few", "wrong type", "unprintable", "unprintable message", "by name", "by position", "without"],
)
def test_a_line_that_cannot_be_formatted_does_not_end_the_work(args, line):
    run = RunContext(job_id="a", run_id=1, attempt=1, queue_name="default", max_log_bytes=1000)

    run.log(*args)

    assert run.lines.text.partition(" ")[2] == line
