import threading
import traceback
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta

import pytest
from django.utils import timezone

pytestmark = pytest.mark.django_db


@pytest.mark.django_db(transaction=True)
def test_plain_methods_work_where_an_event_loop_runs(manager, probes, run_async):
    async def view():
        job_id = manager.add_immediate_job(probes.mark, "from async")
        return manager.get_job(job_id)

    assert run_async(view())["status"] == "queued"


def test_the_twins_do_the_same(serve, manager, probes, run_async):
    serve()

    async def view():
        job_id = await manager.aadd_immediate_job(probes.add, 1, b=1)
        assert await manager.await_job(job_id, 10) == 2
        later = timezone.now() + timedelta(days=1)
        scheduled = await manager.aadd_scheduled_job(probes.mark, later)
        with pytest.raises(TimeoutError):
            await manager.await_job(scheduled, 0.05)
        await manager.aadd_recurring_job(probes.mark, 60, job_id="r")
        assert await manager.apause_job("r")
        assert await manager.aremove_job("r")
        return await manager.aget_jobs()

    assert len(run_async(view())) == 1


def test_errors_of_a_call_do_not_speak_of_event_loops(manager, probes):
    with pytest.raises(ValueError, match="aware") as caught:
        manager.add_scheduled_job(probes.nothing, datetime(2030, 1, 1))  # noqa: DTZ001 - it is what is refused

    assert "no running event loop" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.django_db(transaction=True)
def test_a_wait_in_one_loop_holds_up_no_call_in_another(manager, probes, run_async):
    job_id = manager.add_immediate_job(probes.nothing)
    is_waiting, added = threading.Event(), threading.Event()

    async def wait():
        is_waiting.set()
        with pytest.raises(TimeoutError):
            manager.wait(job_id, 5)
        return added.is_set()

    async def add():
        manager.add_immediate_job(probes.nothing)
        added.set()

    with ThreadPoolExecutor(2) as pool:
        waited = pool.submit(run_async, wait())
        assert is_waiting.wait(10)
        pool.submit(run_async, add()).result(20)
        assert not waited.done()
        assert waited.result(20)
