import ast
import importlib
import importlib.util
import inspect
import io
import re
import shlex
import sys
import tomllib
import unittest
from argparse import ArgumentParser
from dataclasses import MISSING, dataclass, fields
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import django
import pytest
import sentry_sdk
import time_machine
from asgiref.sync import async_to_sync
from django.apps import apps
from django.contrib import admin
from django.core.management import CommandError, call_command, get_commands, load_command_class
from django.db import connection, connections
from django.test import RequestFactory
from sentry_sdk.consts import ClientConstructor

import django_jobs
from django_jobs import checks, conf, exceptions, signals, tasks, testing
from django_jobs.api import enqueue, job_info
from django_jobs.api.manager import JobManager, get_job_manager
from django_jobs.execution.context import RunContext
from django_jobs.management.actions import ACTIONS, action
from django_jobs.models import Worker
from django_jobs.operations import database_checks, health
from django_jobs.registry import functions
from django_jobs.registry.options import JobOptions
from django_jobs.storage import identity
from django_jobs.testing import capture_jobs
from tests import reference

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
DOCS = ROOT / "docs"
PAGES = [README, *sorted(DOCS.glob("*.md"))]

# The app that the pages' examples belong to: blocks that begin with `# shop/jobs.py` and the like.
APP = "shop"
# A line that ends with `# -> value` or `# raises Error` is a promise that is kept.
PROMISE = re.compile(r"# (->|raises) (.+)$")


def page_name(value):
    return value.name if isinstance(value, Path) else None


each_page = pytest.mark.parametrize("page", PAGES, ids=page_name)


@dataclass
class Block:
    page: Path
    line: int
    text: str

    @property
    def file(self):
        """The file that the block's first line names, as in `# shop/jobs.py`."""
        named = re.match(r"# ([\w/]+\.py)\n", self.text)
        return named[1] if named else None

    def run(self, namespace):
        """Execute one statement after the other, and hold the block to its promises."""
        lines = self.text.splitlines()
        for statement in ast.parse(self.text).body:
            kind, promised = "", ""
            if found := PROMISE.search(lines[statement.end_lineno - 1]):
                kind, promised = found.groups()
            if kind == "raises":
                with pytest.raises(Exception) as raised:  # noqa: PT011 - its type is compared below
                    self.execute(statement, namespace)
                assert promised.startswith(type(raised.value).__name__), f"{self}: {raised.value!r}"
            else:
                value = self.execute(statement, namespace)
                if kind == "->":
                    assert repr(value) == promised, f"{self}: {ast.unparse(statement)}"

    def execute(self, statement, namespace):
        ast.increment_lineno(statement, self.line)
        is_expression = isinstance(statement, ast.Expr)
        tree = ast.Expression(statement.value) if is_expression else ast.Module([statement], [])
        code = compile(
            tree, str(self.page), "eval" if is_expression else "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
        )
        value = eval(code, namespace)
        return async_to_sync(partial(awaited, value))() if inspect.iscoroutine(value) else value

    def __str__(self):
        return f"{self.page.name}:{self.line}"


async def awaited(coroutine):
    return await coroutine


def blocks(page, language):
    text = page.read_text()
    for found in re.finditer(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        yield Block(page, text.count("\n", 0, found.start(1)), found[1])


def modules(page):
    """The files that a page's blocks make up, settings left out."""
    files = {}
    for block in blocks(page, "python"):
        if block.file and not block.file.endswith("settings.py"):
            files[block.file] = files.get(block.file, "") + block.text + "\n\n"
    return files


def prose(page):
    """A page without its code, in which a comment would look like a heading."""
    return re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)


def section(page, heading):
    level, rest = re.search(
        rf"^(#+) {re.escape(heading)}\n(.*)", prose(page), re.MULTILINE | re.DOTALL
    ).groups()
    return re.split(rf"^#{{1,{len(level)}}} ", rest, maxsplit=1, flags=re.MULTILINE)[0]


def rows(page, heading):
    """The cells of the table rows of a section that begin with code."""
    return [row.split(" | ") for row in re.findall(r"^\| (`.+) \|$", section(page, heading), re.MULTILINE)]


def names(page, heading):
    return [code(row[0]) for row in rows(page, heading)]


def code(cell):
    return re.match(r"`([^`]+)`", cell)[1]


@pytest.fixture
def install(transactional_db, registry, tmp_path, monkeypatch, settings):
    """Return a function that installs a page's app, tables and all."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("METRICS_TOKEN", "of a page")
    if django.VERSION < (6, 0):
        # Pages show Django's own Tasks; the backport has the same names.
        for name in ("django_tasks", "django_tasks.signals"):
            monkeypatch.setitem(sys.modules, name.replace("_", ".", 1), importlib.import_module(name))

    def install(page):
        for name, text in {f"{APP}/__init__.py": "", **modules(page)}.items():
            file = tmp_path / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        importlib.invalidate_caches()
        # Apps are made ready, and with them their schedules, before anybody is told of the changed setting.
        functions._allowed_modules.cache_clear()
        settings.INSTALLED_APPS = [*settings.INSTALLED_APPS, APP]
        with connection.schema_editor() as editor:
            for model in apps.get_app_config(APP).get_models():
                editor.create_model(model)

    yield install

    if apps.is_installed(APP):
        with connection.schema_editor() as editor:
            for model in apps.get_app_config(APP).get_models():
                editor.delete_model(model)
    get_job_manager().shutdown()
    for name in [name for name in sys.modules if name.partition(".")[0] == APP]:
        del sys.modules[name]
    apps.all_models.pop(APP, None)


@each_page
def test_the_examples_of_a_page_do_what_it_says(page, install, serve):
    install(page)
    serve()
    namespace = {}

    for block in blocks(page, "python"):
        if block.file is None:
            block.run(namespace)
        elif not block.file.endswith(("settings.py", "tests.py")):
            importlib.import_module(block.file.removesuffix(".py").replace("/", "."))


@pytest.mark.parametrize(
    "page", [page for page in PAGES if f"{APP}/views.py" in modules(page)], ids=page_name
)
def test_the_views_of_a_page_answer(page, install, serve):
    install(page)
    serve()
    views = importlib.import_module(f"{APP}.views")

    for view in vars(views).values():
        parameters = list(inspect.signature(view).parameters) if inspect.isfunction(view) else []
        if parameters[:1] == ["request"]:
            call = async_to_sync(view) if inspect.iscoroutinefunction(view) else view
            response = call(RequestFactory().post("/"), *["no-such-job"] * len(parameters[1:]))
            assert response.status_code in {200, 202, 404}


@pytest.mark.parametrize(
    ("page", "name"),
    [
        (page, name)
        for page in PAGES
        for name in re.findall(r"^def (test_\w+)", modules(page).get(f"{APP}/tests.py", ""), re.MULTILINE)
    ],
    ids=page_name,
)
def test_the_example_tests_of_a_page_pass(page, name, install, request):
    install(page)
    test = getattr(importlib.import_module(f"{APP}.tests"), name)

    test(**{fixture: request.getfixturevalue(fixture) for fixture in inspect.signature(test).parameters})


@pytest.mark.parametrize(
    ("page", "name"),
    [
        (page, name)
        for page in PAGES
        for name in re.findall(
            r"^class (\w+)\(.*TestCase\)", modules(page).get(f"{APP}/tests.py", ""), re.MULTILINE
        )
    ],
    ids=page_name,
)
def test_the_example_test_cases_of_a_page_pass(page, name, install):
    install(page)
    case = getattr(importlib.import_module(f"{APP}.tests"), name)
    result = unittest.TestResult()

    unittest.defaultTestLoader.loadTestsFromTestCase(case).run(result)

    assert result.testsRun > 0
    assert result.wasSuccessful(), result.errors + result.failures


@each_page
def test_the_settings_of_a_page_are_valid(page, monkeypatch):
    # Only looked at: what it patches would stay so in the other tests.
    monkeypatch.setattr(sentry_sdk, "init", partial(inspect.signature(ClientConstructor.__init__).bind, None))
    for block in blocks(page, "python"):
        if block.file and block.file.endswith("settings.py"):
            namespace = {"BASE_DIR": ROOT, "INSTALLED_APPS": [], "DATABASES": {"default": {}}}
            block.run(namespace)
            monkeypatch.setattr(conf, "settings", SimpleNamespace(DATABASES=namespace["DATABASES"]))

            problems = list(conf.problems(namespace.get("DJANGO_JOBS", {})))

            assert not problems, str(block)


@each_page
def test_the_commands_of_a_page_exist_and_take_its_options(page, monkeypatch):
    monkeypatch.setitem(connections.databases, "jobs", {})  # for `migrate --database jobs`
    for block in blocks(page, "sh"):
        for line in block.text.replace("\\\n", " ").splitlines():
            for command in re.split(r"&&|\|", line):
                words = shlex.split(command, comments=True)
                manage = [i for i, word in enumerate(words) if word.endswith("manage.py")]
                if manage:
                    name, *arguments = words[manage[0] + 1 :]
                    known = load_command_class(get_commands()[name], name)
                    known.create_parser("manage.py", name).parse_args(arguments)


def named_commands(page):
    """What a page's prose, and its files for other programs, say of commands: the words of each."""
    text = re.sub(
        r"^```(python|py|sh|console)\n.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL
    )
    spans = re.findall(r"`([^`\n]+)`", text) + re.findall(r"^.*manage\.py .*$", text, re.MULTILINE)
    for span in spans:
        if found := re.search(r"(?:^|manage\.py )((?:runjobs|jobs|demo)(?: [^`|&\"\]]*)?)$", span):
            yield found[1].split()


@each_page
def test_commands_and_options_that_a_page_speaks_of_exist(page):
    actions = {kind.name: kind for kind in ACTIONS}
    for name, *words in named_commands(page):
        known = load_command_class(get_commands()[name], name).create_parser("manage.py", name)
        if (name, *words[:1]) == ("jobs", "work"):
            known = load_command_class("django_jobs", "runjobs").create_parser("manage.py", "runjobs")
        elif name == "jobs" and words and not words[0].startswith("-"):
            assert words[0] in actions, words
            known = ArgumentParser()
            actions[words[0]].add_arguments(known)
        options = {option for one in known._actions for option in one.option_strings} | {"--json"}
        named = {word.partition("=")[0].strip(",.;:") for word in words if word.startswith("--")}
        assert named <= options, f"{name} {words}: {named - options}"


@pytest.mark.parametrize("page", [page for page in PAGES if "```console" in page.read_text()], ids=page_name)
def test_the_transcripts_of_a_page_are_what_its_commands_say(
    page, django_db_reset_sequences, install, make_worker, monkeypatch
):
    install(page)
    moment = datetime(2026, 11, 25, 10, tzinfo=UTC)
    monkeypatch.setattr(identity, "new_worker_id", lambda: "web-1-4711-5f0c9f1f6a2b")
    monkeypatch.setattr(enqueue, "new_id", lambda: "f7a1c2d35f0e4c7b9a3f1d2e4b5c6a70")
    with time_machine.travel(moment, tick=False), capture_jobs() as jobs:
        for block in blocks(page, "console"):
            transcript = "".join(f"$ {command}\n{said(command)}" for command in commands(block))

            # How long a run takes is the only thing that differs, and "..." is any number of lines.
            pattern = re.escape(re.sub(r"0\.\d{3} s", "0.001 s", block.text)).replace(
                r"\.\.\.", r"(.*\n)*?.*"
            )
            found = re.fullmatch(pattern, re.sub(r"0\.\d{3} s", "0.001 s", transcript))
            assert found, f"{block}:\n{transcript}"
            # As a worker elsewhere would, which is there from then on.
            Worker.objects.all().delete()
            jobs.drain()
            make_worker(id="web-1-4711-5f0c9f1f6a2b", host="web-1", pid=4711, threads=10, has_clock=True)


def commands(block):
    return re.findall(r"^\$ (.+)$", block.text, re.MULTILINE)


def said(command):
    """What a command writes to a terminal that is none, errors included."""
    _, manage, *arguments = shlex.split(command)
    assert manage == "manage.py"
    out = io.StringIO()
    try:
        call_command(*arguments, stdout=out, stderr=out)
    except CommandError as error:
        out.write(f"CommandError: {error}\n")
    return out.getvalue()


@each_page
def test_the_links_of_a_page_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if "://" in target:
            continue
        file, _, anchor = target.partition("#")
        linked = (page.parent / file).resolve() if file else page
        assert linked.exists(), target
        if anchor:
            assert anchor in anchors(linked), target


def anchors(page):
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return [re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings]


@each_page
def test_the_tables_of_a_page_are_whole(page):
    # A row after an empty line begins no table: its line would be shown as it is written.
    for first, second in re.findall(r"(?<=\n)\n(\|.*)\n(.*)", prose(page)):
        assert re.fullmatch(r"(\| *:?-+:? *)+\|", second), first


def test_the_index_links_every_page():
    index = (DOCS / "index.md").read_text()

    assert [
        page.name for page in PAGES[1:] if page.name != "index.md" and f"({page.name})" not in index
    ] == []


def test_the_readme_has_the_two_commands_as_ci_runs_them():
    lines = README.read_text().splitlines()
    prepare = "python3 -m venv .venv && .venv/bin/pip install -q -e"

    assert f"{prepare} '.[demo]' && .venv/bin/python testproject/manage.py demo" in lines
    assert (
        next(line for line in lines if line.endswith("pytest")) == f"{prepare} '.[test]' && .venv/bin/pytest"
    )


def test_the_settings_page_names_every_setting_with_its_default():
    documented = {
        code(row[0]): ast.literal_eval(code(row[1])) for row in rows(DOCS / "settings.md", "Every key")
    }

    assert documented == {
        field.name: field.default_factory() if field.default is MISSING else field.default
        for field in fields(conf.JobsSettings)
    }


def test_the_reference_says_what_the_docstrings_say():
    assert reference.PAGE.read_text() == reference.page(), "python -m tests.reference writes it anew"


def test_the_api_page_has_every_method_of_the_manager_with_its_signature():
    headings = re.findall(r"^### `(\w+)(\(.*\))`$", (DOCS / "api.md").read_text(), re.MULTILINE)
    public = {
        name: plain_signature(method)
        for name, method in inspect.getmembers(JobManager, inspect.isfunction)
        if not name.startswith("_")
        and name not in reference.NOT_FOR_READERS["JobManager"]
        and not is_twin(name)
    }

    assert dict(headings) == public


def plain_signature(method):
    signature = inspect.signature(method)
    parameters = [p.replace(annotation=p.empty) for p in list(signature.parameters.values())[1:]]
    return str(signature.replace(parameters=parameters, return_annotation=signature.empty))


def is_twin(name):
    return name.startswith("a") and hasattr(JobManager, name[1:])


def test_the_api_page_says_which_methods_have_an_async_twin():
    documented = set(re.findall(r"`(a\w+)`", section(DOCS / "api.md", "Async twins")))

    assert documented == {
        name for name, _ in inspect.getmembers(JobManager, inspect.isfunction) if is_twin(name)
    }


@pytest.mark.parametrize(
    ("heading", "there"),
    [
        ("What get_job returns", job_info.JobInfo.__annotations__),
        ("The last run", job_info.RunInfo.__annotations__),
        ("Options", [field.name for field in fields(JobOptions)]),
        ("Signals", [name for name in vars(signals) if isinstance(getattr(signals, name), signals.Signal)]),
        ("Errors", exceptions.__all__),
    ],
    ids=["job", "run", "options", "signals", "errors"],
)
def test_a_table_of_the_api_page_is_complete(heading, there):
    assert sorted(names(DOCS / "api.md", heading)) == sorted(there)


@pytest.mark.parametrize(
    ("heading", "kind"), [("What was added", testing.AddedJob), ("Execute it", testing.Executed)]
)
def test_a_table_of_the_testing_page_is_complete(heading, kind):
    documented = [name for name in names(DOCS / "testing.md", heading) if "=" not in name]

    assert documented == [field.name for field in fields(kind)]


def test_the_testing_page_says_what_drain_takes():
    documented = [name.partition("=")[0] for name in names(DOCS / "testing.md", "Execute it") if "=" in name]

    assert sorted(documented) == sorted(inspect.signature(testing.drain_jobs).parameters)


def test_the_commands_page_has_every_action_with_its_options_and_its_exit_codes():
    page = DOCS / "commands.md"
    text = page.read_text()

    for kind in ACTIONS:
        assert f"`{kind.name}`" in text, kind.name
        parser = ArgumentParser()
        kind.add_arguments(parser)
        options = {option for action in parser._actions for option in action.option_strings}
        missing = [option for option in options - {"-h", "--help"} if option not in text]
        assert not missing, f"{kind.name}: {missing}"
    assert sorted(names(page, "status")) == sorted(health.CODES)
    assert re.findall(r"^\| (\d) \|", text, re.MULTILINE) == [
        str(code) for code in (action.DONE, action.NOTHING, action.USAGE, action.NO_DATABASE)
    ]


def test_what_the_api_page_says_of_current_run_exists():
    context = RunContext(job_id="1", run_id=1, attempt=1, queue_name="default", max_log_bytes=1)

    documented = [re.match(r"\w+", name)[0] for name in names(DOCS / "api.md", "current_run")]

    assert [name for name in documented if not hasattr(context, name)] == []


def test_every_name_that_the_package_offers_is_on_the_api_page():
    text = (DOCS / "api.md").read_text()

    assert [name for name in django_jobs.__all__ if f"`{name}" not in text and f"{name}`" not in text] == []


def test_the_admin_page_describes_every_page_of_the_admin_and_its_buttons():
    page = DOCS / "admin.md"

    for model in filter(admin.site.is_registered, apps.get_app_config("django_jobs").get_models()):
        text = section(page, str(model._meta.verbose_name_plural).strip().capitalize())
        buttons = getattr(admin.site.get_model_admin(model), "buttons", {})
        assert re.findall(r"^\| \*\*(.+?)\*\*", text, re.MULTILINE) == [
            str(label) for label in buttons.values()
        ]


def test_the_operations_page_explains_every_system_check():
    source = inspect.getsource(checks) + inspect.getsource(database_checks)

    assert names(DOCS / "operations.md", "System checks") == sorted(
        set(re.findall(r"django_jobs\.[EIW]\d+", source))
    )


def test_the_tasks_page_explains_every_check_and_option_of_the_backend():
    page = DOCS / "tasks.md"

    assert names(page, "Checks") == sorted(set(re.findall(r"django_jobs\.[EW]\d+", inspect.getsource(tasks))))
    assert names(page, "Retry, limit, hide") == list(tasks.OPTIONS)


def test_the_map_has_every_room():
    contract = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"][0]
    rooms = [
        name.strip()
        for layer in contract["layers"]
        for name in layer.split(":")
        if (Path(django_jobs.__file__).parent / name.strip()).is_dir()
    ]

    mapped = re.findall(r"`(\w+)`", " ".join(row[0] for row in rows(DOCS / "contributing.md", "The map")))

    assert mapped == [name for name in rooms if name not in {"migrations", "templatetags"}]


def test_the_places_that_the_contributing_page_names_are_there():
    named = set(
        re.findall(
            r"`((?:registry|api|scheduler|execution|worker|storage|operations|admin|management|models|locale)/[\w/.]*)`",
            (DOCS / "contributing.md").read_text(),
        )
    )

    assert named
    assert [place for place in named if not (Path(django_jobs.__file__).parent / place).exists()] == []


def test_the_upgrading_page_says_where_each_module_is():
    moved = rows(DOCS / "upgrading.md", "Every module")

    assert moved
    for was, places in moved:
        for place in re.findall(r"`([\w.]+)`", places):
            assert importlib.util.find_spec(f"django_jobs.{place}"), f"{was} is not {place}"


def test_pages_import_from_the_public_surface_only():
    addresses = {
        "admin", "asgi", "codec", "exceptions", "health", "live", "live.routing", "live.urls", "logs", "models",
        "routers", "signals", "statistics", "tasks", "testing", "triggers",
    }  # fmt: skip

    for page in PAGES:
        for block in blocks(page, "python"):
            for module, _ in re.findall(
                r"^ *from django_jobs(?:\.([\w.]+))? import (.+)$", block.text, re.MULTILINE
            ):
                is_public = module in addresses or module.startswith("integrations.") or not module
                assert is_public, f"{block}: django_jobs.{module}"
            names = re.findall(r"^ *from django_jobs import (.+)$", block.text, re.MULTILINE)
            for name in ", ".join(names).split(", ") if names else ():
                assert name in {*django_jobs.__all__, *addresses}, f"{block}: {name}"


def test_the_log_lines_of_the_operations_page_are_written_somewhere():
    source = "".join(file.read_text() for file in Path(django_jobs.__file__).parent.rglob("*.py"))

    for line in names(DOCS / "operations.md", "What the log says"):
        for part in line.split("…"):
            assert part in source, line
