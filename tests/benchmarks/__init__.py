"""Benchmarks: `python -m tests.benchmarks --help`. Not collected by the test command."""
