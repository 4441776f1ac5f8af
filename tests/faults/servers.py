"""Database servers of a test's own, which it may kill, stop and restart without harm to others."""

import contextlib
import os
import pwd
import shutil
import signal
import sqlite3
import subprocess
import tempfile
import time
from pathlib import Path

from django.db import connection

from tests.children import free_port

# Seconds that processes of outage tests wait for SQLite's write lock.
LOCK_SECONDS = 1.0


class Server:
    """A server process on 127.0.0.1 with a data directory that survives it.

    Args:
        size: Of the disk that it has for itself, as `mount` takes it; by default it shares the system's.
    """

    # The account that a server is run as when the tests are run by root, which servers refuse.
    account = ""
    # Environment variables that name its port, and one database in it.
    port_variable = ""
    database = ""

    def __init__(self, size=None):
        self.port = free_port()
        self._folder = Path(tempfile.mkdtemp(prefix="faults-"))
        self._size = size
        if size:
            subprocess.run(
                ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(self._folder)], check=True
            )
        self._user = self.account if os.geteuid() == 0 else None
        if self._user:
            shutil.chown(self._folder, self._user)
        self._log = (self._folder / "server.log").open("ab")
        self._process = None
        self._prepare()
        self.start()

    @property
    def env(self):
        return {self.port_variable: str(self.port), "TESTPROJECT_DATABASE_NAME": self.database}

    def start(self):
        """Start it, unless it runs, and wait until it answers."""
        if self._process is not None and self._process.poll() is None:
            return
        self._process = subprocess.Popen(
            self._command(), user=self._user, cwd=self._folder, stdout=self._log, stderr=self._log,
            start_new_session=True,
        )  # fmt: skip
        end = time.monotonic() + 60
        while not self._answers():
            assert self._process.poll() is None, self.log_text
            assert time.monotonic() < end, self.log_text
            time.sleep(0.05)

    def kill(self):
        """End it as a power cut would."""
        # The whole session: PostgreSQL's processes would finish what they are at.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(30)
        # This thread's own was cut too, and would stay broken: it serves no requests.
        connection.close()

    def stop(self):
        """End it in order, cutting all connections."""
        self._process.send_signal(self._stop_signal)
        self._process.wait(60)
        connection.close()

    _stop_signal = signal.SIGTERM

    def fill_disk(self):
        """Leave no room for another page; what is in use already stays so."""
        with (self._folder / "filler").open("ab", buffering=0) as filler, contextlib.suppress(OSError):
            while True:
                filler.write(bytes(4096))

    def free_disk(self):
        """Undo `fill_disk`."""
        (self._folder / "filler").unlink()

    def close(self):
        """End it and delete all it had."""
        self.kill()
        self._log.close()
        if self._size:
            # Lazily: the system may need a moment to see that nobody uses it.
            subprocess.run(["umount", "--lazy", str(self._folder)], check=True)
        shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def log_text(self):
        return (self._folder / "server.log").read_text(errors="replace")[-3000:]

    def _run(self, *command):
        done = subprocess.run(
            [str(part) for part in command], user=self._user, cwd=self._folder, check=False,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env={**os.environ, "HOME": str(self._folder)},
        )  # fmt: skip
        assert done.returncode == 0, done.stdout.decode(errors="replace")[-3000:]


class PostgreSQL(Server):
    account = "postgres"
    port_variable = "PGPORT"
    database = "postgres"
    # "Fast": roll back what is open; SIGTERM would wait for every client to leave.
    _stop_signal = signal.SIGINT

    @staticmethod
    def binary(name):
        found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
        return str(found[-1]) if found else shutil.which(name)

    @classmethod
    def is_installed(cls):
        return bool(cls.binary("initdb")) and _may_run_as(cls.account)

    def _prepare(self):
        self._run(
            self.binary("initdb"), "-D", self._folder / "data", "-U", "postgres", "-A", "trust",
            "--no-sync", "-E", "UTF8", "--locale=C",
        )  # fmt: skip

    def _command(self):
        return [
            self.binary("postgres"), "-D", str(self._folder / "data"), "-p", str(self.port),
            "-k", str(self._folder), "-c", "listen_addresses=127.0.0.1",
            # What a killed process had written is still the kernel's; only a power cut needs fsync.
            "-c", "fsync=off", "-c", "max_connections=200",
        ]  # fmt: skip

    def _answers(self):
        import psycopg

        try:
            psycopg.connect(
                host="127.0.0.1", port=self.port, user="postgres", dbname="postgres", connect_timeout=5
            ).close()
        except psycopg.OperationalError:
            return False
        return True


class MariaDB(Server):
    account = "mysql"
    port_variable = "MARIADB_PORT"
    database = "faults"

    @staticmethod
    def binary(*names):
        for name in names:
            found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
            if found:
                return found
        return None

    @classmethod
    def is_installed(cls):
        return bool(
            cls.binary("mariadbd", "mysqld")
            and cls.binary("mariadb-install-db", "mysql_install_db")
            and _may_run_as(cls.account)
        )

    def _prepare(self):
        self._run(
            self.binary("mariadb-install-db", "mysql_install_db"), "--no-defaults",
            f"--datadir={self._folder / 'data'}", "--auth-root-authentication-method=normal",
            "--skip-test-db", "--innodb-log-file-size=16M",
        )  # fmt: skip

    def _command(self):
        return [
            self.binary("mariadbd", "mysqld"), "--no-defaults", f"--datadir={self._folder / 'data'}",
            f"--port={self.port}", f"--socket={self._folder / 'socket'}", "--bind-address=127.0.0.1",
            "--character-set-server=utf8mb4", "--skip-log-bin", "--innodb-log-file-size=16M",
            # What a killed process had written is still the kernel's; only a power cut needs fsync.
            "--innodb-flush-log-at-trx-commit=2",
        ]  # fmt: skip

    def _answers(self):
        import MySQLdb

        try:
            connection = MySQLdb.connect(host="127.0.0.1", port=self.port, user="root", connect_timeout=5)
        except MySQLdb.OperationalError:
            return False
        connection.query(f"CREATE DATABASE IF NOT EXISTS {self.database}")
        connection.close()
        return True


class Locked:
    """SQLite has no server: another process that holds its lock is its outage."""

    def __init__(self, path):
        self._path = path
        self._connection = None
        self.env = {"FAULTS_LOCK_SECONDS": str(LOCK_SECONDS)}

    def kill(self):
        # SQLite's queue is not a fair one: with many writers a turn may be long in coming.
        self._connection = sqlite3.connect(self._path, timeout=60, isolation_level=None)
        self._connection.execute("BEGIN EXCLUSIVE")

    stop = kill

    def start(self):
        if self._connection is not None:
            self._connection.rollback()
            self._connection.close()
            self._connection = None

    def close(self):
        self.start()


def _may_run_as(account):
    if os.geteuid() != 0:
        return True
    try:
        pwd.getpwnam(account)
    except KeyError:
        return False
    return True


KINDS = {"postgresql": PostgreSQL, "mysql": MariaDB}
