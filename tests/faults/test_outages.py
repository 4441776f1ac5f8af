import contextlib
import os
import re
import resource
import time
import urllib.error
from datetime import timedelta

import pytest
from django.contrib.auth import get_user_model
from django.db import DatabaseError, connection

from django_jobs.models import Run, Worker
from tests.faults.processes import SHORT_LEASE, get, is_started
from tests.probes import ledger as probes

GONE = "the database does not answer"
BACK = "the database answers again"


def is_sqlite():
    return os.environ.get("TESTPROJECT_DATABASE", "sqlite") in {"", "sqlite"}


def said(process, sentence):
    return len(re.findall(sentence, process.log.read_text()))


def goes_through(outage_begins, outage_ends, process, manager, ledger, gate, until, is_raised):
    """Let runs end and a firing come due while the database is away, and see all of it done once afterwards."""
    held = [manager.add_immediate_job(probes.hold, gate.path) for _ in range(4)]
    manager.add_recurring_job(probes.note, 1, job_id="tick")
    until(lambda: ledger.count("began", attempt=1, text=None) >= 4)

    outage_begins()
    try:
        error, seconds = is_raised(manager.add_immediate_job, probes.note)
        assert seconds < 5, error
        until(lambda: said(process, GONE))
        gate.open()
        until(lambda: len({line["job"] for line in ledger.lines("ended")} & set(held)) == 4)
        ticked = ledger.count("recorded", job="tick")
    finally:
        outage_ends()
    until(lambda: said(process, BACK), timeout=30)

    # By itself: nobody adds anything now.
    until(lambda: ledger.count("recorded", job="tick") > ticked + 1, timeout=30)
    until(lambda: Run.objects.filter(job_id__in=held, status="SUCCESSFUL").count() == 4, timeout=30)
    assert set(Run.objects.filter(job_id__in=held).values_list("attempt", "rescues")) == {(1, 0)}
    assert sum(line["job"] in held for line in ledger.lines("began")) == 4
    until(lambda: sum(line["job"] in held for line in ledger.lines("recorded")) >= 4)
    assert sum(line["job"] in held for line in ledger.lines("recorded")) == 4
    assert (said(process, GONE), said(process, BACK)) == (1, 1), process.log.read_text()
    firings = list(Run.objects.filter(job_id="tick").values_list("scheduled_at", flat=True))
    assert len(firings) == len(set(firings))


@pytest.mark.skipif(is_sqlite(), reason="SQLite has no server; it is locked instead, below")
def test_a_database_killed_and_restarted_while_runs_end(
    database, worker, manager, ledger, gate, until, is_raised
):
    process = worker()

    goes_through(database.kill, database.start, process, manager, ledger, gate, until, is_raised)


@pytest.mark.skipif(is_sqlite(), reason="the locked file of SQLite can be read")
def test_a_run_waits_for_a_database_that_is_away_when_its_arguments_are_read(
    database, worker, manager, ledger, gate, until
):
    # The file of the second appears when the read has failed: the gate is open by then.
    worker(
        at="django_jobs.codec:load_arguments before hold;django_jobs.execution.outages:_first_away before hold"
    )
    job_id = manager.add_immediate_job(
        probes.swallow, get_user_model().objects.create(username="an argument")
    )
    until(gate.reached.exists)
    gate.reached.unlink()

    database.kill()
    gate.open()
    until(gate.reached.exists, timeout=30)
    assert ledger.count("began") == 0
    database.start()
    connection.close()

    until(lambda: Run.objects.filter(job_id=job_id, status="SUCCESSFUL").exists(), timeout=30)
    assert (ledger.count("began"), Run.objects.get().attempt) == (1, 1)


@pytest.mark.skipif(
    is_sqlite(), reason="the locked file of SQLite keeps nobody's lease from being read as late"
)
@pytest.mark.timeout(180)
def test_an_outage_longer_than_the_lease_makes_no_living_worker_dead(
    database, worker, manager, ledger, gate, until
):
    old = [worker(jobs=SHORT_LEASE) for _ in range(2)]
    held = [manager.add_immediate_job(probes.hold, gate.path) for _ in range(20)]
    until(lambda: len({line["run"] for line in ledger.lines("began")}) == 20, timeout=30)
    assert len({line["pid"] for line in ledger.lines("began")}) == 2

    database.kill()
    # One that starts when all leases have ended takes nobody for dead either.
    new = worker(jobs=SHORT_LEASE, wait=False)
    time.sleep(SHORT_LEASE["LEASE_SECONDS"] + 2)
    database.start()
    connection.close()
    for process in old:
        until(lambda process=process: said(process, BACK), timeout=40)
    until(lambda: is_started(new), timeout=40)
    # Everybody has looked at all leases since.
    heartbeats = dict(Worker.objects.values_list("pk", "heartbeat_at"))
    until(
        lambda: all(
            row.heartbeat_at > heartbeats[row.pk] + timedelta(seconds=2) for row in Worker.objects.all()
        ),
        timeout=30,
    )
    gate.open()

    until(lambda: Run.objects.filter(status="SUCCESSFUL").count() == 20, timeout=40)
    assert set(Run.objects.filter(job_id__in=held).values_list("attempt", "rescues")) == {(1, 0)}
    assert ledger.count("began") == 20
    assert not Worker.objects.filter(was_lost=True).exists()


@pytest.mark.skipif(not is_sqlite(), reason="only SQLite has one writer for the whole database")
def test_sqlite_locked_longer_than_its_timeout_while_runs_end(
    database, worker, manager, ledger, gate, until, is_raised
):
    process = worker()

    goes_through(database.kill, database.start, process, manager, ledger, gate, until, is_raised)


@pytest.mark.skipif(is_sqlite(), reason="SQLite has no server; the next test fills the disk of a process")
def test_a_full_disk_of_the_database_server(small_database, worker, manager, ledger, gate, until):
    process = worker()
    held = [manager.add_immediate_job(probes.hold, gate.path) for _ in range(4)]
    until(lambda: ledger.count("began") == 4)

    small_database.fill_disk()
    accepted = []

    def add_much():
        # Text that no database can make shorter, more than there can be room for.
        accepted.extend(
            manager.add_immediate_job(probes.swallow, os.urandom(300_000).hex()) for _ in range(1000)
        )

    with pytest.raises(DatabaseError):
        add_much()
    gate.open()
    until(lambda: ledger.count("ended", is_lost=False) == 4)
    small_database.free_disk()
    connection.close()
    # One that found no room for its own log has ended, and is somebody's to start.
    small_database.start()

    until(lambda: Run.objects.filter(status="SUCCESSFUL").count() >= len(accepted) + 4, timeout=60)
    done = set(Run.objects.filter(status="SUCCESSFUL").values_list("job_id", flat=True))
    assert done >= {*accepted, *held}
    assert process.poll() is None
    assert not Run.objects.exclude(status="SUCCESSFUL").exists()
    for job_id in accepted:
        assert ledger.count("recorded", job=job_id) == 1


@pytest.mark.skipif(not is_sqlite(), reason="the disk of a database server is the server's business")
def test_a_full_disk_while_runs_end(worker, manager, ledger, gate, until):
    process = worker()
    held = [manager.add_immediate_job(probes.hold, gate.path) for _ in range(4)]
    until(lambda: ledger.count("began") == 4)
    _, hard = resource.prlimit(process.pid, resource.RLIMIT_FSIZE)

    # No page of the database fits below this; what the process logs does.
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (4096, hard))
    gate.open()
    until(lambda: said(process, GONE))
    added = manager.add_immediate_job(probes.note)
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (hard, hard))

    until(lambda: said(process, BACK), timeout=30)
    until(lambda: Run.objects.filter(status="SUCCESSFUL").count() == 5, timeout=30)
    assert set(Run.objects.filter(job_id__in=held).values_list("attempt", "rescues")) == {(1, 0)}
    until(lambda: ledger.count("recorded", job=added))
    assert ledger.count("recorded", job=added) == 1
    assert (said(process, GONE), said(process, BACK)) == (1, 1), process.log.read_text()


def cut_other_connections():
    """End every connection to this test's database but our own, as a firewall or an operator may."""
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
            return
        cursor.execute(
            "SELECT id FROM information_schema.processlist WHERE db = DATABASE() AND id <> CONNECTION_ID()"
        )
        for (number,) in cursor.fetchall():
            # It may have gone by itself meanwhile.
            with contextlib.suppress(Exception):
                cursor.execute(f"KILL {number}")


@pytest.mark.skipif(is_sqlite(), reason="SQLite has no connections to cut")
def test_connections_cut_again_and_again_under_load(worker, manager, ledger, gate, clients, until):
    process = worker()
    held = manager.add_immediate_job(probes.hold, gate.path)
    until(lambda: ledger.count("began", job=held))
    client = clients(lambda: manager.add_immediate_job(probes.work, 0.02), rate=50)

    for _ in range(5):
        count = ledger.count("recorded")
        until(lambda count=count: ledger.count("recorded") >= count + 10, timeout=30)
        cut_other_connections()
    accepted = client.stop()
    gate.open()

    until(lambda: not Run.objects.unfinished().exists(), timeout=40)
    runs = dict(Run.objects.values_list("job_id", "status"))
    assert {*accepted, held} <= set(runs)
    assert set(runs.values()) == {"SUCCESSFUL"}
    recorded = [line["run"] for line in ledger.lines("recorded")]
    assert len(recorded) == len(set(recorded))
    assert process.poll() is None


def test_a_process_started_while_the_database_is_away_waits_for_it(database, worker, manager, ledger, until):
    manager.add_immediate_job(probes.note)
    database.kill()
    process = worker(wait=False)
    until(lambda: "waiting before starting" in process.log.read_text(), timeout=30)

    database.start()

    until(lambda: ledger.count("recorded") == 1, timeout=30)
    assert said(process, "waiting before starting") == 1


def test_a_process_told_to_stop_while_the_database_is_away_ends_and_nothing_is_lost(
    database, worker, manager, ledger, gate, until
):
    process = worker(jobs={"SHUTDOWN_SECONDS": 1})
    manager.add_immediate_job(probes.hold, gate.path)
    until(lambda: ledger.count("began"))
    database.kill()
    until(lambda: said(process, GONE), timeout=30)
    gate.open()

    process.terminate()
    code = process.wait(30)
    database.start()
    worker()

    assert code == 0, process.log.read_text()
    until(lambda: Run.objects.get().status == "SUCCESSFUL", timeout=30)
    until(lambda: ledger.count("recorded") == 1)


def test_web_requests_fail_at_once_while_the_database_is_away_and_work_again_after(
    database, web, ledger, until
):
    process = web()
    get(process.port, "add/")
    until(lambda: ledger.count("recorded") == 1, timeout=30)
    database.kill()

    began = time.monotonic()
    with pytest.raises(urllib.error.HTTPError) as raised:
        get(process.port, "add/")
    seconds = time.monotonic() - began
    database.start()

    assert raised.value.code == 503
    assert seconds < 5
    job_id = until(lambda: accepted(process.port), timeout=20)
    until(lambda: ledger.count("recorded", job=job_id) == 1, timeout=30)


def accepted(port):
    try:
        return get(port, "add/")
    except OSError:
        return None
