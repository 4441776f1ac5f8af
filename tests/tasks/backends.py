from django_jobs.tasks import JobsBackend


class OwnBackend(JobsBackend):
    """A project's own."""
