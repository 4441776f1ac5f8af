"""Other systems, driven through their documented use, each in processes and on stores of its own.

A module per system has `enqueue_begin(path)`, `enqueue_nothing()` and `enqueue_end(path)`; the
first job notes when the worker began, the last when it had done the rest.
"""
