import functools
import sys
import threading
from datetime import UTC, datetime

import pytest

from django_jobs import Retry, checks, codec, cron, functions, job, recurring, triggers
from django_jobs.exceptions import FunctionNotAllowed, FunctionNotFound
from django_jobs.models import Job, Run
from tests.probes import jobs as probes


def test_a_function_is_named_and_found_again():
    path, function = functions.path_of(probes.add)

    assert path == "tests.probes.jobs:add"
    assert functions.resolve(path) is function is probes.add


def test_a_partial_is_refused_with_the_way_out():
    with pytest.raises(ValueError, match="pass the function itself and the arguments after it"):
        functions.path_of(functools.partial(probes.add, 1))


def test_a_function_that_a_decorator_hides_is_refused():
    hidden = type(probes.add)(probes.add.__code__, {})
    hidden.__module__, hidden.__qualname__ = "tests.probes.jobs", "add"

    with pytest.raises(ValueError, match="replaced by a decorator"):
        functions.path_of(hidden)


def test_a_renamed_function_is_found_where_it_moved(settings):
    with pytest.raises(FunctionNotFound, match="MOVED"):
        functions.resolve("tests.probes.jobs:old_name")

    settings.DJANGO_JOBS = {"MOVED": {"tests.probes.jobs:old_name": "tests.probes.jobs:add"}}

    assert functions.resolve("tests.probes.jobs:old_name") is probes.add
    assert functions.path_of("tests.probes.jobs:old_name")[0] == "tests.probes.jobs:add"


@pytest.mark.parametrize(
    "path", ["os:system", "builtins:eval", "subprocess:run", "tests.probesx:f", "importlib:import_module"]
)
def test_only_functions_of_installed_apps_are_called(path):
    with pytest.raises(FunctionNotAllowed):
        functions.resolve(path)


def test_the_package_of_the_project_itself_is_allowed():
    assert functions.is_allowed("testproject.anything:f")
    assert not functions.is_allowed("testprojectile:f")


def test_allowed_modules_can_be_narrowed_and_widened(settings):
    settings.DJANGO_JOBS = {"ALLOWED_MODULES": ["os.path"]}

    assert functions.resolve("os.path:basename")("a/b") == "b"
    with pytest.raises(FunctionNotAllowed):
        functions.resolve("tests.probes.jobs:add")


def test_a_decorated_function_is_allowed_wherever_it_lives(settings):
    settings.DJANGO_JOBS = {"ALLOWED_MODULES": []}

    assert functions.resolve("tests.probes.jobs:decorated") is probes.decorated


def test_a_module_that_fails_to_import_says_why(tmp_path, monkeypatch, settings):
    (tmp_path / "breaks_at_import.py").write_text("raise RuntimeError('no licence')")
    monkeypatch.syspath_prepend(tmp_path)
    settings.DJANGO_JOBS = {"ALLOWED_MODULES": ["breaks_at_import"]}

    with pytest.raises(FunctionNotFound, match="RuntimeError: no licence"):
        functions.resolve("breaks_at_import:f")


def test_a_name_that_is_no_function_is_not_called(settings):
    with pytest.raises(FunctionNotFound, match="it is a Event"):
        functions.resolve("tests.probes.jobs:began")


def test_nothing_is_imported_for_a_module_that_is_not_allowed():
    with pytest.raises(FunctionNotAllowed):
        functions.resolve("this:s")

    assert "this" not in sys.modules


def test_the_decorator_leaves_a_function_as_it_is():
    assert probes.decorated(5) == 5
    assert functions.options_of(probes.decorated).priority == 7
    assert functions.options_of(probes.add) is functions.NO_OPTIONS


def test_the_decorator_refuses_options_that_no_job_has():
    with pytest.raises(TypeError, match="colour"):
        job(colour="red")
    with pytest.raises(ValueError, match="-100 to 100"):
        job(priority=1000)


def test_nearer_options_go_first():
    near = functions.JobOptions(priority=1, retry=Retry())
    far = functions.JobOptions(priority=2, timeout=9)

    both = near.over(far)

    assert (both.priority, both.timeout, both.retry) == (1, 9, Retry())


def test_parameters_that_hold_secrets_are_found_by_position():
    assert functions.hidden_positions(probes.log_in, frozenset()) == (1,)
    assert functions.hidden_positions(probes.log_in, frozenset({"user"})) == (0, 1)
    assert functions.hidden_positions(probes.add, frozenset()) == ()


def test_a_function_of_a_module_that_another_thread_is_importing_is_waited_for(
    tmp_path, monkeypatch, settings
):
    (tmp_path / "slow_to_import.py").write_text(
        "from tests.probes.jobs import began, go_on\nbegan.set()\ngo_on.wait(10)\ndef f(): pass\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    settings.DJANGO_JOBS = {"ALLOWED_MODULES": ["slow_to_import"]}
    probes.began.clear()
    probes.go_on.clear()
    found = []

    def resolve():
        try:
            found.append(functions.resolve("slow_to_import:f"))
        except FunctionNotFound as error:
            found.append(error)

    first, second = threading.Thread(target=resolve), threading.Thread(target=resolve)
    first.start()
    assert probes.began.wait(10)
    second.start()
    second.join(0.2)
    probes.go_on.set()
    first.join(10)
    second.join(10)

    assert found == [sys.modules["slow_to_import"].f] * 2


# What @job gives a function


def greet(name, *, loud=False):
    return f"{name}{'!' if loud else ''}"


@pytest.fixture
def greeting():
    """A decorated function, as a module would have it."""
    yield job(greet)

    for name in (functions._ATTRIBUTE, *ADDED):
        delattr(greet, name)


ADDED = ("enqueue", "schedule", "aenqueue", "aschedule", "using")


def test_a_decorated_function_is_the_same_object(greeting):
    assert greeting is greet
    assert greeting("Ada", loud=True) == "Ada!"
    assert job(priority=3)(greet) is greet
    assert functions.options_of(greet).priority == 3


@pytest.mark.django_db
def test_a_decorated_function_enqueues_itself(settings, greeting):
    settings.DJANGO_JOBS = {"ALLOWED_MODULES": ["tests.test_functions"]}

    job_id = greeting.enqueue("Ada", loud=True)

    run = Run.objects.get(job_id=job_id)
    assert (run.func, run.name) == ("tests.test_functions:greet", "greet")
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
    settings.DJANGO_JOBS = {"ALLOWED_MODULES": ["tests.test_functions"]}

    run = Run.objects.get(job_id=functions.Enqueuer(send).enqueue(job_id=7, to="few"))

    assert codec.load_arguments(run.payload) == ((7,), {"to": "few"})
    assert run.job_id != "7"
    with pytest.raises(TypeError, match="rename the parameter"):
        functions.Enqueuer(send_by_keyword).enqueue(job_id=7)


def test_what_takes_no_attributes_cannot_be_decorated():
    with pytest.raises(TypeError, match="write a function that calls it"):
        job(len)
    with pytest.raises(TypeError, match="@job is for functions"):
        job("a name")


def test_enqueueing_before_django_is_set_up_says_what_is_missing(monkeypatch, greeting):
    monkeypatch.setattr(functions, "_get_manager", None)

    with pytest.raises(RuntimeError, match=r"django\.setup\(\)"):
        greeting.enqueue("Ada")


# Declarations


def test_schedules_can_be_stacked_and_leave_the_function_as_it_is(greeting):
    decorated = recurring(hours=1, minutes=30, args=["Ada"], job_id="often")(
        cron("0 3 * * mon", timezone="Europe/Berlin", kwargs={"name": "Bob"}, priority=4)(greet)
    )

    assert decorated is greet
    often, weekly = sorted(functions.declarations(), key=lambda one: one.job_id)
    assert (often.job_id, often.args, triggers.describe(often.trigger)) == (
        "often",
        ("Ada",),
        "every 1 hour 30 minutes",
    )
    assert (weekly.job_id, weekly.kwargs, weekly.options.priority) == (
        "tests.test_functions:greet",
        {"name": "Bob"},
        4,
    )
    assert triggers.describe(weekly.trigger) == "at 03:00 on Monday (Europe/Berlin)"


def test_a_schedule_makes_its_function_a_job():
    def scheduled():
        pass

    scheduled.__qualname__ = "scheduled"
    recurring(days=1)(scheduled)

    assert functions.is_allowed("tests.test_functions:scheduled")
    assert callable(scheduled.enqueue)


def test_a_module_that_is_loaded_anew_replaces_its_declarations():
    def first():
        pass

    def second():
        pass

    first.__qualname__ = second.__qualname__ = "loaded"
    recurring(days=1, job_id="a")(recurring(days=1, job_id="b")(first))
    recurring(days=2, job_id="b")(second)

    assert [(one.job_id, one.func) for one in functions.declarations()] == [("b", second)]


@pytest.mark.parametrize(
    ("declare", "error", "message"),
    [
        (lambda: recurring(greet), TypeError, r"as in @recurring\(minutes=30\)"),
        (lambda: recurring()(greet), ValueError, r"as in @recurring\(minutes=30\)"),
        (lambda: recurring(minutes=-1)(greet), ValueError, "interval"),
        (lambda: recurring(minutes="30")(greet), TypeError, "minutes"),
        (lambda: cron(greet), TypeError, r'as in @cron\("30 3'),
        (lambda: cron("30 24 * * *")(greet), ValueError, "hour"),
        (lambda: cron("0 3 * * *", timezone="Mars/Base")(greet), ValueError, "Mars/Base"),
        (lambda: recurring(minutes=1)(greet), TypeError, "missing a required argument: 'name'"),
        (lambda: recurring(minutes=1, args="Ada")(greet), TypeError, "list or tuple"),
        (lambda: recurring(minutes=1, kwargs=["Ada"])(greet), TypeError, "dict"),
        (lambda: recurring(minutes=1, args=[1], job_id="")(greet), ValueError, "1 to 255"),
        (lambda: recurring(minutes=1, args=[1], colour=1)(greet), TypeError, "no option 'colour'"),
        (lambda: recurring(minutes=1, args=[1], priority=101)(greet), ValueError, "-100 to 100"),
        (lambda: recurring(minutes=1, args=[1], on_conflict="skip")(greet), TypeError, "no meaning"),
        (lambda: recurring(minutes=1)(lambda: None), ValueError, "move it to a module's top level"),
    ],
)
def test_a_wrong_declaration_says_how_to_mend_it(declare, error, message, greeting):
    with pytest.raises(error, match=message):
        declare()

    assert functions.declarations() == []


def test_one_id_for_two_schedules_of_a_function_is_refused(greeting):
    with pytest.raises(ValueError, match="give each an id of its own"):
        recurring(minutes=1, args=[1])(cron("@daily", args=[2])(greet))


def test_an_id_that_two_functions_declare_is_an_error_of_check(greeting):
    recurring(minutes=1, job_id="same")(probes.nothing)
    recurring(minutes=2, job_id="same", args=[1])(greet)

    (message,) = checks.check_declarations()

    assert message.id == "django_jobs.E009"
    assert "tests.probes.jobs:nothing, tests.test_functions:greet" in message.msg
    assert [one.func for one in functions.declarations()] == [probes.nothing]


def hidden():
    pass


def test_a_declaration_is_checked_again_when_its_module_is_whole(monkeypatch):
    monkeypatch.setattr(functions, "_resolved", {})
    recurring(minutes=1, job_id="hidden")(hidden)

    # As a decorator that replaces it does, after the function was declared.
    monkeypatch.setattr(sys.modules[__name__], "hidden", lambda: None)
    with pytest.raises(
        ValueError, match=r"'hidden' is declared wrongly.*Put @job, @recurring and @cron above"
    ):
        functions.check_declarations()


def test_arguments_that_cannot_be_stored_are_refused_at_start(greeting):
    recurring(minutes=1, job_id="odd", args=[object()])(greet)

    with pytest.raises(TypeError, match="'odd' is declared wrongly"):
        functions.check_declarations()
