from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from django.core import checks
from django.core.exceptions import ImproperlyConfigured
from django.db import transaction
from django.utils import timezone

from django_jobs import codec
from django_jobs.models import Run
from django_jobs.storage import notifications
from django_jobs.tasks import JobsBackend


@pytest.fixture
def words():
    """What workers of this process are told."""
    topics = []
    notifications.subscribe(topics.append)
    yield topics
    notifications.unsubscribe(topics.append)


def test_every_flag_of_the_framework_is_true(tasks):
    backend = tasks.give.get_backend()

    assert isinstance(backend, JobsBackend)
    assert backend.supports_defer
    assert backend.supports_async_task
    assert backend.supports_get_result
    assert backend.supports_priority


def test_a_task_is_enqueued_with_one_statement(tasks, db, django_assert_num_queries):
    with django_assert_num_queries(1):
        result = tasks.give.using(priority=7, queue_name="special").enqueue(2)

    run = Run.objects.get()
    assert (run.job_id, run.name, run.func) == (result.id, "give", "tests.probes.tasks:give")
    assert (run.priority, run.queue_name, run.status) == (7, "special", "READY")
    assert codec.load_arguments(run.payload) == ((2,), {})


def test_a_result_is_ready_and_the_same_when_it_is_looked_up(tasks, db, django_assert_num_queries):
    result = tasks.look_around.enqueue(1, two=[3])

    with django_assert_num_queries(1):
        again = tasks.look_around.get_result(result.id)

    assert again == result
    assert result.task == tasks.look_around
    assert (result.status, result.args, result.kwargs) == ("READY", [1], {"two": [3]})
    assert (result.attempts, result.errors, result.worker_ids, result.backend) == (0, [], [], "default")
    assert result.enqueued_at is not None
    assert result.started_at is result.last_attempted_at is result.finished_at is None
    with pytest.raises(ValueError, match="not finished yet"):
        result.return_value  # noqa: B018


def test_the_way_a_task_was_changed_is_kept_with_its_result(tasks, db):
    run_after = timezone.now() + timedelta(hours=1)
    changed = tasks.give.using(priority=-3, queue_name="special", run_after=run_after)

    result = changed.enqueue()

    assert changed.get_result(result.id).task == changed == result.task
    assert Run.objects.get().run_after == run_after


def test_run_after_may_be_a_time_from_now(tasks, db):
    before = timezone.now()

    result = tasks.give.using(run_after=timedelta(hours=1)).enqueue()

    assert timedelta(hours=1) <= result.task.run_after - before < timedelta(hours=1, minutes=1)
    assert Run.objects.get().run_after == result.task.run_after
    assert tasks.give.get_result(result.id) == result


def test_arguments_arrive_as_they_come_back_from_json(tasks, db):
    result = tasks.give.enqueue({1: ("a", b"b"), "nested": {"x": (None, True, 1.5)}})

    expected = {"1": ["a", "b"], "nested": {"x": [None, True, 1.5]}}
    assert result.args == [expected]
    assert codec.load_arguments(Run.objects.get().payload) == ((expected,), {})


def test_what_cannot_be_json_is_refused_before_anything_is_stored(tasks, db, heard):
    with pytest.raises(TypeError, match="Unsupported type"):
        tasks.give.enqueue(datetime(2026, 1, 1))  # noqa: DTZ001 - refused for its type

    assert not Run.objects.exists()
    assert not heard


def test_arguments_that_do_not_fit_are_refused_before_anything_is_stored(tasks, db):
    with pytest.raises(TypeError, match="too many positional arguments"):
        tasks.give.enqueue(1, 2)
    with pytest.raises(TypeError, match="missing a required argument: 'password'"):
        tasks.log_in.enqueue("ann")

    assert not Run.objects.exists()


def test_arguments_that_are_too_large_are_refused(tasks, db, settings):
    settings.DJANGO_JOBS = {"MAX_PAYLOAD_BYTES": 1000}

    with pytest.raises(ValueError, match="MAX_PAYLOAD_BYTES"):
        tasks.give.enqueue("x" * 1000)


def test_a_task_is_enqueued_and_looked_up_from_async_code(tasks, transactional_db, run_async):
    async def view():
        result = await tasks.mark_async.aenqueue("a")
        again = await tasks.mark_async.aget_result(result.id)
        await again.arefresh()
        plainly = tasks.mark_async.enqueue("b")
        plainly.refresh()
        return result, again, plainly, tasks.mark_async.get_result(plainly.id)

    result, again, plainly, plainly_again = run_async(view())

    assert result == again
    assert plainly == plainly_again
    assert Run.objects.count() == 2


def test_a_task_is_rolled_back_with_its_transaction(tasks, transactional_db, words):
    def enqueue_and_fail():
        with transaction.atomic():
            result = tasks.give.enqueue()
            assert tasks.give.get_result(result.id) == result
            raise RuntimeError

    with pytest.raises(RuntimeError):
        enqueue_and_fail()

    assert not Run.objects.exists()
    assert notifications.RUNS not in words


def test_workers_hear_of_a_task_when_its_transaction_commits(tasks, transactional_db, words):
    with transaction.atomic():
        tasks.give.enqueue()
        assert notifications.RUNS not in words

    assert notifications.RUNS in words


def test_task_enqueued_is_sent_by_the_call_in_a_transaction_too(tasks, transactional_db, heard):
    with transaction.atomic():
        result = tasks.give.enqueue()
        (event,) = heard

    assert event[:3] == ("enqueued", JobsBackend, result)
    assert len(heard) == 1


def test_task_enqueued_comes_before_workers_hear_of_it(tasks, transactional_db, heard, words, framework):
    def note(**_):
        words.append("signal")

    framework.signals.task_enqueued.connect(note)
    try:
        tasks.give.enqueue()
    finally:
        framework.signals.task_enqueued.disconnect(note)

    assert words[:2] == ["signal", notifications.RUNS]


def test_a_receiver_that_raises_does_not_undo_what_was_enqueued(tasks, db, framework):
    def complain(**_):
        raise RuntimeError("a receiver's own")

    framework.signals.task_enqueued.connect(complain)
    try:
        result = tasks.give.enqueue()
    finally:
        framework.signals.task_enqueued.disconnect(complain)

    assert Run.objects.get().job_id == result.id


def test_the_sender_is_the_class_of_the_backend(tasks, db, settings, heard):
    settings.TASKS = {"default": {"BACKEND": "tests.integrations.django_tasks.backends.OwnBackend"}}

    tasks.give.enqueue()

    assert heard[0][1].__name__ == "OwnBackend"


def test_a_queue_that_the_backend_does_not_name_is_refused(tasks, db, settings, framework):
    settings.TASKS = {"default": {"BACKEND": "django_jobs.tasks.JobsBackend", "QUEUES": ["default", "mail"]}}

    tasks.give.using(queue_name="mail").enqueue()
    with pytest.raises(framework.invalid_task, match="Queue 'post' is not valid"):
        tasks.give.using(queue_name="post")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"queue_name": "x" * 101}, "1 to 100 characters"),
        ({"queue_name": ""}, "1 to 100 characters"),
        ({"priority": 101}, "whole number between"),
        ({"priority": 0.5}, "whole number between"),
        ({"run_after": datetime(2026, 1, 1)}, "aware datetime"),  # noqa: DTZ001 - refused for it
        ({"run_after": timedelta(1), "priority": 101}, "whole number between"),
    ],
)
def test_a_task_that_cannot_be_enqueued_is_refused_when_it_is_made(tasks, framework, changes, message):
    with pytest.raises(framework.invalid_task, match=message):
        replace(tasks.give, **changes)


def test_a_task_is_validated_again_when_it_is_enqueued(tasks, db, settings, framework):
    task = tasks.give.using(queue_name="mail")
    settings.TASKS = {"default": {"BACKEND": "django_jobs.tasks.JobsBackend"}}

    with pytest.raises(framework.invalid_task, match="Queue 'mail' is not valid"):
        task.enqueue()


def test_a_task_that_no_worker_could_find_is_refused(tasks, db, framework):
    with pytest.raises(
        framework.invalid_task, match="not a Task but a function: decorate the function itself"
    ):
        tasks.renamed.enqueue()

    with pytest.raises(framework.invalid_task, match="takes_context=True"):
        replace(tasks.look_around, takes_context=False).enqueue()


def test_a_tasks_module_need_not_be_allowed(tasks, db, settings):
    settings.DJANGO_JOBS = {"ALLOWED_MODULES": ["nowhere"]}

    assert tasks.give.enqueue().status == "READY"


def test_policy_comes_from_job_and_from_options(tasks, db, settings):
    settings.TASKS = {
        "default": {
            "BACKEND": "django_jobs.tasks.JobsBackend",
            "OPTIONS": {"timeout": 60, "at_most_once": True, "tags": ["tasks"]},
        }
    }

    tasks.with_policy.enqueue("a secret")
    tasks.give.enqueue()

    decorated, plain = Run.objects.order_by("id")
    assert (decorated.name, decorated.queue_name, decorated.priority) == ("the named one", "default", 0)
    assert decorated.options["timeout"] == 5
    assert decorated.options["at_most_once"]
    assert codec.display_arguments(decorated.payload, sensitive=decorated.options["sensitive"])[0] != [
        "a secret"
    ]
    assert plain.options["timeout"] == 60
    assert plain.tags == ["tasks"]
    assert "sensitive" not in plain.options


def test_a_secret_is_hidden_where_the_context_comes_first(tasks, db):
    tasks.log_in.enqueue("ann", "hunter2")

    run = Run.objects.get()
    args, _ = codec.display_arguments(run.payload, sensitive=run.options["sensitive"])
    assert args[0] == "ann"
    assert "hunter2" not in args


def test_a_task_expires_by_the_time_that_it_was_put_off_to(tasks, db, settings):
    settings.TASKS = {"default": {"BACKEND": "django_jobs.tasks.JobsBackend", "OPTIONS": {"expires": 60}}}
    later = timezone.now() + timedelta(hours=1)

    tasks.give.using(run_after=later).enqueue()

    assert Run.objects.get().options["expires_at"] == later.timestamp() + 60


def test_the_app_is_checked_to_be_there(tasks, settings):
    assert tasks.give.get_backend().check() == []

    settings.INSTALLED_APPS = ["django.contrib.contenttypes"]

    assert [problem.id for problem in tasks.give.get_backend().check()] == ["django_jobs.E006"]


@pytest.mark.parametrize(
    ("params", "id_", "part"),
    [
        ({"QUEUES": "default"}, "django_jobs.E007", "a list of names"),
        ({"QUEUES": ["default", "x" * 101]}, "django_jobs.E007", "1 to 100 characters"),
        ({"QUEUES": ["default", 1]}, "django_jobs.E007", "1 to 100 characters"),
        ({"OPTIONS": {"timeuot": 1}}, "django_jobs.E008", "did you mean timeout?"),
        ({"OPTIONS": {"priority": 1}}, "django_jobs.E008", "unknown key priority"),
        ({"OPTIONS": {"timeout": 0}}, "django_jobs.E008", "more than 0 seconds"),
        ({"OPTIONS": {"retry": 3}}, "django_jobs.E008", "must be a django_jobs.Retry"),
        ({"OPTIONS": ["timeout"]}, "django_jobs.E008", "must be a dict"),
    ],
)
def test_queues_and_options_are_checked(params, id_, part):
    (problem,) = JobsBackend("other", params).check()

    assert problem.id == id_
    assert part in problem.msg
    assert "TASKS['other']" in problem.msg


def test_the_frameworks_own_check_asks_the_backend(db, settings):
    settings.TASKS = {"default": {"BACKEND": "django_jobs.tasks.JobsBackend", "OPTIONS": {"timeuot": 1}}}

    assert "django_jobs.E008" in [problem.id for problem in checks.run_checks()]


def test_nothing_is_enqueued_with_wrong_options(tasks, db, settings):
    settings.TASKS = {"default": {"BACKEND": "django_jobs.tasks.JobsBackend", "OPTIONS": {"timeuot": 1}}}

    with pytest.raises(ImproperlyConfigured, match="did you mean timeout"):
        tasks.give.enqueue()
    assert not Run.objects.exists()


def test_a_unique_task_is_enqueued_once_and_has_the_result_of_the_one_that_is_there(tasks, db, heard):
    first, other = tasks.once.enqueue(1), tasks.once.enqueue(2)

    second = tasks.once.enqueue(1)

    assert (second.id, second.args, second.status) == (first.id, [1], "READY")
    assert other.id != first.id
    assert Run.objects.count() == len(heard) == 2


def test_a_debounced_task_waits_and_takes_no_time_of_its_own(tasks, db, framework):
    first, second = tasks.put_off.enqueue(1), tasks.put_off.enqueue(1)

    assert first.id == second.id
    assert Run.objects.get().run_after > timezone.now() + timedelta(seconds=3)
    with pytest.raises(framework.invalid_task, match="debounced"):
        tasks.put_off.using(run_after=timedelta(minutes=1)).enqueue(1)
