"""One more run of a job, with arguments that a person edited as JSON; the old run stays as it is."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from django.db.models import Q
from django.views.debug import SafeExceptionReporterFilter

from django_jobs import codec
from django_jobs.api.enqueue import have_begin
from django_jobs.exceptions import BadPayload, FunctionNotAllowed, FunctionNotFound, ObjectGone
from django_jobs.execution import instrumentation
from django_jobs.models import Run, Wait, jobs_database
from django_jobs.operations.named_arguments import bound_before
from django_jobs.registry import arguments, functions
from django_jobs.storage import batch_locks
from django_jobs.storage.batches import replacement
from django_jobs.storage.enqueue import insert
from django_jobs.storage.records import NewRun
from django_jobs.storage.transactions import database_now, write_transaction

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from django_jobs.models import Job

# The key of a run's options that says which run it was made from.
CHANGED_FROM = "changed_from"
HIDDEN = SafeExceptionReporterFilter.cleansed_substitute


class NotFitting(ValueError):
    """Arguments that no run can be made of; the text says why, for the person who edited them."""


def editable(run: Run) -> tuple[str, str]:
    """Return a run's arguments as JSON to edit, positional and named, with asterisks for secrets.

    Values that JSON has no word for are as they are stored: `{"$type": "date", "value": "2030-01-01"}`.

    Raises:
        BadPayload: The stored arguments are damaged, or their signature is not ours.
    """
    codec.verify(run.func, run.payload, run.signature)
    args, kwargs = _stored(run.payload)
    hidden = run.sensitive
    shown = [HIDDEN if i in hidden else _without_secrets(raw, hidden) for i, raw in enumerate(args)]
    return _text(shown), _text(_without_secrets(kwargs, hidden))


def changed(run: Run, args_text: str, kwargs_text: str) -> tuple[str, list[str]]:
    """Return the arguments to store for what a person made of a run's, and the names of those that differ.

    Asterisks that were left in place stand for the secret that they hid.

    Raises:
        NotFitting: It is no JSON, or nothing that the function could be called with; or the run's own
            signature is not ours, and so nobody of this project chose its function.
    """
    try:
        codec.verify(run.func, run.payload, run.signature)
    except BadPayload as error:
        raise NotFitting(str(error)) from error
    args, kwargs = parsed(args_text, list), parsed(kwargs_text, dict)
    try:
        old_args, old_kwargs = _stored(run.payload)
    except BadPayload:
        # Damaged: all of it is written again.
        old_args, old_kwargs = [], {}
    hidden = run.sensitive
    known = old_args if len(args) == len(old_args) else [None] * len(args)
    args = [
        _with_secret(
            raw,
            known[i],
            hidden,
            is_secret=i in hidden,
            path=f"argument {i + 1}",
        )
        for i, raw in enumerate(args)
    ]
    kwargs = _with_secrets(kwargs, old_kwargs, hidden, "")
    payload = _checked(run, args, kwargs, set(codec.referred([old_args, old_kwargs])))
    names = [
        str(i + 1) for i in range(max(len(args), len(old_args))) if args[i : i + 1] != old_args[i : i + 1]
    ]
    names += sorted(
        name
        for name in {*kwargs, *old_kwargs}
        if name not in kwargs or name not in old_kwargs or kwargs[name] != old_kwargs[name]
    )
    return payload, names


def enqueue(run: Run, payload: str) -> int:
    """Add a run like another one of its job, with other arguments; return its id.

    In a batch it takes the place of one that failed: what waited for that one waits for this.

    Raises:
        BadPayload: The signature of the other one is not ours: its function is not signed again.
    """
    codec.verify(run.func, run.payload, run.signature)
    using = jobs_database()
    new = NewRun.of(run, run.job_id, since=database_now(using), kind=run.kind)
    new.payload, new.signature = payload, codec.sign(run.func, payload)
    new.options = {**options_with(run, payload, new.options or {}), CHANGED_FROM: run.pk}
    with instrumentation.adding([new]):
        ids = (
            [_insert(new, run, using)]
            if run.batch_id or codec.has_references(payload)
            else insert([new], using=using)
        )
    have_begin(Q(pk=ids[0]), using=using)
    return ids[0]


def options_with(call: Job | Run, payload: str, kept: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return a call's options for other arguments: which of those are secret goes by their positions.

    Args:
        call: What the arguments were of.
        payload: The other ones.
        kept: Those of its options that a new run keeps. Defaults to all.
    """
    options = dict((call.options if kept is None else kept) or {})
    names = [name for name in options.pop("sensitive", ()) if isinstance(name, str)]
    bound = bound_before(call)
    hidden = [
        position - bound
        for position in arguments.hidden_positions(functions.resolve(call.func), frozenset(names))
        if position >= bound
    ]
    count = len(_stored(payload)[0])
    if sensitive := [*names, *(position for position in hidden if position < count)]:
        options["sensitive"] = sensitive
    return options


def _insert(new: NewRun, old: Run, using: str) -> int:
    with write_transaction(using):
        batch_locks.lock_of(old.options, using=using)
        # Somebody may have retried it since it was read.
        old = Run.objects.using(using).get(pk=old.pk)
        is_in_its_place = replacement.join(new, old)
        (run_id,) = insert([new], using=using)
        if is_in_its_place:
            replacement.replace(old, run_id, using=using)
        else:
            replacement.copy_dependencies(old.pk, run_id, using=using)
    return run_id


def _checked(run: Run, args: list[Any], kwargs: dict[str, Any], references: set[int]) -> str:
    """Return what the codec makes of edited arguments, if the function can be called with them.

    They may refer to the results that the run was given.
    """
    path = run.func
    if run.waits_for == Wait.DEPENDENCY:
        raise NotFitting("this run waits for others of its batch: cancel it first")
    if path in functions.OWN:
        raise NotFitting("the arguments of this job say who asked for it: ask for it again instead")
    try:
        function = functions.resolve(path)
        # Not trusted before it is signed: an enum's module, which a person may have typed, is not imported.
        values = [codec.loads(json.dumps(raw), references=references) for raw in (args, kwargs)]
        arguments.check_arguments(path, function, (*[None] * bound_before(run), *values[0]), values[1])
        payload = arguments.stored_arguments(tuple(values[0]), values[1])
    except (FunctionNotAllowed, FunctionNotFound, BadPayload, ObjectGone, TypeError, ValueError) as error:
        raise NotFitting(str(error)) from error
    lost = set(_enums([args, kwargs])) - set(_enums(json.loads(payload)))
    if lost:
        raise NotFitting(f"this process does not know the enum {min(lost)}; give its value instead")
    return payload


def _enums(raw: Any) -> Iterator[str]:
    """Yield what enum members are named in stored values."""
    if isinstance(raw, dict):
        content = raw.get(codec.VALUE)
        if raw.get(codec.TAG) == "enum" and isinstance(content, list) and content:
            yield str(content[0])
        raw = list(raw.values())
    if isinstance(raw, list):
        for item in raw:
            yield from _enums(item)


def _stored(payload: str) -> tuple[list[Any], dict[str, Any]]:
    try:
        stored = json.loads(payload)
        args, kwargs = stored["args"], stored["kwargs"]
    except (ValueError, TypeError, LookupError) as error:
        raise BadPayload(f"the stored arguments cannot be read: {error}") from error
    if not isinstance(args, list) or not isinstance(kwargs, dict):
        raise BadPayload("the stored arguments must have a list 'args' and an object 'kwargs'")
    return args, kwargs


def parsed(text: str, kind: type[Any]) -> Any:
    """Return the JSON that a person wrote.

    Args:
        text: What was written.
        kind: `list`, `dict`, or `object` for any value.

    Raises:
        NotFitting: It is none, or none of this kind.
    """
    try:
        value = json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise NotFitting(f"this is not JSON: {error}") from error
    if not isinstance(value, kind):
        example = "[...]" if kind is list else "{...}"
        raise NotFitting(f"expected {example}, not {type(value).__name__}")
    return value


def _refuse(word: str) -> Any:
    raise ValueError(f'{word} is not JSON; write {{"$type": "float", "value": "{word.lower()}"}}')


def _text(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)


def _is_secret(name: Any, hidden: Collection[str | int]) -> bool:
    return name in hidden or bool(
        isinstance(name, str) and SafeExceptionReporterFilter.hidden_settings.search(name)
    )


def _is_dict_of_pairs(raw: Any) -> bool:
    return (
        isinstance(raw, dict)
        and raw.get(codec.TAG) == "dict"
        and isinstance(raw.get(codec.VALUE), list)
        and all(isinstance(pair, list) and len(pair) == 2 for pair in raw[codec.VALUE])
    )


def _without_secrets(raw: Any, hidden: Collection[str | int]) -> Any:
    """Return a stored value with asterisks for what pages do not show."""
    if isinstance(raw, list):
        return [_without_secrets(item, hidden) for item in raw]
    if not isinstance(raw, dict):
        return raw
    if _is_dict_of_pairs(raw):
        pairs = [
            [key, HIDDEN if _is_secret(key, hidden) else _without_secrets(item, hidden)]
            for key, item in raw[codec.VALUE]
        ]
        return {**raw, codec.VALUE: pairs}
    return {
        key: HIDDEN if _is_secret(key, hidden) else _without_secrets(item, hidden)
        for key, item in raw.items()
    }


def _with_secret(raw: Any, old: Any, hidden: Collection[str | int], *, is_secret: bool, path: str) -> Any:
    if is_secret:
        if raw == HIDDEN and old is None:
            raise NotFitting(f"{path} is only asterisks: write its value")
        return old if raw == HIDDEN else raw
    return _with_secrets(raw, old, hidden, path)


def _with_secrets(raw: Any, old: Any, hidden: Collection[str | int], path: str) -> Any:
    """Return an edited value with the old one's secrets where asterisks were left."""
    if raw == HIDDEN and old != HIDDEN:
        raise NotFitting(f"{path} is only asterisks: write its value")
    if isinstance(raw, list):
        # Of a list that became longer or shorter nobody knows which item was which.
        items = old if isinstance(old, list) and len(old) == len(raw) else [None] * len(raw)
        return [_with_secrets(item, items[i], hidden, f"{path}[{i}]") for i, item in enumerate(raw)]
    if not isinstance(raw, dict):
        return raw
    if _is_dict_of_pairs(raw):
        by_key = {json.dumps(key): item for key, item in old[codec.VALUE]} if _is_dict_of_pairs(old) else {}
        pairs = [
            [
                key,
                _with_secret(
                    item,
                    by_key.get(json.dumps(key)),
                    hidden,
                    is_secret=_is_secret(key, hidden),
                    path=f"{path}[{key!r}]",
                ),
            ]
            for key, item in raw[codec.VALUE]
        ]
        return {**raw, codec.VALUE: pairs}
    olds = old if isinstance(old, dict) else {}
    return {
        key: _with_secret(
            item,
            olds.get(key),
            hidden,
            is_secret=_is_secret(key, hidden),
            path=f"{path}[{key!r}]" if path else repr(key),
        )
        for key, item in raw.items()
    }
