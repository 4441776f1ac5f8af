"""The order of tests among several test processes: those that wait beside those that compute.

Each process begins with a part of the list of its own, and takes from others what they have not begun. In the order
of folders, all of them would wait for processes at the same time, and leave the processors idle.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    import pytest

# Of these all files are one, since they share what takes long to start.
TOGETHER = ("tests/browser/",)


def spread(
    items: Iterable[pytest.Item],
    waits: Callable[[pytest.Item], bool],
    longest: Callable[[pytest.Item], float],
) -> list[pytest.Item]:
    """Return tests file by file, with the files that wait evenly among the others.

    Args:
        items: All tests.
        waits: Whether a test waits for processes most of its time; its file does, then.
        longest: Seconds that a test may take. Files with those that may take longest begin.
    """
    files: dict[str, list[pytest.Item]] = {}
    for item in items:
        path = item.nodeid.partition("::")[0]
        files.setdefault(next(filter(path.startswith, TOGETHER), path), []).append(item)
    waiting = [file for file in files.values() if any(map(waits, file))]
    waiting.sort(key=lambda file: -max(map(longest, file)))
    others = [file for file in files.values() if not any(map(waits, file))]
    # Halfway through one kind comes what is halfway through the other.
    places = [
        ((number + 0.5) / len(kind), file) for kind in (waiting, others) for number, file in enumerate(kind)
    ]
    return [item for _, file in sorted(places, key=lambda place: place[0]) for item in file]
