"""Celery apps of the tests, one for each broker."""

import os

from celery import Celery

URLS = {
    "rabbitmq": os.environ.get("TESTS_RABBITMQ_URL") or "amqp://guest:guest@127.0.0.1:5672//",
    "redis": os.environ.get("TESTS_REDIS_URL") or "redis://127.0.0.1:6379/0",
}


def make_app(name, url):
    app = Celery(f"tests-{name}", broker=url, set_as_current=False)
    app.conf.update(
        worker_hijack_root_logger=False,
        broker_connection_timeout=2,
        broker_connection_retry_on_startup=True,
        worker_prefetch_multiplier=1,
    )
    return app


rabbitmq = make_app("rabbitmq", URLS["rabbitmq"])
redis = make_app("redis", URLS["redis"])
