"""What `manage.py jobs` can do, one module for each thing or for a few alike."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django_jobs.management.actions.add import Add
from django_jobs.management.actions.backfill import BackfillJob
from django_jobs.management.actions.batch import BatchAction
from django_jobs.management.actions.cancel import Cancel, Retry
from django_jobs.management.actions.import_apscheduler import ImportApscheduler
from django_jobs.management.actions.limit import LimitAction
from django_jobs.management.actions.list import List
from django_jobs.management.actions.metrics import Metrics
from django_jobs.management.actions.pause import Pause, Resume
from django_jobs.management.actions.prune import Prune
from django_jobs.management.actions.re_sign import ReSign
from django_jobs.management.actions.remove import Remove
from django_jobs.management.actions.replay import Replay
from django_jobs.management.actions.run import Run
from django_jobs.management.actions.show import Show
from django_jobs.management.actions.status import Status
from django_jobs.management.actions.tail import Tail
from django_jobs.management.actions.tune import Tune

if TYPE_CHECKING:
    from django_jobs.management.actions.action import Action

#: In the order of `manage.py jobs --help`.
ACTIONS: tuple[type[Action], ...] = (
    List, Show, Tail, Add, Pause, Resume, Run, Replay, BackfillJob, Cancel, Retry, BatchAction, LimitAction, Remove, Prune, Status,
    Metrics, ReSign, Tune,
    ImportApscheduler,
)  # fmt: skip
