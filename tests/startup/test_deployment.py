import configparser
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sysconfig
from pathlib import Path

import pytest
import yaml

from django_jobs.conf import JobsSettings
from django_jobs.models import Run, Worker
from django_jobs.worker.supervisor import STOP_MARGIN_SECONDS
from tests.startup.test_servers import answers, live, port, post_ingest  # noqa: F401 - a fixture among them

# Each starts several programs.
pytestmark = pytest.mark.timeout(300)

FILES = Path(__file__).parents[2] / "docs" / "deployment"
PAGE = FILES.parent / "deployment.md"
SCRIPTS = sysconfig.get_path("scripts")
PROJECT = {
    "mysite/__init__.py": "",
    "mysite/settings.py": "from tests.settings import *\n",
    "mysite/wsgi.py": "from django.core.wsgi import get_wsgi_application\napplication = get_wsgi_application()\n",
    "manage.py": "import sys\nfrom django.core.management import execute_from_command_line\n"
    "execute_from_command_line(sys.argv)\n",
}


@pytest.fixture
def site(tmp_path):
    """A folder with a project called mysite, and the files of docs/deployment beside it."""
    folder = tmp_path / "site"
    for name, text in PROJECT.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    for file in FILES.iterdir():
        if file.is_file():
            shutil.copy(file, folder)
    return folder


@pytest.fixture
def deploy(spawn, child_env, site, port):  # noqa: F811 - the fixture
    """Return a function that starts a command in the project's folder; the web server listens at `port`."""
    env = {
        "DJANGO_SETTINGS_MODULE": "mysite.settings",
        "PYTHONPATH": os.pathsep.join([child_env["PYTHONPATH"], str(site)]),
        "PATH": os.pathsep.join([SCRIPTS, os.environ["PATH"]]),
        "PORT": str(port),
    }

    def start(*command, **more):
        # `spawn` starts in the root of the repository.
        return spawn(
            "sh", "-c", f"cd {shlex.quote(str(site))} && exec {shlex.join(command)}", env={**env, **more}
        )

    return start


def parse_unit(name):
    unit = configparser.ConfigParser(strict=False, interpolation=None, delimiters="=")
    unit.optionxform = str
    unit.read_string(
        re.sub(
            r"^Environment=(\w+)=",
            r"Environment.\1=",
            (FILES / "systemd" / name).read_text(),
            flags=re.MULTILINE,
        )
    )
    return unit["Service"]


def start_unit(deploy, name, instance=""):
    service = parse_unit(name)
    command = service["ExecStart"].replace("/srv/shop/.venv/bin/", f"{SCRIPTS}/").replace("%i", instance)
    env = {key.partition(".")[2]: value for key, value in service.items() if key.startswith("Environment.")}
    return deploy(*shlex.split(command), **env)


def succeeds(job_id, until):
    run = until(lambda: Run.objects.filter(job_id=job_id, status="SUCCESSFUL").first(), timeout=60)
    assert json.loads(run.result)["unreadable"] == 0
    return run


def ends_in_order(process, code=0):
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == code, process.log.read_text()


def nobody_is_left():
    assert not Worker.objects.filter(was_lost=True).exists()
    return live() == 0


def test_the_systemd_units_serve_requests_and_execute_jobs(deploy, port, until):  # noqa: F811
    jobs = start_unit(deploy, "shop-jobs.service")
    web = start_unit(deploy, "shop-web.service")
    until(lambda: answers(port), timeout=60)
    until(lambda: live() == 2, timeout=60)

    succeeds(post_ingest(port), until)

    assert "supervises 2 worker processes" in jobs.log.read_text()
    # What ExecReload does.
    jobs.send_signal(signal.SIGHUP)
    until(lambda: jobs.log.read_text().count("is another process now") == 2, timeout=60)
    succeeds(post_ingest(port), until)
    ends_in_order(web)
    ends_in_order(jobs)
    assert nobody_is_left()


def test_the_systemd_template_serves_the_queue_that_it_is_named_after(deploy, manager, until):
    process = start_unit(deploy, "shop-jobs@.service", instance="reports")
    until(lambda: live() == 1, timeout=60)

    job_id = manager.using(queue_name="reports").add_immediate_job("tests.probes.jobs:give", 3)
    other = manager.add_immediate_job("tests.probes.jobs:give", 4)

    assert manager.wait(job_id, 30) == 3
    assert manager.get_job(other)["status"] == "queued"
    ends_in_order(process)
    assert nobody_is_left()


@pytest.mark.parametrize("name", ["shop-web.service", "shop-jobs.service", "shop-jobs@reports.service"])
def test_systemd_finds_nothing_wrong_with_a_unit(name, tmp_path):
    if not shutil.which("systemd-analyze"):
        pytest.skip("systemd-analyze is not installed; the units' commands are tried by other tests")
    for file in (FILES / "systemd").iterdir():
        # The programs have to be there.
        text = file.read_text().replace("/srv/shop/.venv/bin/", f"{SCRIPTS}/")
        (tmp_path / file.name).write_text(text)

    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", name],
        cwd=tmp_path, capture_output=True, text=True, check=False, env={**os.environ, "SYSTEMD_UNIT_PATH": f"{tmp_path}:"},
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    assert not [line for line in done.stderr.splitlines() if "shop-" in line], done.stderr


def test_the_procfile_serves_requests_and_executes_jobs(deploy, port, until):  # noqa: F811
    process = deploy("honcho", "start", "-p", str(port))
    until(lambda: answers(port), timeout=60)
    until(lambda: live() == 2, timeout=60)

    succeeds(post_ingest(port), until)

    process.send_signal(signal.SIGTERM)
    process.wait(60)
    until(lambda: live() == 0, timeout=60)
    assert nobody_is_left()


def test_gunicorns_configuration_works_where_its_workers_execute_jobs(deploy, port, until):  # noqa: F811
    process = deploy("gunicorn", "-c", "gunicorn.conf.py", "mysite.wsgi", WEB_CONCURRENCY="3")
    until(lambda: answers(port), timeout=60)
    until(lambda: live() == 3, timeout=60)

    succeeds(post_ingest(port), until)

    ends_in_order(process)
    assert nobody_is_left()


@pytest.mark.parametrize("kind", ["as it is", "lazy-apps", "without uwsgidecorators"])
def test_uwsgis_configuration_works_where_its_workers_execute_jobs(kind, deploy, site, port, until):  # noqa: F811
    if kind == "without uwsgidecorators":
        (site / "uwsgidecorators.py").write_text("raise ImportError('not packed')\n")
    options = ["--lazy-apps"] if kind == "lazy-apps" else []
    process = deploy("uwsgi", "--ini", "uwsgi.ini", *options)
    until(lambda: answers(port), timeout=60)
    until(lambda: live() == 2, timeout=60)

    succeeds(post_ingest(port), until)

    process.send_signal(signal.SIGTERM)
    process.wait(60)
    assert nobody_is_left(), process.log.read_text()


def test_uwsgi_without_threads_says_that_it_executes_nothing(deploy, port, until, site):  # noqa: F811
    file = site / "uwsgi.ini"
    file.write_text(file.read_text().replace("enable-threads = true\n", ""))

    process = deploy("uwsgi", "--ini", "uwsgi.ini")
    until(lambda: answers(port), timeout=60)

    assert (
        "uWSGI runs without threads, so no jobs will run here: add --enable-threads"
        in process.log.read_text()
    )
    post_ingest(port)
    assert Run.objects.get().status == "READY"
    assert not Worker.objects.exists()
    process.send_signal(signal.SIGTERM)
    process.wait(60)


def dockerfile():
    """The instructions of the Dockerfile, in order, as pairs of word and rest."""
    text = (FILES / "Dockerfile").read_text()
    return [tuple(line.split(" ", 1)) for line in text.splitlines() if line and not line.startswith("#")]


def compose():
    return yaml.safe_load((FILES / "compose.yaml").read_text())


def test_the_composed_services_migrate_serve_requests_and_execute_jobs(deploy, port, until):  # noqa: F811
    services = compose()["services"]
    (cmd,) = [json.loads(rest) for word, rest in dockerfile() if word == "CMD"]

    def start(name):
        # The databases and the keys are the test's own.
        env = {k: v for k, v in services[name]["environment"].items() if k.startswith("DJANGO_")}
        return deploy(*services[name].get("command", cmd), **env)

    assert start("migrate").wait(60) == 0
    web, jobs = start("web"), start("jobs")
    until(lambda: answers(port), timeout=60)
    until(lambda: live() == 2, timeout=60)

    succeeds(post_ingest(port), until)

    check = services["jobs"]["healthcheck"]["test"]
    assert check[0] == "CMD"
    healthy = deploy(*check[1:])
    assert healthy.wait(60) == 0, healthy.log.read_text()
    ends_in_order(web)
    ends_in_order(jobs)
    assert nobody_is_left()
    unhealthy = deploy(*check[1:])
    assert unhealthy.wait(60) == 1, unhealthy.log.read_text()


def test_the_compose_file_names_what_is_there_and_what_its_format_knows():
    file = compose()
    services = file["services"]

    assert {key for key in file if not key.startswith("x-")} == {"services", "volumes"}
    known = {
        "build", "image", "environment", "restart", "stop_grace_period", "command", "depends_on", "ports",
        "volumes", "healthcheck", "init",
    }  # fmt: skip
    for service in services.values():
        assert set(service) <= known
        assert {"build", "image"} & set(service)
        for name, how in service.get("depends_on", {}).items():
            assert name in services
            assert how["condition"] in {"service_healthy", "service_completed_successfully"}
            assert how["condition"] != "service_healthy" or "healthcheck" in services[name]
        for volume in service.get("volumes", []):
            assert volume.split(":")[0] in file["volumes"]


def test_the_image_is_made_of_instructions_that_docker_knows():
    words = [word for word, _ in dockerfile()]

    assert words[0] == "FROM"
    assert set(words) <= {"FROM", "ENV", "WORKDIR", "COPY", "RUN", "USER", "EXPOSE", "CMD"}
    assert words.count("CMD") == 1
    # Not as root.
    assert words.index("USER") < words.index("CMD")
    for word, rest in dockerfile():
        if word == "COPY" and rest != ". .":
            assert (FILES / rest.split()[0]).exists(), rest


def test_every_file_gives_running_work_longer_than_jobs_do():
    limit = JobsSettings().SHUTDOWN_SECONDS
    units = [parse_unit(file.name) for file in (FILES / "systemd").iterdir()]
    services = [service for name, service in compose()["services"].items() if name in {"web", "jobs"}]
    gunicorn = {}
    exec((FILES / "gunicorn.conf.py").read_text(), gunicorn)
    uwsgi = configparser.ConfigParser(interpolation=None)
    uwsgi.read(FILES / "uwsgi.ini")

    seconds = [int(unit["TimeoutStopSec"]) for unit in units]
    seconds += [int(service["stop_grace_period"].removesuffix("s")) for service in services]
    assert all(given > gunicorn["graceful_timeout"] for given in seconds)
    runjobs = [int(unit["TimeoutStopSec"]) for unit in units if "runjobs" in unit["ExecStart"]]
    runjobs += [int(compose()["services"]["jobs"]["stop_grace_period"].removesuffix("s"))]
    assert all(given > 2 * limit + STOP_MARGIN_SECONDS for given in runjobs)
    assert gunicorn["graceful_timeout"] > limit
    assert gunicorn["timeout"] > limit
    assert int(uwsgi["uwsgi"]["worker-reload-mercy"]) > limit


def test_what_the_page_quotes_is_in_the_files():
    there = {line for file in FILES.rglob("*") if file.is_file() for line in file.read_text().splitlines()}

    blocks = re.findall(r"^```(\w*)\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    quoted = [text for language, text in blocks if language in {"", "ini"}]

    assert len(quoted) == 3
    assert [line for text in quoted for line in text.splitlines() if line not in there] == []
