"""The page `docs/reference.md`, from the docstrings: `python -m tests.reference` writes it."""

import importlib
import inspect
import re
from pathlib import Path
from typing import is_typeddict

import django
from django.conf import settings

import django_jobs

PAGE = Path(__file__).parent.parent / "docs" / "reference.md"

HEAD = """\
# Reference

All that is public, with what its docstrings say, in the order in which one meets it. [API](api.md) explains the same with tables and examples. `python -m tests.reference` writes this page, from a checkout; a test fails where the two differ.

Each method of the manager that touches the database has an async twin, whose name begins with `a` (that of `wait` is `await_job`): see [there](api.md#async-twins).
"""

# Public for the sake of other modules here; nothing that a reader would call.
NOT_FOR_READERS = {
    "DjangoJobsInstrumentor": {"instrumentation_dependencies"},
    "DjangoJobsIntegration": {"setup_once"},
    "Durations": {"over"},
    "JobManager": {"serve", "service", "start_after"},
    "JobsCollector": {"collect", "describe"},
    "MetricsView": {"get"},
    "RunFilter": {"filter"},
    "JobOptions": {"over", "stored", "validate"},
    "JobsMixin": {"setUp"},
    "RunContext": {
        "capture_level",
        "is_listening",
        "lines",
        "listen",
        "must_stop",
        "said",
        "show_progress",
        "stop",
        "was_told",
    },
}
# Classes whose instances a reader is given.
GIVEN = {
    "AddedJob", "CapturedJobs", "DjangoJobsInstrumentor", "Durations", "Enqueuer", "Executed", "JobManager",
    "JobsBackend", "JobsMixin",
    "JobOptions", "Jobs", "MetricsView", "Observer", "Point", "Pruned", "RunContext", "RunFilter", "Summary",
}  # fmt: skip
# What is public, in the order in which one meets it: a heading, the module, and the names in it; all that its
# `__all__` has where none are named.
SECTIONS = [
    ("Declare jobs and schedules", "django_jobs", ["job", "cron", "recurring", "Enqueuer"]),
    ("The manager", "django_jobs", ["get_job_manager", "JobManager"]),
    ("What it returns", "django_jobs", ["JobHandle", "JobInfo", "RunInfo", "Pruned"]),
    (
        "Options",
        "django_jobs",
        ["JobOptions", "Retry", "RetryLater", "GiveUp", "Limit", "Unique", "Debounce", "Alert"],
    ),
    ("In a run", "django_jobs", ["current_run", "RunContext"]),
    ("Batches", "django_jobs", ["Batch", "RunHandle", "BatchInfo"]),
    (
        "Errors that you may catch",
        "django_jobs",
        ["JobFailed", "JobCancelled", "JobLookupError", "ConflictingIdError", "BatchClosed"],
    ),
    ("Other errors", "django_jobs.exceptions", None),
    ("Triggers", "django_jobs.triggers", ["interval", "anchored", "calendar", "crontab"]),
    ("Types of your own", "django_jobs.codec", ["register"]),
    ("Tests", "django_jobs.testing", None),
    ("Django Tasks", "django_jobs.tasks", ["JobsBackend"]),
    ("Live pages", "django_jobs.live", None),
    ("ASGI", "django_jobs.asgi", ["DjangoConnections"]),
    ("Health", "django_jobs.health", None),
    ("Counts", "django_jobs.statistics", None),
    ("Observers", "django_jobs", ["Observer", "add_observer", "remove_observer"]),
    ("Logs", "django_jobs.logs", ["RunFilter"]),
    ("django-health-check", "django_jobs.integrations.health_check", ["Jobs"]),
    ("Prometheus", "django_jobs.integrations.metrics", ["MetricsView", "JobsCollector", "exposition"]),
    ("Sentry", "django_jobs.integrations.sentry", ["DjangoJobsIntegration"]),
    ("OpenTelemetry", "django_jobs.integrations.tracing", ["DjangoJobsInstrumentor"]),
]
SECTION = re.compile(r"(Args|Attributes|Returns|Raises|Yields):$")
ITEM = re.compile(r"(\*{0,2}\w+): (.*)")


def page() -> str:
    """Return the page as it should be."""
    parts = [HEAD]
    seen = set()
    for heading, module_name, chosen in SECTIONS:
        module = importlib.import_module(module_name)
        parts.append(f"## {heading}\n\nFrom `{module_name}`.\n")
        for name in chosen or sorted(module.__all__):
            thing = getattr(module, name)
            if id(thing) not in seen:
                seen.add(id(thing))
                parts += entry(name, thing, "###")
    left = {
        name for name in vars(django_jobs).get("__all__", ()) if id(getattr(django_jobs, name)) not in seen
    }
    if left:
        raise LookupError(f"no section of the reference has {', '.join(sorted(left))}")
    return "\n".join(parts)


def entry(name: str, thing: object, level: str) -> list[str]:
    """Return the heading and text of a function or class, and of the public methods of a class."""
    if not thing.__module__.startswith("django_jobs"):
        return [f"{level} `{name}`\n", f"APScheduler's own: `{thing.__module__}.{thing.__qualname__}`.\n"]
    if is_typeddict(thing):
        return [f"{level} `{name}`\n", f"{text(inspect.getdoc(thing))}\n{keys(thing)}"]
    is_class = inspect.isclass(thing)
    is_made = not is_class or not (name in GIVEN or issubclass(thing, BaseException))
    sign = signature(thing, is_method=is_class) if is_made else ""
    parts = [f"{level} `{name}{sign}`\n", text(inspect.getdoc(thing))]
    # Of several classes that make up one, its own members come first.
    for owner in inspect.getmro(thing) if is_class else ():
        for member, value in vars(owner).items() if owner.__module__.startswith("django_jobs") else ():
            parts += member_entry(thing, member, value)
    return parts


def keys(thing: type) -> str:
    """Return the keys of a dict with what the comments behind them say."""
    found = re.findall(r"^    (\w+): (.+?)(?:  # (.+))?$", inspect.getsource(thing), re.MULTILINE)
    return joined([f"- `{key}` (`{kind}`){': ' if words else ''}{words}" for key, kind, words in found])


def member_entry(owner: type, name: str, value: object) -> list[str]:
    """Return what is said of one member of a class; nothing of what is not public or says nothing."""
    is_twin = name.startswith("a") and hasattr(owner, name[1:])
    is_ours = name.startswith("_") or name in NOT_FOR_READERS.get(owner.__name__, ())
    if is_ours or is_twin or not inspect.getdoc(value):
        return []
    if isinstance(value, property):
        return [f"#### `{owner.__name__}.{name}`\n", text(inspect.getdoc(value))]
    if not inspect.isfunction(value):
        return []
    return [
        f"#### `{owner.__name__}.{name}{signature(value, is_method=True)}`\n",
        text(inspect.getdoc(value)),
    ]


def signature(thing: object, *, is_method: bool) -> str:
    """Return a signature without types, which the text has in words."""
    found = inspect.signature(thing)
    parameters = [one.replace(annotation=one.empty) for one in found.parameters.values()]
    if is_method and parameters and parameters[0].name == "self":
        parameters = parameters[1:]
    # How a default is written differs between versions of Python.
    shown = str(found.replace(parameters=parameters, return_annotation=found.empty))
    return re.sub(r"<class '(\w+)'>|<factory>", lambda match: match[1] or "…", shown)


def text(doc: str) -> str:
    """Return a docstring as Markdown: its sections as lists, and paragraphs on one line each."""
    out: list[str] = []
    paragraph: list[str] = []
    in_section = in_code = False

    def flush() -> None:
        if paragraph:
            out.append(" ".join(paragraph))
            paragraph.clear()

    for line in doc.splitlines():
        if line.startswith("```"):
            # Without its language: tests execute what has one, and this has no imports.
            flush()
            in_code = not in_code
            out.append("```" if in_code else f"{out.pop()}\n```")
        elif in_code:
            out.append(f"{out.pop()}\n{line}")
        elif found := SECTION.match(line):
            flush()
            out.append(f"**{found[1]}**")
            in_section = True
        elif not line.strip():
            flush()
        elif in_section and not line.startswith("  "):
            flush()
            in_section = False
            paragraph.append(line)
        elif in_section and line.startswith("    ") and not line.startswith("     ") and ITEM.match(line[4:]):
            flush()
            name, words = ITEM.match(line[4:]).groups()
            paragraph.append(f"- `{name}`: {words}")
        else:
            paragraph.append(line.strip())
    flush()
    return joined(out)


def joined(paragraphs: list[str]) -> str:
    """Join paragraphs by empty lines, and items of one list by none."""
    whole = ""
    for before, one in zip(["", *paragraphs], paragraphs, strict=False):
        gap = "\n" if before.startswith("- ") and one.startswith("- ") else "\n\n"
        whole += (gap if whole else "") + one
    return f"{whole}\n"


if __name__ == "__main__":
    settings.configure(
        SECRET_KEY="for this page only",
        INSTALLED_APPS=["django.contrib.contenttypes", "django_apscheduler", "django_jobs"],
    )
    django.setup()
    PAGE.write_text(page())
