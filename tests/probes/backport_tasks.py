"""Functions to call as tasks of the `django-tasks` backport, beside those of Django's own framework."""

from django_tasks import task


@task
def give(value=None):
    return value


@task(takes_context=True)
def name_the_context(context):
    return type(context).__module__


@task
def fail():
    raise ValueError("it went wrong")
