"""A process that may start so many threads and no more, as in a container with a limit of processes.

FAULTS_THREAD: the name that a thread must not have.
"""

import os
import threading

_start = threading.Thread.start


def start(thread):
    """Start a thread, if it may be."""
    if thread.name == os.environ["FAULTS_THREAD"]:
        raise RuntimeError("can't start new thread")
    _start(thread)


threading.Thread.start = start
