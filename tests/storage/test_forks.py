import os
import re
from pathlib import Path

import pytest

import django_jobs
from django_jobs.storage import forks

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


def exit_code(check):
    """Return 0 if a check holds in a forked child."""
    pid = os.fork()
    if pid == 0:
        try:
            code = 0 if check() else 1
        except BaseException:  # noqa: BLE001 - pytest must not go on in the child
            code = 2
        os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@pytest.fixture
def hooks(monkeypatch):
    for name in ("_before", "_in_parent", "_in_child"):
        monkeypatch.setattr(forks, name, [])


@pytest.mark.filterwarnings("ignore:This process.*multi-threaded:DeprecationWarning")
def test_a_child_is_of_another_generation_than_its_parent():
    before = forks.generation

    assert exit_code(lambda: forks.generation != before) == 0
    assert forks.generation == before


@pytest.mark.filterwarnings("ignore:This process.*multi-threaded:DeprecationWarning")
def test_resets_are_called_in_order_and_only_in_the_child(hooks):
    called = []
    forks.on_fork_reset(lambda: called.append("first"))
    forks.on_fork_reset(lambda: called.append("second"))

    assert exit_code(lambda: called == ["first", "second"]) == 0
    assert called == []


@pytest.mark.filterwarnings("ignore:This process.*multi-threaded:DeprecationWarning")
def test_a_reset_that_fails_does_not_keep_the_next_from_being_called(hooks):
    called = []

    @forks.on_fork_reset
    def fail():
        raise LookupError

    forks.on_fork_reset(lambda: called.append("next"))

    assert exit_code(lambda: called == ["next"]) == 0


@pytest.mark.filterwarnings("ignore:This process.*multi-threaded:DeprecationWarning")
def test_the_parent_is_called_before_and_after(hooks):
    called = []
    forks.on_fork(before=lambda: called.append("before"), in_parent=lambda: called.append("parent"))

    assert exit_code(lambda: called == ["before"]) == 0
    assert called == ["before", "parent"]


def test_forks_are_registered_in_one_place():
    package = Path(django_jobs.__file__).parent

    found = [
        str(path.relative_to(package))
        for path in package.rglob("*.py")
        if re.search(r"os\.register_at_fork\(", path.read_text())
    ]

    assert found == ["storage/forks.py"]
