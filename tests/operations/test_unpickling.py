import os
import pickle
import uuid
from contextlib import suppress
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from apscheduler.triggers.interval import IntervalTrigger

from django_jobs.exceptions import BadPayload
from django_jobs.operations.apscheduler import unpickling
from tests.probes import jobs as probes


class Calls:
    """Pickled as a call."""

    def __init__(self, function, *args):
        self.call = (function, args)

    def __reduce__(self):
        return self.call


PLAIN = [
    None,
    {"a": [1, 2.5, "x", b"y", (True,), {3}, frozenset({4})]},
    datetime(2026, 1, 2, 3, 4, tzinfo=ZoneInfo("Europe/Paris")),
    datetime(2026, 1, 2, 3, 4, tzinfo=timezone(timedelta(hours=2))),
    date(2026, 1, 2),
    time(3, 4, tzinfo=UTC),
    timedelta(days=1, microseconds=3),
    Decimal("1.50"),
    uuid.UUID("11111111-2222-3333-4444-555555555555"),
]


@pytest.mark.parametrize("protocol", [2, pickle.HIGHEST_PROTOCOL])
@pytest.mark.parametrize("value", PLAIN, ids=repr)
def test_plain_values_are_read(value, protocol):
    assert unpickling.read(pickle.dumps(value, protocol)) == value


def test_objects_of_apscheduler_are_records_of_their_state():
    record = unpickling.read(pickle.dumps(IntervalTrigger(seconds=3, timezone=UTC)))

    assert (type(record).__mro__[1], record.class_name) == (unpickling.Record, "IntervalTrigger")
    assert record.state["interval"] == timedelta(seconds=3)


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (Calls(os.system, "true"), "system"),
        (Calls(eval, "1"), "builtins.eval"),
        (Calls(getattr, datetime, "__subclasses__"), "builtins.getattr"),
        (Calls(getattr, ZoneInfo, "from_file"), "builtins.getattr"),
        (Calls(probes.mark, "called"), "tests.probes.jobs.mark"),
        (Calls(pickle.loads, b"N."), "_pickle.loads"),
        ({"deep": [(Calls(os.getcwd),)]}, "getcwd"),
        (probes.mark, "tests.probes.jobs.mark"),
        (bytearray(b"x"), "builtins.bytearray"),
    ],
    ids=["system", "eval", "getattr", "of a zone", "a job", "a pickle", "deep", "no call", "bytearray"],
)
def test_everything_else_is_refused_by_name_and_not_called(value, name, monkeypatch):
    # Up to the protocol that has its own word for a bytearray.
    pickled = pickle.dumps(value, 4)
    called = []
    monkeypatch.setattr(probes, "mark", called.append)

    with pytest.raises(BadPayload, match=f"its pickle names .*{name}"):
        unpickling.read(pickled)

    assert called == []


def test_what_stands_outside_the_pickle_is_refused():
    with pytest.raises(BadPayload, match="persistent object, 'x'"):
        unpickling.read(b"Px\n.")


# Sets an attribute of what was named: the state of an object with slots.
CHANGES = b"\x80\x02c%s\nN}X\x03\x00\x00\x00oddK\x01s\x86b."


@pytest.mark.parametrize("path", sorted(unpickling._VALUES))
def test_nothing_that_a_pickle_is_given_can_be_changed_by_it(path):
    changes = CHANGES % path.replace(".", "\n").encode()

    with pytest.raises(BadPayload, match="cannot be read"):
        unpickling.read(changes)

    assert not hasattr(unpickling._VALUES[path], "odd")


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("apscheduler.triggers.interval", "IntervalTrigger"),
        ("uuid", "UUID"),
        ("zoneinfo", "ZoneInfo"),
        ("pytz", "_p"),
    ],
)
def test_one_pickle_prepares_nothing_for_the_next(module, name):
    with suppress(BadPayload):
        unpickling.read(CHANGES % f"{module}\n{name}".encode())

    named = unpickling.read(f"c{module}\n{name}\n.".encode())

    assert not hasattr(named, "odd")
    assert not hasattr(IntervalTrigger, "odd")
    assert not hasattr(uuid.UUID, "odd")


def test_zones_of_pytz_are_read_without_it():
    # As pytz writes them.
    assert unpickling.read(b"\x80\x02cpytz\n_p\nX\x0c\x00\x00\x00Europe/Paris\x85R.").key == "Europe/Paris"
    assert unpickling.read(b"\x80\x02cpytz\n_UTC\n)R.") is UTC
    assert unpickling.read(b"\x80\x02cpytz\nFixedOffset\nK\x3c\x85R.") == timezone(timedelta(hours=1))


@pytest.mark.parametrize("damaged", [b"", b"no", b"\x80\x05", pickle.dumps({"a": 1})[:-3], b"\xff" * 20])
def test_what_is_damaged_says_so(damaged):
    with pytest.raises(BadPayload, match="its pickle cannot be read"):
        unpickling.read(damaged)
