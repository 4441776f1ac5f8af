import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

import pytest
from django.db import connection
from django.test import override_settings

from django_jobs import checks
from django_jobs.operations import database_checks
from django_jobs.storage import projects
from tests.children import free_port


def ids(found):
    return [message.id for message in found]


class Session:
    """A connection through a pooler: which of PostgreSQL's processes serves it, and which it was told."""

    def __init__(self, told, serves):
        self.told, self.serves, self.is_closed = told, serves, False

    def close(self):
        self.is_closed = True


@pytest.fixture
def sessions(monkeypatch):
    """Return a function that has connections opened to be some sessions."""

    def of(*made):
        left = list(made)
        monkeypatch.setattr(database_checks, "_direct", lambda alias: left.pop(0))
        monkeypatch.setattr(database_checks, "_process_of", lambda session: session.serves)
        monkeypatch.setattr(database_checks, "_told_process", lambda session: session.told)
        return made

    return of


@pytest.mark.parametrize(
    ("first", "second", "is_shared"),
    [
        (Session(11, 11), Session(12, 12), False),
        (Session(-5, 11), Session(-6, 12), False),
        (Session(-5, 11), Session(-6, 11), True),
    ],
    ids=["direct", "pooled by session", "pooled by transaction"],
)
def test_a_pooler_is_known_by_the_processes_that_serve_its_clients(sessions, first, second, is_shared):
    sessions(first, second)

    assert database_checks.shares_connections(connection) is is_shared

    assert first.is_closed
    assert second.is_closed


class PostgreSQL:
    vendor, alias = "postgresql", "default"

    def __init__(self, **options):
        self.settings_dict = options


def test_a_pooler_that_the_settings_do_not_know_of_is_a_warning_that_says_what_is_missing(
    monkeypatch, settings
):
    monkeypatch.setattr(database_checks, "shares_connections", lambda connection: True)
    settings.DJANGO_JOBS = {}

    (found,) = database_checks.check_pooler(PostgreSQL())

    assert found.id == "django_jobs.W006"
    assert "DISABLE_SERVER_SIDE_CURSORS" in found.hint
    assert "POLL_SECONDS" in found.hint
    settings.DJANGO_JOBS = {"POLL_SECONDS": 1}
    assert list(database_checks.check_pooler(PostgreSQL(DISABLE_SERVER_SIDE_CURSORS=True))) == []


@pytest.fixture
def pgbouncer(db):
    """Return a function that starts PgBouncer before the tests' database, and returns its port."""
    program = shutil.which("pgbouncer")
    if connection.vendor != "postgresql" or program is None:
        pytest.skip("needs PostgreSQL and PgBouncer")
    there, started = connection.settings_dict, []
    password = f" password={there['PASSWORD']}" if there["PASSWORD"] else ""
    # It does not run as root, and pytest's folders are for their owner alone.
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    user = ["-u", "nobody"] if os.geteuid() == 0 else []

    def start(mode):
        port = free_port()
        config = folder / f"{mode}.ini"
        config.write_text(
            f"[databases]\n{there['NAME']} = host={there['HOST'] or '127.0.0.1'} port={there['PORT'] or 5432} "
            f"user={there['USER']}{password}\n[pgbouncer]\nlisten_addr = 127.0.0.1\n"
            f"listen_port = {port}\nauth_type = any\npool_mode = {mode}\nunix_socket_dir =\n"
        )
        started.append(subprocess.Popen([program, *user, config], stderr=subprocess.PIPE, text=True))
        said = ""
        while "process up" not in said:
            line = started[-1].stderr.readline()
            assert line, said
            said += line
        return port

    yield start
    for process in started:
        process.send_signal(signal.SIGINT)
        process.wait(10)
        process.stderr.close()
    shutil.rmtree(folder)


@pytest.mark.parametrize(("mode", "is_shared"), [("transaction", True), ("session", False)])
def test_pgbouncer_in_transaction_mode_is_told_from_a_direct_connection(
    pgbouncer, monkeypatch, mode, is_shared
):
    assert not database_checks.shares_connections(connection)
    port = pgbouncer(mode)
    direct = database_checks._direct

    def through_it(alias):
        made = direct(alias)
        made.settings_dict = {**made.settings_dict, "HOST": "127.0.0.1", "PORT": port}
        return made

    monkeypatch.setattr(database_checks, "_direct", through_it)

    assert database_checks.shares_connections(connection) is is_shared


@pytest.mark.django_db
def test_live_workers_of_another_project_are_a_warning(make_worker):
    make_worker(details={"project": projects.own()})
    assert checks.check_database_itself(databases=["default"]) == []
    with override_settings(SECRET_KEY="the key of another project", ROOT_URLCONF="blog.urls"):
        make_worker(host="theirs", details={"project": projects.own()})

    (found,) = checks.check_database_itself(databases=["default"])

    assert found.id == "django_jobs.W010"
    assert "(blog on theirs)" in found.msg
    assert checks.check_database_itself() == []
