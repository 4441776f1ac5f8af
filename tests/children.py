"""What the processes that tests start are given."""

import itertools
import os
import random
import socket
from pathlib import Path

from django.db import connection

ROOT = Path(__file__).parents[1]


# Not from the range that the system takes ports of connections from, and a part of it for each of eight test
# processes: a port is free until its server listens. Runs of tests at the same time are kept apart by chance.
PORTS_EACH = 1500
_process = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % 8
_first = random.SystemRandom().randrange(PORTS_EACH)
_ports = (20_000 + _process * PORTS_EACH + (_first + number) % PORTS_EACH for number in itertools.count())


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody listens at, another one each time."""
    for port in _ports:
        with socket.socket() as free:
            try:
                free.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError("there is no end of ports")


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
