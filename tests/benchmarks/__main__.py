"""`python -m tests.benchmarks`: measure, print tables, write JSON. Run it from the repository's root."""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.benchmarks import databases, environment
from tests.benchmarks.figures import Figure, from_dict
from tests.benchmarks.measures import MEASURES
from tests.benchmarks.peers import compare
from tests.benchmarks.tables import say, table


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument(
        "--database", action="append", choices=databases.KINDS, default=[], dest="databases",
        help="May be given several times. Default: all that answer.",
    )  # fmt: skip
    parser.add_argument(
        "--only", nargs="+", choices=list(MEASURES), default=list(MEASURES), metavar="NAME",
        help=f"Measure these only: {', '.join(MEASURES)}.",
    )  # fmt: skip
    parser.add_argument("--quick", action="store_true", help="Fewer rounds and rows; for a first look.")
    parser.add_argument(
        "--size", type=int, metavar="RUNS", help="Runs of the batch that `batches` measures. Default: 1,000,000.",
    )  # fmt: skip
    parser.add_argument("--peers", action="store_true", help="Compare with other systems, too.")
    parser.add_argument("--peers-only", action="store_true", help="Compare with other systems, and no more.")
    parser.add_argument("--json", type=Path, metavar="FILE", help="Write everything to this file.")
    return parser.parse_args()


def main() -> int:
    """Measure what was asked for."""
    # What it made is removed when it is told to stop, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    options = arguments()
    if options.size:
        os.environ["BENCHMARK_SIZE"] = str(options.size)
    kinds = []
    for kind in options.databases or databases.KINDS:
        problem = databases.why_not(kind)
        if problem:
            say(f"{kind} is left out: {problem}")
        else:
            kinds.append(kind)
    about = environment.describe(kinds)
    say(json.dumps(about, indent=2))
    results: dict[str, list[Figure]] = {}
    for kind in [] if options.peers_only else kinds:
        say(f"\n== {kind} {about['databases'][kind]} ==")
        results[kind] = [
            figure
            for name in MEASURES
            if name in options.only
            for figure in measure(name, kind, options.quick)
        ]
        say(table(results[kind]))
    if options.peers or options.peers_only:
        say("\n== beside other systems ==")
        results["peers"] = compare.measure(kinds, quick=options.quick)
        say(table(results["peers"]))
    about["load_after"] = os.getloadavg()[0]
    about["reference_loop_ms_after"] = environment.reference_loop_ms()
    if options.json:
        options.json.write_text(json.dumps(_document(about, results), indent=2))
        say(f"\nwritten to {options.json}")
    missed = [figure.name for figures in results.values() for figure in figures if not figure.is_met]
    say(f"\n{len(missed)} of the targets were missed" + (f": {'; '.join(missed)}" if missed else ""))
    return 0


def _document(about: dict[str, Any], results: dict[str, list[Figure]]) -> dict[str, Any]:
    return {
        "environment": about,
        "results": {name: [figure.as_dict() for figure in figures] for name, figures in results.items()},
    }


def measure(name: str, kind: str, quick: bool) -> list[Figure]:
    """Run one measurement in a process and on databases of its own."""
    began = time.monotonic()
    with databases.migrated(kind, two=MEASURES[name]) as env, tempfile.TemporaryDirectory() as directory:
        result = Path(directory) / "result.json"
        command = [sys.executable, "-m", "tests.benchmarks.child", name, str(result)]
        command += ["--quick"] if quick else []
        process = subprocess.run(command, env=env, cwd=databases.ROOT, check=False)
        if process.returncode:
            say(f"{name}: failed with {process.returncode}")
            return []
        figures = [from_dict(values) for values in json.loads(result.read_text())]
    say(f"{name}: {time.monotonic() - began:.0f} s")
    return figures


if __name__ == "__main__":
    sys.exit(main())
