"""Ask and control the processes that fault tests start, and read what they wrote."""

import contextlib
import json
import signal
import sqlite3
import sys
import threading
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


def freeze(process):
    """Stop a process as SIGSTOP, a debugger or a suspended laptop does."""
    while True:
        process.send_signal(signal.SIGSTOP)
        if connection.vendor != "sqlite":
            return
        # Stopped in the middle of a write it would keep SQLite's one lock, and all others from working.
        if not is_locked(connection.settings_dict["NAME"]):
            return
        process.send_signal(signal.SIGCONT)


def is_locked(path, timeout=0.5):
    """Whether somebody holds the write lock of a SQLite database for longer than some seconds."""
    with contextlib.closing(sqlite3.connect(path, timeout=timeout, isolation_level=None, uri=True)) as raw:
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
