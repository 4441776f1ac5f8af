"""Name this process so that another on the same machine can prove that it is gone."""

from __future__ import annotations

import os
import re
import socket
import uuid
from functools import cache
from pathlib import Path


def host() -> str:
    """Return the host's name."""
    return socket.gethostname()[:255]


@cache
def _place() -> str:
    # Two containers may share a host name and use the same process ids: the boot and the pid
    # namespace tell them apart. Elsewhere than on Linux neither can be had, and nothing is proven.
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        namespace = Path("/proc/self/ns/pid").readlink()
    except OSError:
        return ""
    return f"{boot}/{namespace}"


def _started(pid: int) -> str | None:
    """Return when a process started, in the kernel's ticks; "" of a dead one, None where it is not seen."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    # The name in parentheses may hold spaces; field 22 is counted from behind it. A zombie is
    # dead, only not yet buried by its parent.
    fields = stat.rpartition(")")[2].split()
    return "" if fields[0] in {"Z", "X"} else fields[19]


def _may_exist(pid: int) -> bool:
    if os.name != "posix":
        # Windows has no signal that only asks: `os.kill` would end the process.
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        # Somebody else's.
        return True
    return True


def process_key() -> str:
    """Return what identifies this process among all that ever ran here; "" where that is unknown."""
    started = _started(os.getpid())
    return f"{_place()}/{os.getpid()}/{started}" if _place() and started else ""


def is_gone(key: str) -> bool:
    """Return whether the process of a key has certainly ended; False when that cannot be known."""
    place, _, rest = key.rpartition("/")[0].rpartition("/")
    # A row may have anything in it; a number beyond what the system takes is no process either.
    if not place or place != _place() or not re.fullmatch(r"[0-9]{1,9}", rest):
        return False
    started = _started(int(rest))
    # /proc may be mounted so that it hides the processes of other users.
    return not _may_exist(int(rest)) if started is None else started != key.rpartition("/")[2]


def new_worker_id() -> str:
    """Return an id for a worker of this process, at most 64 characters."""
    return f"{host()[:30]}-{os.getpid()}-{uuid.uuid4().hex[:12]}"
