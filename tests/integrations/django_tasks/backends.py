from dataclasses import dataclass

from django_jobs.tasks import JobsBackend
from tests.probes import tasks


class OwnBackend(JobsBackend):
    """A project's own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnTask(type(tasks.give)):
    """A Task with something of the project's."""

    owner: str = "nobody"


class BackendOfOwnTasks(JobsBackend):
    task_class = OwnTask
