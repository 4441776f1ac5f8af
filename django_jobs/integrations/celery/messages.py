"""Send messages by the project's Celery app: run and attempt, never a function or an argument."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django_jobs.models import MAX_PRIORITY, MIN_PRIORITY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from django_jobs.storage.outbox import Dispatch

TASK_NAME = "django_jobs.execute"
# kombu's for Redis: there low goes first.
LAST_ON_REDIS = 9


def send(app: Any, queue_name: str, dispatches: Sequence[Dispatch]) -> Iterator[Dispatch]:
    """Send messages one after the other; yield each that the broker's connection has taken.

    Raises:
        Exception: What kombu or the broker's client raised.
    """
    priority_of = broker_priorities(app)
    with app.producer_pool.acquire(block=True) as producer:
        for dispatch in dispatches:
            app.send_task(
                TASK_NAME,
                args=(dispatch.run_id, dispatch.attempt),
                queue=queue_name,
                priority=priority_of(dispatch.priority),
                producer=producer,
                serializer="json",
                ignore_result=True,
                # A pooled connection may have been cut: once more on a new one.
                retry=True,
                retry_policy={"max_retries": 1, "interval_start": 0},
            )
            yield dispatch


def broker_priorities(app: Any) -> Callable[[int], int | None]:
    """Return what makes a run's priority the broker's; None where that has none.

    RabbitMQ has as many as its queues were declared with (`task_queue_max_priority`), Redis always has some.
    """
    is_redis = app.connection_for_write().transport.driver_type == "redis"
    most = LAST_ON_REDIS if is_redis else app.conf.task_queue_max_priority

    def priority_of(priority: int) -> int | None:
        if most is None:
            return None
        share = (priority - MIN_PRIORITY) / (MAX_PRIORITY - MIN_PRIORITY)
        return round((1 - share if is_redis else share) * most)

    return priority_of
