import functools
import sys
import threading

import pytest

from django_jobs.exceptions import FunctionNotAllowed, FunctionNotFound
from django_jobs.registry import functions
from tests.probes import jobs as probes


def test_a_function_is_named_and_found_again():
    path, function = functions.path_of(probes.add)

    assert path == "tests.probes.jobs:add"
    assert functions.resolve(path) is function is probes.add


def test_a_partial_is_refused_with_the_way_out():
    with pytest.raises(ValueError, match="pass the function itself and the arguments after it"):
        functions.path_of(functools.partial(probes.add, 1))


def test_a_function_that_a_decorator_hides_is_refused():
    hidden = type(probes.add)(probes.add.__code__, {})
    hidden.__module__, hidden.__qualname__ = "tests.probes.jobs", "add"

    with pytest.raises(ValueError, match="replaced by a decorator"):
        functions.path_of(hidden)


def test_a_renamed_function_is_found_where_it_moved(settings):
    with pytest.raises(FunctionNotFound, match="MOVED"):
        functions.resolve("tests.probes.jobs:old_name")

    settings.DJANGO_JOBS = {"MOVED": {"tests.probes.jobs:old_name": "tests.probes.jobs:add"}}

    assert functions.resolve("tests.probes.jobs:old_name") is probes.add
    assert functions.path_of("tests.probes.jobs:old_name")[0] == "tests.probes.jobs:add"


@pytest.mark.parametrize(
    "path", ["os:system", "builtins:eval", "subprocess:run", "tests.probesx:f", "importlib:import_module"]
)
def test_only_functions_of_installed_apps_are_called(path):
    with pytest.raises(FunctionNotAllowed):
        functions.resolve(path)


@pytest.fixture
def shop(tmp_path, monkeypatch, settings):
    """Make the module `shop_jobs`, which is allowed and imports functions of others."""
    (tmp_path / "shop_jobs.py").write_text(
        "import functools, os\n"
        "from math import sqrt\n"
        "from pathlib import Path\n"
        "from django_jobs import job\n"
        "from shop_library import borrowed, marked\n"
        "job(marked)\n"
        "unlink = functools.partial(os.unlink, 'a')\n"
        "@functools.wraps(os.system)\n"
        "def pretends(command): pass\n"
        "@functools.lru_cache\n"
        "def own(): return 1\n"
        "class Report:\n"
        "    @classmethod\n"
        "    def make(cls): return 2\n"
    )
    (tmp_path / "shop_library.py").write_text("def borrowed(): pass\ndef marked(): return 3\n")
    monkeypatch.syspath_prepend(tmp_path)
    settings.DJANGO_JOBS = {"ALLOWED_MODULES": ["shop_jobs"]}
    yield
    for name in ("shop_jobs", "shop_library"):
        sys.modules.pop(name, None)
        functions._registered.discard(f"{name}:marked")


@pytest.mark.parametrize(
    "name", ["os.system", "sqrt", "Path", "Path.cwd", "functools.reduce", "borrowed", "unlink", "pretends"]
)
def test_a_function_that_an_allowed_module_only_imports_is_refused(shop, name):
    with pytest.raises(FunctionNotAllowed, match="only imports"):
        functions.resolve(f"shop_jobs:{name}")
    with pytest.raises(FunctionNotAllowed, match="only imports"):
        functions.find(f"shop_jobs:{name}")


def test_what_an_allowed_module_defines_or_decorates_is_called(shop):
    assert functions.resolve("shop_jobs:own")() == 1
    assert functions.resolve("shop_jobs:Report.make")() == 2
    assert functions.resolve("shop_jobs:marked")() == 3


def test_the_package_of_the_project_itself_is_allowed():
    assert functions.is_allowed("testproject.anything:f")
    assert not functions.is_allowed("testprojectile:f")


def test_allowed_modules_can_be_narrowed_and_widened(settings):
    settings.DJANGO_JOBS = {"ALLOWED_MODULES": ["os.path"]}

    assert functions.resolve("os.path:basename")("a/b") == "b"
    with pytest.raises(FunctionNotAllowed):
        functions.resolve("tests.probes.jobs:add")


def test_a_decorated_function_is_allowed_wherever_it_lives(settings):
    settings.DJANGO_JOBS = {"ALLOWED_MODULES": []}

    assert functions.resolve("tests.probes.jobs:decorated") is probes.decorated


def test_a_module_that_fails_to_import_says_why(tmp_path, monkeypatch, settings):
    (tmp_path / "breaks_at_import.py").write_text("raise RuntimeError('no licence')")
    monkeypatch.syspath_prepend(tmp_path)
    settings.DJANGO_JOBS = {"ALLOWED_MODULES": ["breaks_at_import"]}

    with pytest.raises(FunctionNotFound, match="RuntimeError: no licence"):
        functions.resolve("breaks_at_import:f")


def test_a_name_that_is_no_function_is_not_called(settings):
    with pytest.raises(FunctionNotFound, match="it is a Event"):
        functions.resolve("tests.probes.jobs:began")


def test_nothing_is_imported_for_a_module_that_is_not_allowed():
    with pytest.raises(FunctionNotAllowed):
        functions.resolve("this:s")

    assert "this" not in sys.modules


def test_a_function_of_a_module_that_another_thread_is_importing_is_waited_for(
    tmp_path, monkeypatch, settings
):
    (tmp_path / "slow_to_import.py").write_text(
        "from tests.probes.jobs import began, go_on\nbegan.set()\ngo_on.wait(10)\ndef f(): pass\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    settings.DJANGO_JOBS = {"ALLOWED_MODULES": ["slow_to_import"]}
    probes.began.clear()
    probes.go_on.clear()
    found = []

    def resolve():
        try:
            found.append(functions.resolve("slow_to_import:f"))
        except FunctionNotFound as error:
            found.append(error)

    first, second = threading.Thread(target=resolve), threading.Thread(target=resolve)
    first.start()
    assert probes.began.wait(10)
    second.start()
    second.join(0.2)
    probes.go_on.set()
    first.join(10)
    second.join(10)

    assert found == [sys.modules["slow_to_import"].f] * 2
