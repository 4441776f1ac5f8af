"""Texts of rows in our log: each goes through `printable`, or it could forge a line or reach a terminal raw."""

import ast
import re
from pathlib import Path

import pytest

import django_jobs

PACKAGE = Path(django_jobs.__file__).parent
LEVELS = {"debug", "info", "warning", "error", "exception", "critical", "log"}
# What no person and no row can give a text of its own: numbers, times, statuses, names of our threads and signals.
SAFE = {
    "seconds", "run.id", "run_id", "run.worker_id", "run.attempt", "key[0]", "status", "scheduled_at", "worker.id", "self.id", "self._worker.id",
    "process", "slot.current", "slot.number", "name", "number", "running", "count", "how", "what", "who", "self.name",
    "attempt.key[0]", "attempt.run.id", "thread.name", "sorted((key[0] for key in forgotten))",
    "'ahead of' if self.ahead_seconds > 0 else 'behind'", "slot.current.stale", "connection.alias", "threading.current_thread().name", "message.msg", "message.hint",
}  # fmt: skip


def calls():
    """The lines that the package logs: where each is, its text and its arguments."""
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr in LEVELS
            ):
                owner = ast.unparse(node.func.value)
                # `describe.log_error` passes on what it was given, which is looked at where it is called.
                is_log = owner in {"logger", "log"} or owner.startswith("_loggers[")
                if is_log and path.name != "describe.py":
                    yield (
                        f"{path.relative_to(PACKAGE)}:{node.lineno}",
                        node.args[node.func.attr == "log" :],
                    )
            elif isinstance(node, ast.Call) and ast.unparse(node.func) == "describe.log_error":
                yield f"{path.relative_to(PACKAGE)}:{node.lineno}", node.args[2:]


def raw_arguments(written):
    """The arguments of a call that it writes as they are."""
    line, *arguments = written
    kinds = re.findall(r"%[-+ 0-9.]*([a-zA-Z])", ast.literal_eval(line))
    # With an asterisk the number of texts is not known here.
    kinds += ["s"] * (len(arguments) - len(kinds))
    return [one for kind, one in zip(kinds, arguments, strict=True) if kind == "s" and not is_safe(one)]


def is_safe(node):
    text = ast.unparse(node)
    called = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
    return (
        isinstance(node, ast.Constant)
        or text in SAFE
        or called in {"printable", "len"}
        or text.startswith("*map(printable, ")
        or re.fullmatch(r"type\(\w+\)\.__name__", text) is not None
    )


def test_texts_that_a_log_line_is_made_of_are_printable():
    found = list(calls())
    raw = {
        place: [ast.unparse(one) for one in raws] for place, call in found if (raws := raw_arguments(call))
    }

    assert len(found) > 40
    assert raw == {}


@pytest.mark.parametrize(
    ("line", "is_raw"),
    [
        ('logger.info("job=%s", job_id)', True),
        ('logger.info("job=%s", printable(job_id))', False),
        ('logger.log(level, "%.1f s: %s", seconds, error)', True),
        ('logger.log(level, "%.1f s: %r", seconds, error)', False),
        ('_loggers["worker"].warning("%s runs", len(runs))', False),
    ],
)
def test_the_walk_tells_raw_texts_from_others(line, is_raw):
    (call,) = [node for node in ast.walk(ast.parse(line)) if isinstance(node, ast.Call) and node.args][:1]

    assert bool(raw_arguments(call.args[call.func.attr == "log" :])) is is_raw
