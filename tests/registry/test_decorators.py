from datetime import UTC, datetime

import pytest

from django_jobs import codec, job
from django_jobs.models import Job, Run
from django_jobs.registry import decorators, managers
from django_jobs.registry.options import NO_OPTIONS
from tests.probes import jobs as probes

ADDED = ("enqueue", "schedule", "aenqueue", "aschedule", "using")


def test_the_decorator_leaves_a_function_as_it_is():
    assert probes.decorated(5) == 5
    assert decorators.options_of(probes.decorated).priority == 7
    assert decorators.options_of(probes.add) is NO_OPTIONS


def test_the_decorator_refuses_options_that_no_job_has():
    with pytest.raises(TypeError, match="colour"):
        job(colour="red")
    with pytest.raises(ValueError, match="-100 to 100"):
        job(priority=1000)


def greet(name, *, loud=False):
    return f"{name}{'!' if loud else ''}"


@pytest.fixture
def greeting():
    """A decorated function, as a module would have it."""
    yield job(greet)

    for name in (decorators._ATTRIBUTE, *ADDED):
        delattr(greet, name)


def test_a_decorated_function_is_the_same_object(greeting):
    assert greeting is greet
    assert greeting("Ada", loud=True) == "Ada!"
    assert job(priority=3)(greet) is greet
    assert decorators.options_of(greet).priority == 3


@pytest.mark.django_db
def test_a_decorated_function_enqueues_itself(settings, greeting):
    settings.DJANGO_JOBS = {"ALLOWED_MODULES": ["tests.registry.test_decorators"]}

    job_id = greeting.enqueue("Ada", loud=True)

    run = Run.objects.get(job_id=job_id)
    assert (run.func, run.name) == ("tests.registry.test_decorators:greet", "greet")
    assert codec.load_arguments(run.payload) == (("Ada",), {"loud": True})


@pytest.mark.django_db
def test_a_decorated_function_schedules_itself(settings, greeting):
    run_at = datetime(2030, 1, 1, tzinfo=UTC)

    job_id = greeting.schedule(run_at, "Ada")

    assert Job.objects.get(pk=job_id).next_run_time == run_at
    with pytest.raises(ValueError, match="naive"):
        greeting.schedule(datetime(2030, 1, 1), "Ada")  # noqa: DTZ001 - what is refused


@pytest.mark.django_db
def test_a_call_can_have_options_of_its_own(greeting):
    hurried = greeting.using(priority=9, job_id="hello").using(queue_name="mail", on_conflict="skip")

    assert hurried.enqueue("Ada") == hurried.enqueue("Bob") == "hello"

    run = Run.objects.get()
    assert (run.priority, run.queue_name, run.job_id) == (9, "mail", "hello")
    with pytest.raises(TypeError, match="no option 'colour'; the options are queue_name"):
        greeting.using(colour="red")
    with pytest.raises(ValueError, match="-100 to 100"):
        greeting.using(priority=1000)
    with pytest.raises(ValueError, match="job_id must have"):
        greeting.using(job_id="")


@pytest.mark.django_db(transaction=True)
def test_a_decorated_function_has_async_twins(greeting, run_async):
    async def add():
        first = await greeting.aenqueue("Ada")
        second = await greeting.using(priority=2).aschedule(datetime(2030, 1, 1, tzinfo=UTC), "Ada")
        return first, second

    first, second = run_async(add())

    assert Run.objects.filter(job_id=first).exists()
    assert Job.objects.get(pk=second).priority == 2


def test_what_does_not_fit_the_function_is_refused(greeting):
    with pytest.raises(TypeError, match="cannot be called with these arguments"):
        greeting.enqueue()


def send(job_id, *, to="all"):
    return job_id, to


def send_by_keyword(*, job_id):
    return job_id


@pytest.mark.django_db
def test_a_parameter_called_job_id_is_the_functions(settings):
    settings.DJANGO_JOBS = {"ALLOWED_MODULES": ["tests.registry.test_decorators"]}

    run = Run.objects.get(job_id=decorators.Enqueuer(send).enqueue(job_id=7, to="few"))

    assert codec.load_arguments(run.payload) == ((7,), {"to": "few"})
    assert run.job_id != "7"
    with pytest.raises(TypeError, match="rename the parameter"):
        decorators.Enqueuer(send_by_keyword).enqueue(job_id=7)


def test_what_takes_no_attributes_cannot_be_decorated():
    with pytest.raises(TypeError, match="write a function that calls it"):
        job(len)
    with pytest.raises(TypeError, match="on_conflict is for one call"):
        job(on_conflict="skip")
    with pytest.raises(TypeError, match="@job is for functions"):
        job("a name")


def test_enqueueing_before_django_is_set_up_says_what_is_missing(monkeypatch, greeting):
    monkeypatch.setattr(managers, "_get_manager", None)

    with pytest.raises(RuntimeError, match=r"django\.setup\(\)"):
        greeting.enqueue("Ada")
