"""`python -m tests.benchmarks.instructions`: what each part of a run costs the processor, in instructions.

Of this process alone, as valgrind counts them, which has to be installed. However busy the machine is, two counts of
a part differ by a hundredth, and of what SQLite writes by a tenth. The parts are those that `--only parts` measures in time. Run it from the
repository's root.
"""

from __future__ import annotations

import argparse
import gc
import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

from tests.benchmarks import databases
from tests.benchmarks.tables import say

# Runs that are counted, and those before them, with which caches are filled.
COUNTED, FIRST = 600, 400


class _Marks:
    """Has valgrind write what it has counted, and begin again, at each part's end."""

    def __init__(self, prefix: str, names: Path) -> None:
        self._prefix = prefix
        self._names = names

    def note(self, part: str) -> None:
        with self._names.open("a") as file:
            file.write(f"{self._prefix}{part}\n")
        # What valgrind is told to look for, and nothing else here calls.
        os.getppid()


class _Silent:
    def note(self, part: str) -> None:
        pass


def work_off(names: Path) -> None:
    """Take the parts, in a process that valgrind watches."""
    import django
    from django.db import connection

    django.setup()
    from django_jobs import get_job_manager
    from django_jobs.storage import statistics
    from tests.benchmarks import rows, work
    from tests.benchmarks.measures import parts

    worker_id = parts.prepare()
    gc.disable()
    for count, has_marks in ((FIRST, False), (COUNTED, True)):
        for prefix in ("ours ", "bare "):
            rows.forget_runs()
            get_job_manager().add_many((work.nothing, ()) for _ in range(count))
            if connection.vendor == "sqlite":
                # Which would otherwise fall into one part or another.
                connection.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)")
            statistics.flush("default")
            watch = _Marks(prefix, names) if has_marks else _Silent()
            if has_marks:
                watch.note("begins")
            if prefix == "ours ":
                parts.ours_part_by_part(watch, worker_id)
            else:
                parts.bare_part_by_part(watch)


def measure(kind: str) -> dict[str, int]:
    """Return the instructions of a run by part."""
    with databases.migrated(kind) as env, tempfile.TemporaryDirectory() as directory:
        names, counts = Path(directory) / "names", Path(directory) / "counts"
        command = [
            "valgrind", "-q", "--tool=callgrind", f"--callgrind-out-file={counts}", "--dump-before=getppid",
            sys.executable, "-m", "tests.benchmarks.instructions", "--count", str(names),
        ]  # fmt: skip
        # The same order of sets and dictionaries each time.
        subprocess.run(command, env={**env, "PYTHONHASHSEED": "0"}, cwd=databases.ROOT, check=True)
        sums: Counter[str] = Counter()
        for number, name in enumerate(names.read_text().splitlines(), 1):
            dump = Path(f"{counts}.{number}").read_text()
            found = re.search(r"^(?:totals|summary): (\d+)", dump, re.MULTILINE)
            if found is not None:
                sums[name] += int(found.group(1))
    return {name: round(total / COUNTED) for name, total in sums.items() if not name.endswith("begins")}


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.instructions", description=__doc__)
    parser.add_argument("--database", choices=databases.KINDS, default="sqlite")
    parser.add_argument("--count", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.count:
        work_off(options.count)
        return
    of = measure(options.database)
    say("| part | instructions of a run | the driver's statements alone |\n|---|---|---|")
    for part in dict.fromkeys(name.partition(" ")[2] for name in of):
        bare = of.get(f"bare {part}")
        say(f"| {part} | {of[f'ours {part}']:,} | {'' if bare is None else f'{bare:,}'} |")
    ours, bare = (sum(n for name, n in of.items() if name.startswith(who)) for who in ("ours", "bare"))
    say(f"| all | {ours:,} | {bare:,} |")


if __name__ == "__main__":
    main()
