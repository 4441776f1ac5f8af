import enum
import io
import json
import math
import subprocess
import sys
import timeit
import uuid
from collections import Counter, OrderedDict, defaultdict, namedtuple
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from pathlib import Path, PurePosixPath
from types import SimpleNamespace
from zoneinfo import ZoneInfo

import pytest
from django.contrib.auth.models import AnonymousUser, Group, Permission, User
from django.core.signing import Signer
from django.db import models
from django.http import QueryDict
from django.utils.functional import SimpleLazyObject
from django.utils.safestring import mark_safe
from django.utils.translation import gettext_lazy

from django_jobs import codec
from django_jobs.codec import encoding, tags
from django_jobs.codec.text import reader
from django_jobs.exceptions import BadPayload, InvalidArgument, ObjectGone

BERLIN = ZoneInfo("Europe/Berlin")
NAIVE = datetime.fromisoformat("2026-07-01T12:00:00.000007")
STARS = "********************"


class Color(enum.Enum):
    RED = "red"
    GREEN = object()


class Right(enum.Flag):
    READ = 1
    WRITE = 2


class Status(models.TextChoices):
    DRAFT = "D", gettext_lazy("Draft")


class Box:
    class Size(enum.IntEnum):
        LARGE = 3


class Money:
    def __init__(self, amount, currency):
        self.amount = amount
        self.currency = currency


class Coin(Money):
    pass


Point = namedtuple("Point", "x y")


@dataclass
class Line:
    length: int


class Slug(str):
    __slots__ = ()

    def __str__(self):
        return "something else"


class FrozenDatetime(datetime):
    pass


class LocalZone(tzinfo):
    key = "local"

    def utcoffset(self, moment):
        return timedelta(hours=2)


class NoTime(datetime):
    def isoformat(self, *args):
        return "NaT"


def round_trip(value):
    return codec.loads(codec.dumps(value), trusted=True)


def register_money():
    codec.register(
        Money, "money", lambda m: {"amount": m.amount, "currency": m.currency}, lambda raw: Money(**raw)
    )


# Values


VALUES = [
    None, True, False, 0, -7, 10**30, 1.5, 1e300, -0.0, math.inf, -math.inf, "", "ä☃😀", "\x00", "\u2028",
    [], {}, [1, [2, [None]]], {"a": {"b": [1.5, "x"]}}, (), (1, (2, "x")), set(), {1, 2}, frozenset({(1, 2)}),
    {frozenset({1})}, date(2024, 2, 29), time(3, 30, 15, 7), time(3, 30, tzinfo=UTC), datetime.min.replace(tzinfo=UTC),
    NAIVE, datetime(2026, 11, 24, tzinfo=UTC),
    datetime(2026, 11, 24, tzinfo=timezone(timedelta(hours=-3, minutes=-30))),
    timedelta(days=-1, microseconds=1), timedelta.max, Decimal("1.10"), Decimal("-Infinity"), uuid.UUID(int=7),
    b"", b"\x00\xff", Path("/a/b c"), Path(), Color.RED, Color.GREEN, Right.READ, Right.READ | Right.WRITE,
    Right(0), Status.DRAFT, Box.Size.LARGE, {1: "a", None: "b", (1, 2): "c", Color.RED: "d"},
    {"$type": "datetime", "value": "x"}, {"$type": 1}, [{"a": ({"b": {date(2026, 1, 1)}},)}],
]  # fmt: skip


@pytest.mark.parametrize("value", VALUES, ids=[f"{i}-{type(v).__name__}" for i, v in enumerate(VALUES)])
def test_a_value_comes_back_as_it_was(value):
    back = round_trip(value)

    assert back == value
    assert type(back) is type(value)
    assert repr(back) == repr(value)


def test_nan_comes_back():
    assert math.isnan(round_trip(math.nan))
    assert round_trip(Decimal("NaN")).is_nan()


def test_no_float_is_stored_as_invalid_json():
    text = codec.dumps([math.nan, math.inf])

    assert json.loads(text, parse_constant=pytest.fail)


def test_plain_values_are_stored_as_plain_compact_json():
    assert codec.dumps({"a": [1, "ä", None, True, 1.5]}) == '{"a":[1,"ä",null,true,1.5]}'


@pytest.mark.parametrize(
    ("value", "back"),
    [
        (bytearray(b"ab"), b"ab"),
        (memoryview(b"ab"), b"ab"),
        (mark_safe("<b>"), "<b>"),
        (Slug("a"), "a"),
        (type("Whole", (int,), {})(7), 7),
        (type("Real", (float,), {})(1.5), 1.5),
        (OrderedDict(a=1), {"a": 1}),
        (defaultdict(list, a=[1]), {"a": [1]}),
        (Counter("aab"), {"a": 2, "b": 1}),
        ({mark_safe("key"): 1}, {"key": 1}),
        (gettext_lazy("Draft"), "Draft"),
        (PurePosixPath("/a/b"), Path("/a/b")),
        (FrozenDatetime(2026, 11, 24, tzinfo=UTC), datetime(2026, 11, 24, tzinfo=UTC)),
    ],
)
def test_a_relative_of_a_plain_type_comes_back_as_the_plain_type(value, back):
    assert round_trip(value) == back
    assert type(round_trip(value)) is type(back)


def test_an_aware_datetime_keeps_its_zone():
    moment = datetime(2026, 7, 1, 12, tzinfo=BERLIN)

    back = round_trip(moment)

    assert back == moment
    assert back.tzinfo is BERLIN
    assert back + timedelta(days=180) == moment + timedelta(days=180)


@pytest.mark.parametrize("fold", [0, 1])
@pytest.mark.parametrize("zone", [None, UTC, BERLIN])
def test_the_two_times_of_a_clock_set_back_stay_apart(fold, zone):
    moment = datetime(2026, 10, 25, 2, 30, tzinfo=zone, fold=fold)

    back = round_trip(moment)

    assert (back, back.fold, back.utcoffset()) == (moment, fold, moment.utcoffset())
    assert round_trip(time(2, 30, tzinfo=zone, fold=fold)).fold == fold


def test_a_time_keeps_its_zone():
    assert round_trip(time(2, 30, tzinfo=BERLIN)).tzinfo is BERLIN


def test_a_zone_that_has_no_name_elsewhere_is_kept_as_an_offset():
    moment = datetime(2026, 7, 1, 12, tzinfo=LocalZone())

    back = round_trip(moment)

    assert back == moment
    assert back.utcoffset() == timedelta(hours=2)


def test_half_of_a_surrogate_pair_is_stored_as_text_that_a_database_takes():
    name = b"caf\xe9.txt".decode(errors="surrogateescape")

    text = codec.dumps({"name": name, "other": "ä"})

    assert text.isascii()
    assert codec.loads(text) == {"name": name, "other": "ä"}


def test_simple_arguments_cost_microseconds():
    args, kwargs = (7, "report"), {"user": 3, "tags": ["a", "b"], "deep": {"x": 1.5}}

    best = min(timeit.repeat(lambda: codec.dump_arguments(args, kwargs), number=1000, repeat=5)) / 1000

    assert best < 0.0002, "a bound on failure; some 8 µs are usual"


# What cannot be stored


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (
            io.StringIO(),
            "is a _io.StringIO, which cannot be stored; pass its path or id instead, or register",
        ),
        (object(), "is a object, which cannot be stored; pass its path or id"),
        (print, "is a builtin_function_or_method"),
        (1j, "is a complex"),
        (Point(1, 2), "pass a dict: value._asdict()"),
        (Line(1), "dataclasses.asdict(value)"),
        (QueryDict("a=1&a=2"), "value.dict(), or dict(value.lists())"),
        (type("Bag", (dict,), {})(), "pass dict(value)"),
        (type("Row", (list,), {})(), "pass list(value)"),
        (type("Pair", (tuple,), {})(), "pass tuple(value)"),
        (type("Tags", (set,), {})(), "pass set(value)"),
        (range(3), "pass list(value)"),
        ((n for n in [1]), "is a generator, which cannot be stored; pass list(value)"),
        ({}.keys(), "pass list(value)"),
        (AnonymousUser(), "is a django.contrib.auth.models.AnonymousUser"),
        (SimpleLazyObject(AnonymousUser), "is a django.contrib.auth.models.AnonymousUser"),
        (User(username="new"), "is an unsaved auth.user, which cannot be stored; save it first"),
        (User(pk=7), "is an unsaved auth.user"),
        (NoTime(2026, 1, 1), "is more than a datetime"),
    ],
)
def test_a_value_that_cannot_come_back_is_refused_with_the_way_out(value, words):
    with pytest.raises(InvalidArgument) as caught:
        codec.dumps(value, path="the result")

    assert str(caught.value).startswith("the result ")
    assert words in str(caught.value)


def test_an_integer_that_python_does_not_spell_out_is_refused():
    with pytest.raises(InvalidArgument, match=r"^value cannot be stored: .*4300 digits"):
        codec.dumps([10**5000])


def test_a_queryset_is_refused_without_a_query():
    with pytest.raises(InvalidArgument, match="list of primary keys"):
        codec.dumps(User.objects.all())


def test_an_enum_that_nothing_can_import_is_refused():
    class Local(enum.Enum):
        A = 1

    with pytest.raises(InvalidArgument, match="other processes cannot import; pass its value"):
        codec.dumps(Local.A)


def test_an_enum_of_the_main_script_is_refused(monkeypatch):
    main = enum.Enum("Mode", "FAST", module="__main__")
    monkeypatch.setattr(sys.modules["__main__"], "Mode", main, raising=False)

    with pytest.raises(InvalidArgument, match="other processes cannot import"):
        codec.dumps(main.FAST)


def test_a_list_that_contains_itself_is_refused():
    rows = []
    rows.append({"rows": rows})

    with pytest.raises(InvalidArgument, match=r"^value\[0\]\['rows'\] contains itself"):
        codec.dumps(rows)


def test_a_dict_of_pairs_that_contains_itself_is_refused():
    tree = {1: []}
    tree[1].append(tree)

    with pytest.raises(InvalidArgument, match=r"^value\[1\]\[0\] contains itself"):
        codec.dumps(tree)


def test_the_same_list_twice_is_no_circle():
    row = [1]

    assert round_trip([row, row, {"a": row}]) == [[1], [1], {"a": [1]}]


def test_a_value_nested_as_deeply_as_permitted_comes_back_and_one_more_is_refused():
    deepest = "leaf"
    for _ in range(encoding.MAX_DEPTH):
        deepest = (deepest,)

    assert round_trip(deepest) == deepest
    with pytest.raises(InvalidArgument, match="nested more than 100 deep"):
        codec.dumps([deepest])


@pytest.mark.parametrize(
    ("args", "kwargs", "place"),
    [
        ((1, io.StringIO()), {}, "argument 2 is"),
        ((), {"user": object()}, "argument 'user' is"),
        ((), {"rows": [0, 1, 2, {"file": object()}]}, "argument 'rows'[3]['file'] is"),
        (({1: {"a": object()}},), {}, "argument 1[1]['a'] is"),
        (({(1, print): 1},), {}, "argument 1[the key <tuple>][1] is"),
        ((((1, object()),),), {}, "argument 1[0][1] is"),
    ],
)  # fmt: skip
def test_the_message_names_the_place(args, kwargs, place):
    with pytest.raises(InvalidArgument) as caught:
        codec.dump_arguments(args, kwargs)

    assert str(caught.value).startswith(place)


# Model instances


@pytest.mark.django_db
def test_a_model_instance_comes_back_from_the_database_as_it_is_now():
    user = User.objects.create(username="anna")
    text = codec.dumps(user)
    User.objects.update(username="berta")

    back = codec.loads(text)

    assert (type(back), back.pk, back.username) == (User, user.pk, "berta")


@pytest.mark.django_db
def test_a_lazy_user_as_on_a_request_is_stored_as_the_user():
    user = User.objects.create(username="anna")

    assert round_trip(SimpleLazyObject(lambda: user)) == user


@pytest.mark.django_db
def test_a_deferred_instance_comes_back_whole():
    User.objects.create(username="anna")

    back = round_trip(User.objects.only("pk").get())

    assert not back.get_deferred_fields()


@pytest.mark.django_db
def test_a_deleted_object_is_named():
    group = Group.objects.create(name="staff")
    text, key = codec.dumps(group), group.pk
    Group.objects.all().delete()

    with pytest.raises(ObjectGone, match=rf"^auth\.group with pk {key} no longer exists$"):
        codec.loads(text)


@pytest.mark.django_db
def test_a_deleted_instance_is_refused():
    group = Group.objects.create(name="staff")
    group.delete()

    with pytest.raises(InvalidArgument, match=r"unsaved auth\.group"):
        codec.dumps(group)


@pytest.mark.django_db
def test_an_instance_of_a_database_that_is_gone_is_read_where_the_router_says():
    group = Group.objects.create(name="staff")
    text = codec.dumps(group).replace('"default"', '"old"')

    assert codec.loads(text) == group


@pytest.mark.django_db
def test_an_object_that_a_default_manager_hides_is_found(monkeypatch):
    group = Group.objects.create(name="staff")
    monkeypatch.setitem(Group._meta.__dict__, "default_manager", Permission.objects)

    assert round_trip(group) == group


# Damaged and foreign text


@pytest.mark.parametrize(
    "text",
    [
        "", "{", "nonsense", '{"$type":"nothing","value":1}', '{"$type":["list"],"value":1}', '{"$type":"datetime"}',
        '{"$type":"datetime","value":"yesterday"}', '{"$type":"datetime","value":["2026-01-01","Mars/Base",0]}',
        '{"$type":"decimal","value":"x"}', '{"$type":"uuid","value":7}', '{"$type":"bytes","value":"?"}',
        '{"$type":"tuple","value":7}', '{"$type":"set","value":[[]]}', '{"$type":"dict","value":[[1]]}',
        '{"$type":"model","value":["no.such",1,"default"]}', '{"$type":"model","value":["nonsense",1,"default"]}',
        '{"$type":"model","value":["auth.user","x","default"]}', '{"$type":"timedelta","value":[1e99]}',
        "[" * 100_000 + "]" * 100_000, '{"a":' * 5000 + "1" + "}" * 5000,
    ],
)  # fmt: skip
@pytest.mark.django_db
def test_damaged_text_is_one_kind_of_error(text):
    with pytest.raises(BadPayload):
        codec.loads(text)


def test_text_nested_deeper_than_python_follows_is_shown_as_it_is():
    text = '{"a":' * 5000 + "1" + "}" * 5000

    assert codec.plain(text) == text


@pytest.fixture
def enum_elsewhere(tmp_path, monkeypatch):
    name = f"enums_{uuid.uuid4().hex}"
    (tmp_path / f"{name}.py").write_text("import enum\nclass Mode(enum.Enum):\n    FAST = 'fast'\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield name, json.dumps({"$type": "enum", "value": [f"{name}:Mode", "FAST", "fast"]})
    sys.modules.pop(name, None)


def test_trusted_text_imports_the_module_of_an_enum(enum_elsewhere):
    name, text = enum_elsewhere

    mode = codec.loads(text, trusted=True)

    assert mode is sys.modules[name].Mode.FAST


def test_untrusted_text_imports_nothing(enum_elsewhere):
    name, text = enum_elsewhere

    assert codec.loads(text) == "fast"
    assert codec.plain(text) == "fast"
    assert name not in sys.modules


def test_untrusted_text_finds_an_enum_that_is_imported():
    assert codec.loads(codec.dumps([Color.RED, Right.READ | Right.WRITE])) == [
        Color.RED,
        Right.READ | Right.WRITE,
    ]


@pytest.mark.parametrize(
    "reference",
    [
        "os:system",
        "tests.codec.test_codec:Money",
        "tests.codec.test_codec:Gone",
        "tests.codec.test_codec",
        "enum:Enum.x",
    ],
)
def test_what_is_not_an_enum_is_not_found(reference):
    text = json.dumps({"$type": "enum", "value": [reference, "RED", 1]})

    assert codec.loads(text) == 1
    with pytest.raises(BadPayload, match="there is no enum member"):
        codec.loads(text, trusted=True)


@pytest.mark.parametrize("reference", ["no_such_module_at_all:Mode", ":Mode", "..x:Mode"])
def test_an_enum_of_a_module_that_is_gone_is_a_damaged_payload(reference):
    with pytest.raises(BadPayload, match="cannot"):
        codec.loads(json.dumps({"$type": "enum", "value": [reference, "A", 1]}), trusted=True)


def test_a_renamed_enum_member_is_not_guessed_by_its_value():
    text = codec.dumps(Color.RED).replace("RED", "CRIMSON")

    with pytest.raises(BadPayload, match=r"Color\.CRIMSON; was it renamed"):
        codec.loads(text, trusted=True)


# Registered types


@pytest.mark.usefixtures("registry")
def test_a_registered_type_comes_back():
    register_money()

    back = round_trip([Money(Decimal("1.10"), "EUR")])[0]

    assert (type(back), back.amount, back.currency) == (Money, Decimal("1.10"), "EUR")


@pytest.mark.usefixtures("registry")
def test_a_subclass_of_a_registered_type_is_refused():
    register_money()

    with pytest.raises(InvalidArgument, match="Coin"):
        codec.dumps(Coin(1, "EUR"))


@pytest.mark.usefixtures("registry")
def test_a_registered_type_wins_over_its_base_class():
    codec.register(Point, "point", list, lambda raw: Point(*raw))
    codec.register(Slug, "slug", str.upper, Slug)

    assert type(round_trip(Point(1, 2))) is Point
    assert type(round_trip(Slug("a"))) is Slug


@pytest.mark.usefixtures("registry")
def test_an_encoder_that_raises_is_named_with_its_cause():
    codec.register(Money, "money", lambda money: money.missing, Money)

    with pytest.raises(InvalidArgument, match="encoder registered for it raised AttributeError") as caught:
        codec.dumps(Money(1, "EUR"))

    assert isinstance(caught.value.__cause__, AttributeError)


@pytest.mark.usefixtures("registry")
def test_an_encoder_that_returns_its_own_type_does_not_run_for_ever():
    codec.register(Money, "money", lambda money: Money(money.amount, "EUR"), Money)

    with pytest.raises(InvalidArgument, match="nested more than"):
        codec.dumps(Money(1, "EUR"))


@pytest.mark.usefixtures("registry")
def test_a_decoder_that_raises_is_a_damaged_payload():
    codec.register(Money, "money", lambda _: 1, lambda raw: raw["amount"])

    with pytest.raises(BadPayload, match="a stored money cannot be read: TypeError"):
        round_trip(Money(1, "EUR"))


@pytest.mark.usefixtures("registry")
def test_a_new_tag_leaves_the_old_one_readable():
    register_money()
    text = codec.dumps(Money(1, "EUR"))

    codec.register(Money, "money2", lambda money: [money.amount, money.currency], lambda raw: Money(*raw))

    assert codec.loads(text).currency == "EUR"
    assert round_trip(Money(1, "USD")).currency == "USD"


@pytest.mark.usefixtures("registry")
@pytest.mark.parametrize(
    ("type_", "tag", "words"),
    [
        (Line, "money", "already belongs to tests.codec.test_codec.Money"),
        (Line, "datetime", "reserved"),
        (Line, "", "non-empty"),
        (datetime, "moment", "stored by django_jobs itself"),
        (str, "text", "stored by django_jobs itself"),
    ],
)
def test_a_registration_that_would_be_ambiguous_is_refused(type_, tag, words):
    register_money()

    with pytest.raises(ValueError, match=words):
        codec.register(type_, tag, str, str)


def test_registering_a_name_instead_of_a_class_is_refused():
    with pytest.raises(TypeError, match="expected a class"):
        codec.register("Money", "money", str, str)


# Arguments


def test_arguments_come_back():
    args, kwargs = (1, ("a",), {"x": {1, 2}}), {"at": date(2026, 1, 1), "$type": "tuple", "value": [1]}

    payload = codec.dump_arguments(args, kwargs)

    assert codec.load_arguments(payload) == (args, kwargs)


def test_no_arguments_are_stored_compactly():
    assert codec.dump_arguments((), {}) == '{"args":[],"kwargs":{}}'


@pytest.mark.parametrize(
    "payload",
    ["", "[]", "null", "{}", '{"args":{},"kwargs":{}}', '{"args":[]}', '{"args":[],"kwargs":[]}', "{"],
)
def test_a_payload_of_another_shape_is_refused(payload):
    with pytest.raises(BadPayload):
        codec.load_arguments(payload)
    with pytest.raises(BadPayload):
        codec.display_arguments(payload)


# Showing


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (datetime(2026, 7, 1, 12, tzinfo=BERLIN), "2026-07-01T12:00:00+02:00"),
        (NAIVE, "2026-07-01T12:00:00.000007"),
        (date(2026, 7, 1), "2026-07-01"),
        (time(3, 30), "03:30:00"),
        (timedelta(minutes=1.5), 90.0),
        (Decimal("1.10"), "1.10"),
        (uuid.UUID(int=7), "00000000-0000-0000-0000-000000000007"),
        (b"ab", "YWI="),
        (Path("/a/b"), "/a/b"),
        ((1, (2,)), [1, [2]]),
        ({3, 1, 2}, [1, 2, 3]),
        (frozenset({Decimal(1)}), ["1"]),
        ([Color.RED, Color.GREEN, Right.WRITE], ["red", "GREEN", 2]),
        ({1: date(2026, 1, 1), None: 2, (1, 2): 3}, {"1": "2026-01-01", "null": 2, "[1,2]": 3}),
        ({"$type": "x"}, {"$type": "x"}),
        (math.nan, "nan"),
    ],
)
def test_a_value_is_shown_without_tags(value, shown):
    assert codec.plain(codec.dumps(value)) == shown
    json.dumps(codec.plain(codec.dumps(value)), allow_nan=False)


def test_a_set_that_cannot_be_sorted_is_shown_in_some_order():
    assert set(codec.plain(codec.dumps({1, "a"}))) == {1, "a"}


def test_a_model_instance_is_shown_without_a_query():
    text = '{"$type":"model","value":["auth.user",7,"default"]}'

    assert codec.plain(text) == "auth.user:7"


@pytest.mark.usefixtures("registry")
def test_a_registered_type_is_shown_as_it_is_stored():
    register_money()
    text = codec.dumps(Money(Decimal("1.10"), "EUR"))
    tags.custom_by_tag.clear()

    assert codec.plain(text) == {"amount": "1.10", "currency": "EUR"}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (None, None),
        ("", None),
        ("{", "{"),
        ('{"$type":"nothing","value":[1]}', [1]),
        ('{"$type":["x"],"value":1}', 1),
        ('{"$type":"datetime","value":[]}', []),
        ('{"$type":"timedelta","value":"x"}', "x"),
        ('{"$type":"dict"}', None),
        ("[NaN]", ["NaN"]),
    ],
)
def test_showing_never_raises(text, shown):
    assert codec.plain(text) == shown


def test_secrets_are_not_shown_at_any_depth():
    payload = codec.dump_arguments(
        (1, {"api_token": "t", "rows": [{"PASSWORD": {"a": 1}}, {1: 2, "secret": 3}]}),
        {"password": "p", "user": {"name": "anna", "iban": "DE1"}, "when": date(2026, 1, 1)},
    )

    args, kwargs = codec.display_arguments(payload, sensitive=["iban", 0])

    assert args == [STARS, {"api_token": STARS, "rows": [{"PASSWORD": STARS}, {"1": 2, "secret": STARS}]}]
    assert kwargs == {"password": STARS, "user": {"name": "anna", "iban": STARS}, "when": "2026-01-01"}


@pytest.mark.usefixtures("registry")
def test_secrets_within_a_registered_type_are_not_shown():
    codec.register(SimpleNamespace, "space", vars, lambda raw: SimpleNamespace(**raw))
    payload = codec.dump_arguments((SimpleNamespace(secret="s", name="n"),), {})

    assert codec.display_arguments(payload)[0] == [{"secret": STARS, "name": "n"}]


# Signatures


def test_a_signed_payload_verifies():
    signature = codec.sign("app.jobs:send", "{}")

    codec.verify("app.jobs:send", "{}", signature)

    assert len(signature) <= 64


@pytest.mark.parametrize(
    ("func", "payload", "cut"),
    [("app.jobs:other", "{}", 0), ("app.jobs:send", "{ }", 0), ("app.jobs:send", "{}", 1)],
)
def test_a_changed_row_does_not_verify(func, payload, cut):
    signature = codec.sign("app.jobs:send", "{}")

    with pytest.raises(
        BadPayload, match=rf"signature of {func} does not match: .*SECRET_KEY_FALLBACKS.*jobs re-sign"
    ):
        codec.verify(func, payload, signature[cut:])


@pytest.mark.parametrize("signature", ["", "ä", ":", "x" * 64])
def test_a_signature_that_is_none_does_not_verify(signature):
    with pytest.raises(BadPayload):
        codec.verify("app.jobs:send", "{}", signature)


def test_a_part_of_the_payload_cannot_be_moved_into_the_signature():
    signature = codec.sign("app.jobs:send", "{}:more")

    with pytest.raises(BadPayload):
        codec.verify("app.jobs:send", "{}", f"more:{signature}")


@pytest.mark.parametrize("key", ["text", b"bytes", "Schlüssel", ""])
def test_signatures_are_those_of_djangos_signer(settings, key):
    settings.SECRET_KEY = key or "x"
    settings.SECRET_KEY_FALLBACKS = []

    payloads = ['{"args":["ä"],"kwargs":{}}', codec.dump_arguments((), {})]

    made = [codec.sign("app.jobs:send", payload) for payload in payloads]

    signer = Signer(salt="django_jobs.payload")
    assert made == [signer.signature(f"app.jobs:send\n{payload}") for payload in payloads]


def test_a_signature_made_for_something_else_does_not_verify():
    signature = Signer(salt="elsewhere").signature("app.jobs:send\n{}")

    with pytest.raises(BadPayload):
        codec.verify("app.jobs:send", "{}", signature)


# The signature of a call without arguments is kept.
@pytest.mark.parametrize("payload", [codec.dump_arguments((), {}), codec.dump_arguments((1,), {})])
def test_a_rotated_key_verifies_while_it_is_a_fallback(settings, payload):
    settings.SECRET_KEY = "old"
    signature = codec.sign("app.jobs:send", payload)
    codec.verify("app.jobs:send", payload, signature)

    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = "new", ["older", "old"]
    codec.verify("app.jobs:send", payload, signature)

    settings.SECRET_KEY_FALLBACKS = []
    with pytest.raises(BadPayload):
        codec.verify("app.jobs:send", payload, signature)
    with pytest.raises(BadPayload):
        codec.verify("app.jobs:other", payload, signature)


def test_the_module_can_be_imported_before_apps_are_loaded():
    code = (
        "from django_jobs import codec, triggers; from django_jobs.registry import retry; from django.apps import apps; "
        "assert not apps.ready; print(codec.dumps([1]))"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout == "[1]\n"


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        ' {"a": [1, null]}\n',
        "7",
        '"x"',
        "[1] ",
        "[NaN, -Infinity]",
        "",
        " ",
        "{",
        "[1] x",
        "[1]]",
        "nul",
        "\ufeff1",
    ],
)
def test_a_text_is_read_as_the_decoder_reads_it(text):
    decoder = json.JSONDecoder(parse_constant=str)

    def read(by):
        try:
            return by(text)
        except ValueError as error:
            return str(error)

    assert read(reader(decoder)) == read(decoder.decode)
