"""Which queues share a worker's threads, and how many of those one may take."""

import pytest

from django_jobs.conf import JobsSettings
from django_jobs.management.commands.runjobs import _queues
from django_jobs.models import Run, Worker, queue_words
from django_jobs.storage.records import claimed
from django_jobs.worker.consumers import consumers
from tests.storage.attempts import new_run


def of_queue(name):
    return claimed(new_run(queue_name=name), 1)


def made(queues=(), threads=10, **most):
    return consumers(queues=queues, threads=threads, settings=JobsSettings(QUEUE_THREADS=most))


@pytest.mark.parametrize(
    ("queues", "served"),
    [
        ((), {"mail": 4, "default": 10}),
        (("mail", "default"), {"mail": 4, "default": 10}),
        (("mail",), {"mail": 4}),
    ],
)
def test_a_queue_has_its_part_of_the_threads_and_the_others_have_all(queues, served):
    found = made(queues, mail=4)

    assert {name: found.serving(name).slots for name in served} == served
    assert found.serving("other") is None or not queues


def test_what_a_part_takes_the_whole_does_not_have():
    found = made(mail=4)
    whole, mail = found.serving("default"), found.serving("mail")
    whole.seconds_per_run = 1.0

    for _ in range(4):
        found.take_slot(of_queue("mail"))
    assert (mail.free, whole.free) == (0, 6)
    for _ in range(6):
        found.take_slot(of_queue("default"))
    found.free_slot(of_queue("mail"), mail)
    assert (mail.free, whole.free) == (1, 1)
    assert mail.has_free_thread(0)
    assert not mail.has_free_thread(1)


def test_a_part_of_all_threads_is_none():
    assert [one.queues for one in made(threads=4, mail=4)] == [()]


def test_a_queue_never_takes_more_threads_than_it_may(serve, manager, probes, until, settings):
    settings.DJANGO_JOBS = {**settings.DJANGO_JOBS, "QUEUE_THREADS": {"mail": 2}}
    mails = [manager.using(queue_name="mail").add_immediate_job(probes.wait_for_go) for _ in range(5)]
    other = manager.using(queue_name="default").add_immediate_job(probes.nothing)

    serve(threads=4)

    manager.wait(other, 10)
    until(lambda: Run.objects.running().filter(queue_name="mail").count() == 2)
    assert Worker.objects.get().queue_threads == {"mail": 2}
    probes.go_on.set()
    for job_id in mails:
        manager.wait(job_id, 10)


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["mail:4", "default"], (["mail", "default"], {"mail": 4})),
        (["a:b", ":4", "4"], (["a:b", ":4", "4"], {})),
    ],
)
def test_queues_of_the_command_may_say_their_threads(words, found):
    assert _queues(words) == found


def test_queues_are_shown_as_the_command_takes_them():
    assert queue_words(["mail", "default"], {"mail": 4}) == ["mail:4", "default"]
    assert queue_words([], {"mail": 4}) == ["mail:4"]
