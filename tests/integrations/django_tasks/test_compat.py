"""Both editions of the framework in one project; before Django 6.0 there is only the backport."""

import os
import sys
from types import SimpleNamespace

import django
import pytest

from django_jobs import signals
from django_jobs.integrations import django_tasks
from django_jobs.integrations.django_tasks import compat
from django_jobs.models import Run
from django_jobs.tasks import JobsBackend
from tests.probes import backport_tasks

with_both = pytest.mark.skipif(django.VERSION < (6, 0), reason="there is one edition only")

backport = compat.framework("django_tasks")


def test_a_task_belongs_to_the_edition_that_declared_it():
    assert compat.framework_of(backport_tasks.give) is backport
    assert isinstance(backport_tasks.give, backport.base.Task)
    assert type(backport_tasks.give.get_backend()) is JobsBackend
    with pytest.raises(TypeError, match="expected a Task, not str"):
        compat.framework_of("give")


@with_both
def test_each_decorator_makes_tasks_of_its_own_edition(tasks, framework):
    assert framework is compat.framework("django.tasks")
    assert isinstance(tasks.give, framework.base.Task)
    assert not isinstance(backport_tasks.give, framework.base.Task)


def test_results_are_of_the_edition_of_their_task(db):
    result = backport_tasks.give.enqueue(1)

    assert isinstance(result, backport.base.TaskResult)
    assert backport_tasks.give.get_result(result.id) == result


@with_both
def test_results_of_both_editions_share_a_table(db, tasks, framework):
    ours, theirs = tasks.give.enqueue(1), backport_tasks.give.enqueue(2)

    assert isinstance(ours, framework.base.TaskResult)
    assert isinstance(theirs, backport.base.TaskResult)
    assert Run.objects.count() == 2
    with pytest.raises(backport.exceptions.TaskResultMismatch):
        backport_tasks.give.get_result(ours.id)


def test_errors_are_of_the_edition_that_asks(db, run_async):
    async def ask():
        with pytest.raises(backport.exceptions.TaskResultDoesNotExist):
            backport_tasks.give.get_result("123")
        with pytest.raises(backport.exceptions.TaskResultDoesNotExist):
            await backport_tasks.give.aget_result("123")

    run_async(ask())
    with pytest.raises(backport.invalid_task, match="whole number"):
        backport_tasks.give.using(priority=101)


@with_both
def test_signals_context_and_errors_are_of_the_edition_of_the_task(
    transactional_db, serve, finish, heard, until
):
    names = []

    def hear(signal, **_):
        names.append(signal)

    theirs = {name: getattr(backport.signals, f"task_{name}") for name in ("enqueued", "started", "finished")}
    for signal in theirs.values():
        signal.connect(hear)
    try:
        serve()
        good, bad = backport_tasks.name_the_context.enqueue(), backport_tasks.fail.enqueue()
        finish(good)
        finish(bad)
        until(lambda: len(names) == 6)
    finally:
        for signal in theirs.values():
            signal.disconnect(hear)

    assert good.return_value == "django_tasks.base"
    assert isinstance(bad.errors[0], backport.base.TaskError)
    assert [names.count(signal) for signal in theirs.values()] == [2, 2, 2]
    assert heard == []


def test_a_project_that_uses_no_tasks_imports_neither_edition(zygote):
    code = (
        "import django; django.setup(); import sys, django_jobs.api.manager, django_jobs.execution.attempt; "
        "print([name for name in ('django.tasks', 'django_tasks') if name in sys.modules])"
    )

    done = zygote.run([sys.executable, "-c", code], environment("testproject.settings"))

    assert done.stdout.strip() == "[]"


def test_a_process_that_enqueues_nothing_tells_of_finished_tasks_and_is_checked(zygote):
    code = (
        "import django; from django_jobs.registry import discovery; "
        # The probes have a tasks.py of ours, which a project without tasks has not.
        "discovery._import_if_ours = lambda name: None; "
        "django.setup(); import sys; from django_jobs import signals; "
        "print(any(key[0] == 'django_jobs.integrations.django_tasks' for key, *_ in signals.run_finished.receivers), "
        "'django_jobs.tasks' in sys.modules); "
        "from django.core import checks; checks.run_checks(tags=['compatibility']); "
        "print(any(check.__name__ == 'check_tasks' for check in checks.registry.registry.get_checks()))"
    )

    done = zygote.run([sys.executable, "-c", code], environment("tests.settings"))

    assert done.stdout.splitlines() == ["True False", "True"]


def environment(settings):
    return {**os.environ, "DJANGO_SETTINGS_MODULE": settings, "PYTHONPATH": os.pathsep.join(sys.path)}


def test_a_task_may_be_declared_before_apps_are_loaded(tmp_path, zygote):
    (tmp_path / "early.py").write_text(
        "try:\n    from django.tasks import task\nexcept ImportError:\n    from django_tasks import task\n"
        "@task\ndef give(value): return value\n"
    )
    (tmp_path / "early_settings.py").write_text(
        "from tests.settings import *\nINSTALLED_APPS = ['early', *INSTALLED_APPS]\n"
    )
    code = "import django; django.setup(); import early; print(early.give.get_backend().check(), early.give.name)"

    done = zygote.run(
        [sys.executable, "-c", code],
        {**environment("early_settings"), "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])},
    )

    assert done.stdout.strip() == "[] give"


@pytest.mark.parametrize(
    ("value", "count"),
    [
        ({"default": {"BACKEND": "django_jobs.tasks.JobsBackend"}}, 1),
        ({"default": {"BACKEND": "shop.backends.OwnBackend"}}, 1),
        ({"default": {"BACKEND": "django.tasks.backends.immediate.ImmediateBackend"}}, 0),
        ({"default": {"BACKEND": "django_tasks.backends.dummy.DummyBackend"}}, 0),
        (["what a project called so before"], 0),
        ({"so": "or so"}, 0),
    ],
)
def test_finished_tasks_are_told_of_where_a_backend_may_be_ours(monkeypatch, value, count):
    monkeypatch.setattr(signals, "run_finished", signals.Signal())
    monkeypatch.setattr(signals, "run_rescued", signals.Signal())
    monkeypatch.setattr(django_tasks, "settings", SimpleNamespace(TASKS=value))

    django_tasks.connect_where_used()
    django_tasks.connect_where_used()

    assert len(signals.run_finished.receivers) == len(signals.run_rescued.receivers) == count
