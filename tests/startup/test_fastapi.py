import json
import os
import re
import signal
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from django.db import connection

from django_jobs.models import Run, Worker
from tests.children import free_port
from tests.faults.test_outages import cut_other_connections
from tests.startup.test_servers import live

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "fastapi.md"


@pytest.fixture
def api(spawn, child_env, tmp_path, until):
    """Return a function that serves the application of docs/fastapi.md with uvicorn; it has a `port`."""
    page = PAGE.read_text()
    for name in ("shop/api.py", "shop/jobs.py"):
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(re.search(rf"^```python\n(# {name}\n.*?)^```$", page, re.MULTILINE | re.DOTALL)[1])
    (tmp_path / "shop" / "__init__.py").touch()

    def start(*, script=None, env=None):
        port = free_port()
        path = os.pathsep.join([child_env["PYTHONPATH"], str(tmp_path)])
        command = [script, str(port)] if script else ["-m", "uvicorn", "--port", str(port), "shop.api:app"]
        process = spawn(
            sys.executable, *command,
            env={"PYTHONPATH": path, "TESTS_APP": "shop", **(env or {})},
        )  # fmt: skip
        process.port = port
        until(lambda: is_up(process), timeout=60)
        return process

    return start


def is_up(process):
    assert process.poll() is None, process.log.read_text()
    try:
        return call(process, "/jobs")[0] == 200
    except OSError:
        return False


def call(process, path, method="GET"):
    request = urllib.request.Request(f"http://127.0.0.1:{process.port}{path}", method=method)
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            body = response.read()
            return response.status, json.loads(body) if "json" in response.headers["content-type"] else body
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


def test_routes_add_list_and_cancel_jobs_that_the_same_process_executes(api, until):
    process = api()
    until(lambda: live() == 1, timeout=30)

    status, added = call(process, "/texts?text=to+be+or+not+to+be", "POST")
    job_id = added["job_id"]

    assert status == 202
    assert call(process, f"/jobs/{job_id}/result") == (200, {"result": 6})
    assert call(process, f"/jobs/{job_id}")[1]["status"] == "successful"
    assert call(process, "/jobs/none")[0] == 404
    assert call(process, "/jobs/none/result")[0] == 404
    assert call(process, f"/jobs/{job_id}", "DELETE") == (200, {"cancelled": False})
    # Django's own addresses are served beside them.
    status, page = call(process, "/admin/login/")
    assert status == 200
    assert b"csrfmiddlewaretoken" in page
    log = process.log.read_text()
    assert "Warning" not in log, log


def test_the_lifespan_ends_the_worker_in_order(api, until):
    process = api()
    until(lambda: live() == 1, timeout=30)

    process.send_signal(signal.SIGTERM)

    assert process.wait(40) in {0, -signal.SIGTERM}, process.log.read_text()
    assert live() == 0
    assert not Worker.objects.filter(was_lost=True).exists()


def test_with_autostart_off_the_application_only_adds(api):
    process = api(env={"DJANGO_JOBS_AUTOSTART": "0"})

    _, added = call(process, "/texts?text=to+be", "POST")

    assert [job["id"] for job in call(process, "/jobs")[1]] == [added["job_id"]]
    assert not Worker.objects.exists()
    assert Run.objects.get().status == "READY"
    assert call(process, f"/jobs/{added['job_id']}", "DELETE") == (200, {"cancelled": True})
    assert call(process, f"/jobs/{added['job_id']}/result")[0] == 409


def test_the_lifespan_starts_a_worker_where_nothing_starts_by_itself(api, until, tmp_path):
    # Loaded before uvicorn is on the stack: no server that could be recognised.
    (tmp_path / "serve.py").write_text(
        "import sys\nfrom shop.api import app\nimport uvicorn\nuvicorn.run(app, port=int(sys.argv[1]))\n"
    )

    process = api(script=str(tmp_path / "serve.py"))

    until(lambda: live() == 1, timeout=30)
    assert call(process, f"/jobs/{call(process, '/texts?text=a+b', 'POST')[1]['job_id']}/result")[1] == {
        "result": 2
    }


def test_requests_get_on_after_the_database_cut_their_connections(api, until):
    if connection.vendor == "sqlite":
        pytest.skip("a file cuts no connections")
    process = api()
    until(lambda: live() == 1, timeout=30)
    assert call(process, "/jobs")[0] == 200

    cut_other_connections()

    assert call(process, "/jobs")[0] == 200
    _, added = call(process, "/texts?text=to+be", "POST")
    assert call(process, f"/jobs/{added['job_id']}/result") == (200, {"result": 2})
