import logging

import pytest

from django_jobs.texts import describe
from tests.probes import hostile


@pytest.fixture(params=sorted(hostile.KINDS))
def error(request):
    with pytest.raises(hostile.KINDS[request.param]) as raised:
        hostile.raise_indescribable(request.param)
    return raised.value


def test_an_exception_that_cannot_be_described_has_a_name_a_line_and_a_traceback(error):
    kind = type(error).__name__

    assert describe.in_a_line(error).startswith(f"{kind}: ")
    assert describe.path_of(type(error)) == f"tests.probes.hostile.{kind}"
    assert describe.formatted(error).splitlines()[0].startswith("Traceback")
    assert kind in describe.formatted(error)
    assert describe.is_a(error, Exception)
    assert not describe.is_a(error, (ValueError, KeyError))


def test_an_exception_that_cannot_be_described_can_be_logged(error, caplog):
    describe.log_error(logging.getLogger("django_jobs.worker"), error, "run=%s failed", 1)

    assert "run=1 failed" in caplog.text
    assert type(error).__name__ in caplog.text


def test_an_ordinary_exception_is_logged_as_it_is():
    error = ValueError("no paper")

    assert describe.loggable(error) is error


def test_a_handler_that_raises_ends_nothing(monkeypatch):
    log = logging.getLogger("tests.describe")

    def fail(*args, **more):
        raise KeyError("handler")

    monkeypatch.setattr(log, "handle", fail)
    describe.log_error(log, ValueError("no"), "failed")


def test_values_that_cannot_be_shown_are_named():
    class Odd:
        def __repr__(self):
            raise SystemExit

    assert describe.repr_of(Odd()).endswith("Odd, which cannot be shown>")
