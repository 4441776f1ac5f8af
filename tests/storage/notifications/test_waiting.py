import os
import socket

import pytest

from django_jobs.storage.notifications.waiting import readable


def test_descriptors_of_a_process_with_many_open_files_are_heard():
    fcntl, resource = pytest.importorskip("fcntl"), pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 2048:
        pytest.skip("no more than 1024 files may be open here")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2048), hard))
    here, there = socket.socketpair()
    high = fcntl.fcntl(here.fileno(), fcntl.F_DUPFD, 1100)
    try:
        assert readable([high], 0) == []
        there.send(b".")
        assert readable([high], 5) == [high]
    finally:
        os.close(high)
        here.close()
        there.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
