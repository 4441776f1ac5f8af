"""What the processes that tests start are given."""

import os
import socket
from pathlib import Path

from django.db import connection

ROOT = Path(__file__).parents[1]


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody listens at."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def environment() -> dict[str, str]:
    """Return the environment of a process that works on the tests' database."""
    env = {
        **os.environ,
        "TESTPROJECT_DATABASE_NAME": str(connection.settings_dict["NAME"]),
        "DJANGO_SETTINGS_MODULE": "tests.settings",
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "testproject")]),
        "PYTHONUNBUFFERED": "1",
        "PYTHONWARNINGS": "default",
    }
    env.pop("DJANGO_JOBS_AUTOSTART", None)
    return env
