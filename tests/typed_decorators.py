"""Use of the decorators that type checkers must accept, and refuse; mypy reads it, and nothing calls it.

An ignore that is not needed is an error of mypy's, so each of them is a promise to refuse.
"""

from datetime import UTC, datetime
from typing import assert_type

from django_jobs import JobHandle, Retry, Unique, cron, job, recurring


@job
def bare(x: int, *, loud: bool = False) -> str:
    return str(x) + "!" * loud


@job(queue_name="mail", retry=Retry(), timeout=5, name="With options")
def with_options(x: int) -> str:
    return str(x)


@recurring(minutes=30, args=[1], job_id="often", priority=5)
@cron("30 3 * * mon-fri", timezone="Europe/Berlin", kwargs={"x": 1})
@job(at_most_once=True)
def scheduled(x: int) -> str:
    return str(x)


@job
async def awaited(x: int) -> str:
    return str(x)


async def use() -> None:
    assert_type(bare(1, loud=True), str)
    assert_type(bare.enqueue(1, loud=True), JobHandle[str])
    assert_type(with_options.schedule(datetime.now(UTC), 1), JobHandle[str])
    assert_type(with_options.using(priority=3, job_id="one").enqueue(x=1), JobHandle[str])
    assert_type(await scheduled.aenqueue(1), JobHandle[str])
    assert_type(await scheduled.using(timeout=1).aschedule(datetime.now(UTC), 1), JobHandle[str])
    assert_type(await awaited(1), str)
    assert_type(bare.enqueue(1).wait(), str)
    assert_type(awaited.enqueue(1).wait(5), str)
    assert_type(await awaited.enqueue(1).await_end(), str)
    as_id: str = bare.using(unique=Unique("x:{x}", until="started")).enqueue(1)
    assert as_id

    bare("one")  # type: ignore[arg-type]
    bare.enqueue("one")  # type: ignore[arg-type]
    bare.enqueue()  # type: ignore[call-arg]
    with_options.schedule(1)  # type: ignore[arg-type, call-arg]
    with_options.using(colour="red")  # type: ignore[call-arg]
    job(colour="red")  # type: ignore[call-overload]
    recurring(minutes="30")  # type: ignore[call-overload]
