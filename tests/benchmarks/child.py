"""One measurement in a process of its own: `python -m tests.benchmarks.child NAME RESULT_FILE [--quick]`."""

from __future__ import annotations

import argparse
import importlib
import json
from pathlib import Path

import django


def main() -> None:
    """Measure, and write the figures as JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("name")
    parser.add_argument("result", type=Path)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    django.setup()
    measure = importlib.import_module(f"tests.benchmarks.measures.{options.name}").measure
    figures = measure(quick=options.quick)
    options.result.write_text(json.dumps([figure.as_dict() for figure in figures]))


if __name__ == "__main__":
    main()
