import threading
from datetime import timedelta

import pytest
from django.db import connection, connections

from django_jobs.models import Job, Run

THREADS, ROUNDS = 8, 6


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("kind", ["immediate", "scheduled", "both"])
def test_of_many_that_replace_an_id_at_the_same_time_one_is_left_waiting(manager, probes, kind):
    barrier = threading.Barrier(THREADS)
    errors = []

    def add(number):
        replacing = manager.using(on_conflict="replace")
        try:
            for _ in range(ROUNDS):
                barrier.wait(30)
                if kind == "immediate" or (kind == "both" and number % 2):
                    replacing.add_immediate_job(probes.give, number, job_id="one")
                else:
                    replacing.add_scheduled_job(probes.give, timedelta(hours=1), number, job_id="one")
                barrier.wait(30)
                if number == 0:
                    found.append(Run.objects.unfinished().count() + Job.objects.count())
        except BaseException as error:
            errors.append(error)
            barrier.abort()
            raise
        finally:
            connections.close_all()

    found = []
    threads = [threading.Thread(target=add, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert errors == []
    assert found == [1] * ROUNDS


@pytest.mark.django_db(transaction=True)
def test_ids_are_replaced_beside_a_worker_that_executes_them(serve, manager, probes):
    serve(threads=3)
    barrier = threading.Barrier(4)
    errors = []

    def add():
        try:
            barrier.wait(30)
            for number in range(25):
                manager.using(on_conflict="replace").add_immediate_job(probes.give, number, job_id="one")
        except BaseException as error:
            errors.append(error)
            raise
        finally:
            connections.close_all()

    threads = [threading.Thread(target=add) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert errors == []
    manager.wait("one", 20)
    connection.close()
