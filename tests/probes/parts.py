"""Functions of batches."""

from pathlib import Path

from django_jobs import GiveUp, current_run, get_job_manager
from django_jobs.models import Dependency, Run
from tests.probes.models import Mark


def give(value=None):
    return value


def text_of(mark):
    return mark.text


def add(left, right=1):
    return left + right


def total(values):
    return sum(values)


def fail(*_):
    raise ValueError("no")


def name_of_error(value):
    return f"{type(value).__name__}: {value}"


def fail_unless(path):
    if not Path(path).exists():
        raise ValueError(f"{path} is not there")
    return "there"


def write_down(path, text):
    """Add a line to a file in one write, which processes do not mix."""
    with Path(path).open("a") as file:
        file.write(f"{text}\n")


def add_more(count):
    batch = current_run().batch
    batch.add(total, batch.add_many((give, [1]) for _ in range(count)))


def wait_for_own_batch():
    get_job_manager().wait(current_run().batch.id, 0)


async def add_more_async(value):
    batch = current_run().batch
    given = await batch.aadd(give, value)
    await given.athen(add)
    return batch.name


def node(number, given, *, is_bad, is_tried_again):
    """A run of a random graph: it says what it was given, and whether it began too early."""
    after = Dependency.objects.filter(run_id=current_run().run_id).values("after_id")
    if Run.objects.unfinished().filter(pk__in=after).exists():
        Mark.objects.create(text=f"early {number}")
    if is_tried_again and not Mark.objects.filter(text=f"tried {number}").exists():
        Mark.objects.create(text=f"tried {number}")
        raise ConnectionError
    if is_bad and not Mark.objects.filter(text=f"mended {number}").exists():
        raise GiveUp("bad")
    return [number, [one[0] if isinstance(one, list) else type(one).__name__ for one in given]]
