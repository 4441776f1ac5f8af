from django_jobs.registry.options import JobOptions
from django_jobs.registry.retry import Retry


def test_nearer_options_go_first():
    near = JobOptions(priority=1, retry=Retry())
    far = JobOptions(priority=2, timeout=9)

    both = near.over(far)

    assert (both.priority, both.timeout, both.retry) == (1, 9, Retry())
