import select
import sys

import pytest

from django_jobs.storage.notifications import inotify


@pytest.mark.skipif(sys.platform != "linux", reason="inotify is Linux's")
def test_writes_to_a_file_and_what_lies_beside_it_under_its_name_are_reported(tmp_path):
    writes = inotify.file_writes(str(tmp_path / "db.sqlite3"))
    assert writes is not None

    (tmp_path / "other").write_text("x")
    assert not writes.happened()
    (tmp_path / "db.sqlite3-wal").write_text("x")
    assert select.select([writes], [], [], 5)[0]
    assert writes.happened()
    assert not writes.happened()
    writes.close()


def test_there_are_no_reports_of_a_file_that_is_not_there():
    assert inotify.file_writes("") is None
    assert inotify.file_writes("/no/such/directory/db.sqlite3") is None
