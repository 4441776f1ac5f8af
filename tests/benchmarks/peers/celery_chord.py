"""Celery with Redis as broker and result backend, for `fan_out`: as it comes, or with what its documentation has against
lost workers (BENCH_SAFE)."""

from __future__ import annotations

import os

from celery import Celery

from tests.benchmarks.peers import functions

app = Celery("bench", broker=os.environ["BENCH_REDIS"], backend=os.environ["BENCH_REDIS"])
if os.environ.get("BENCH_SAFE"):
    app.conf.task_acks_late = True
    app.conf.task_reject_on_worker_lost = True
    app.conf.worker_prefetch_multiplier = 1
    # Seconds until what a killed worker had is given to another one; an hour as it comes.
    app.conf.broker_transport_options = {"visibility_timeout": 10}
part = app.task(name="bench.part")(functions.part)
join = app.task(name="bench.join")(functions.join)
