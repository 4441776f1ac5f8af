"""What `manage.py jobs` can do, one module for each thing or for a few alike."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django_jobs.management.actions.add import Add
from django_jobs.management.actions.control import Cancel, Pause, Remove, Resume, Retry, Run
from django_jobs.management.actions.import_apscheduler import ImportApscheduler
from django_jobs.management.actions.look import List, Show
from django_jobs.management.actions.metrics import Metrics
from django_jobs.management.actions.prune import Prune
from django_jobs.management.actions.re_sign import Resign
from django_jobs.management.actions.status import Status

if TYPE_CHECKING:
    from django_jobs.management.actions.action import Action

#: In the order of `manage.py jobs --help`.
ACTIONS: tuple[type[Action], ...] = (
    List, Show, Add, Pause, Resume, Run, Cancel, Retry, Remove, Prune, Status, Metrics, Resign,
    ImportApscheduler,
)  # fmt: skip
