"""Ask and control the processes that fault tests start, and read what they wrote."""

import contextlib
import json
import signal
import sqlite3
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

from django.db import DatabaseError, InterfaceError, connection, connections

ROOT = Path(__file__).parents[2]
MANAGE = [sys.executable, str(ROOT / "testproject" / "manage.py")]
# Short enough to wait for, long enough that a busy machine's slow heartbeat is not taken for a death.
SHORT_LEASE = {"HEARTBEAT_SECONDS": 0.5, "LEASE_SECONDS": 4.0}


def is_started(process):
    """Whether a process's worker has said in its log that it runs."""
    assert process.poll() is None, process.log.read_text()
    return " started: queues=" in process.log.read_text()


def answers(port):
    try:
        return bool(get(port, "pid/"))
    except OSError:
        return False


def get(port, path, timeout=30):
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/{path}", timeout=timeout) as response:
            return response.read().decode()
    except urllib.error.HTTPError as error:
        # It is a response too, with a socket of its own.
        error.close()
        raise


def end(process, number=signal.SIGTERM, timeout=40):
    """Send a signal, wait for the end, and return the exit code."""
    process.send_signal(number)
    return process.wait(timeout)


def freeze(process, *, in_transaction=False):
    """Stop a process as SIGSTOP, a debugger or a suspended laptop does.

    Args:
        process: The process.
        in_transaction: It may be in one. Else it is stopped between two: its locks are another test's matter,
            and of SQLite's one lock it would keep all others from working.
    """
    process.send_signal(signal.SIGSTOP)
    end = time.monotonic() + 30
    while not in_transaction and is_in_transaction():
        assert time.monotonic() < end, "it is in a transaction whenever it is stopped"
        process.send_signal(signal.SIGCONT)
        # Time to end the one that it was in.
        time.sleep(0.02)
        process.send_signal(signal.SIGSTOP)


def is_in_transaction():
    """Whether another process is in a transaction for longer than a moment."""
    if connection.vendor == "sqlite":
        return is_locked(connection.settings_dict["NAME"])
    for _ in range(3):
        # MariaDB shows transactions as they were until nobody has asked for a tenth of a second.
        time.sleep(0.25)
        with connection.cursor() as cursor:
            cursor.execute(IN_TRANSACTION[connection.vendor])
            (count,) = cursor.fetchone()
        if not count:
            return False
    return True


IN_TRANSACTION = {
    "postgresql": "SELECT COUNT(*) FROM pg_stat_activity WHERE datname = current_database() "
    "AND pid <> pg_backend_pid() AND backend_type = 'client backend' AND xact_start IS NOT NULL",
    "mysql": "SELECT COUNT(*) FROM information_schema.innodb_trx t JOIN information_schema.processlist p "
    "ON p.id = t.trx_mysql_thread_id WHERE p.db = DATABASE() AND p.id <> CONNECTION_ID()",
}


def is_locked(path):
    """Whether somebody holds the write lock of a SQLite database for longer than a moment."""
    with contextlib.closing(sqlite3.connect(path, timeout=0.5, isolation_level=None)) as raw:
        try:
            raw.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            return True
        raw.execute("ROLLBACK")
        return False


def thaw(process):
    """Let a stopped process go on."""
    process.send_signal(signal.SIGCONT)


class Ledger:
    """What the functions themselves wrote."""

    def __init__(self, path):
        self.path = path

    def lines(self, *events, **fields):
        """Return the lines of some events, in the order they were written."""
        if not self.path.exists():
            return []
        lines = map(json.loads, self.path.read_text().splitlines())
        return [
            line
            for line in lines
            if line["event"] in events and all(line.get(key) == value for key, value in fields.items())
        ]

    def count(self, *events, **fields):
        return len(self.lines(*events, **fields))


class Client:
    def __init__(self, add, rate):
        self.accepted = []
        self.errors = []
        self._add = add
        self._rate = rate
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self):
        while not self._stopped.wait(1 / self._rate):
            try:
                added = self._add()
            except (DatabaseError, InterfaceError, OSError) as error:
                self.errors.append(error)
                # As Django does between requests: a broken connection stays broken.
                connections["default"].close()
            else:
                self.accepted.extend([added] if isinstance(added, str) else added)
        connections["default"].close()

    def stop(self):
        self._stopped.set()
        self._thread.join(60)
        assert not self._thread.is_alive()
        return self.accepted
