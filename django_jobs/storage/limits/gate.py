"""Where runs with a limit begin: which of them may, and which go into the line of their key."""

from __future__ import annotations

from collections import defaultdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from django.db import connections, transaction

from django_jobs.models import Status, Wait
from django_jobs.registry.limits import digest, seen
from django_jobs.storage import endings, outcomes, release, statistics
from django_jobs.storage.backends.choose import backend_of
from django_jobs.storage.limits import edits, line, pace
from django_jobs.storage.records import Outcome
from django_jobs.storage.transactions import database_now, write_transaction

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Any

    from django_jobs.storage.backends.base import Backend
    from django_jobs.storage.records import ClaimedRun, Key, NewRun

# What the error of a run begins with that found its limit full, and does not wait.
FULL = "LimitFull"


def has_limit(options: Mapping[str, Any] | None) -> bool:
    """Return whether a run with these options has a limit."""
    return options is not None and "limit" in options


def place(runs: Iterable[NewRun], *, using: str) -> None:
    """Have new runs wait in their lines where there is no room now; a guess, which no lock holds.

    Called before they are inserted, in the transaction that does; `placed` follows.

    Args:
        runs: Each with a limit.
        using: Alias of the database.
    """
    edits.refresh(using)
    by_key: dict[str, list[NewRun]] = defaultdict(list)
    for run in runs:
        if run.run_after == "now" and run.status == "READY":
            by_key[_key_of(run)].append(run)
    keys = sorted(by_key)
    backend = backend_of(connections[using])
    for start in range(0, len(keys), line.BATCH):
        some = keys[start : start + line.BATCH]
        begun = backend.count_begun(some)
        in_order = [key for key in some if any(_limit_of(run).get("in_order") for run in by_key[key])]
        taken = backend.open_keys(in_order) if in_order else set()
        rated = [key for key in some if "every" in _limit_of(by_key[key][0])]
        if rated:
            now = database_now(using)
            free = pace.without_head(rated, using)
            taken |= {key for key in rated if key not in free or free[key] > now}
        for key in some:
            for count, run in enumerate(by_key[key], begun.get(key, 0)):
                _place(run, count, is_taken=key in taken)


def _place(run: NewRun, before: int, *, is_taken: bool) -> None:
    """Have a new run wait, or end it, where so many run or begin before it.

    Args:
        run: The run.
        before: Those of its key that run or are due.
        is_taken: Whether, in a key in order, any run is unfinished; in one with a rate, whether none may begin now.
    """
    limit = _limit_of(run)
    if limit.get("in_order"):
        if is_taken or before or not limit["concurrency"]:
            run.run_after, run.waits_for = "held", Wait.ORDER.value
    elif before >= limit["concurrency"] or ("every" in limit and (is_taken or before)):
        if limit.get("when_full") == "skip":
            run.status, run.error = Status.SKIPPED.value, _full_text(run)
            if run.scheduled_at is None:
                # Its id is free for the next one.
                run.unique_key = None
        else:
            run.run_after, run.waits_for = "held", Wait.LIMIT.value


def _full_text(run: NewRun | ClaimedRun) -> str:
    limit = _limit_of(run)
    if "every" in limit:
        return f"{FULL}: no more of {limit['key']!r} may begin now"
    return f"{FULL}: {limit['concurrency']} of {limit['key']!r} ran, as many as may"


def placed(runs: Sequence[NewRun], ids: Sequence[int], *, using: str) -> None:
    """Do what is to be done about new runs that do not begin now, in the transaction that has inserted them.

    Args:
        runs: That `place` has looked at.
        ids: Theirs; empty where the database does not say.
        using: Alias of the database.
    """
    limits = {
        _key_of(run): _limit_of(run)
        for run in runs
        if has_limit(run.options) and run.waits_for in {Wait.LIMIT, Wait.ORDER}
    }
    if limits:
        if any("every" in limit for limit in limits.values()):
            line.advance({key: limit for key, limit in limits.items() if "every" in limit}, using=using)
        # What ended meanwhile did not see them.
        line.advance_on_commit(limits, using=using)
    skipped = [run for run in runs if run.status == Status.SKIPPED and run.error.startswith(FULL)]
    if skipped:
        ended = [(run.func, run.queue_name, run.status) for run in skipped]
        transaction.on_commit(lambda: statistics.note_ended(ended, using=using), using=using)
        told = [
            endings.Ended(run_id, run.status, run.options or {}, run.error)
            for run_id, run in zip(ids, runs, strict=False)
            if run in skipped
        ]
        endings.ended(told, using=using)


def _limit_of(run: NewRun | ClaimedRun) -> Mapping[str, Any]:
    return edits.applied((run.options or {})["limit"])


def _key_of(run: NewRun | ClaimedRun) -> str:
    return digest(_limit_of(run)["key"])


def admitted(runs: Sequence[ClaimedRun], *, using: str) -> list[ClaimedRun]:
    """Return those of some runs, whose claim is committed, that may begin; the others wait again.

    Args:
        runs: As claimed by one worker.
        using: Alias of the database.
    """
    by_key: dict[str, list[ClaimedRun]] = defaultdict(list)
    for run in runs:
        if "limit" in run.options:
            by_key[_key_of(run)].append(run)
    if not by_key:
        return list(runs)
    seen.any = True
    edits.refresh(using)
    backend = backend_of(connections[using])
    full = _full(by_key, backend.count_running(sorted(by_key))) | _overtaking(by_key, backend)
    rated = {key: claimed for key, claimed in by_key.items() if "every" in _limit_of(claimed[0])}
    full |= rated
    if not full:
        return list(runs)
    with write_transaction(using) as connection:
        backend = backend_of(connection)
        backend.lock_keys(sorted(full))
        surplus = _surplus(full, backend.count_running(sorted(full)), _oldest_due(full, backend))
        if rated:
            surplus += _too_early(rated, surplus, using)
        _set_aside(surplus, using)
        if rated:
            line.advance({key: _limit_of(claimed[0]) for key, claimed in rated.items()}, using=using)
    left_out = {run.key for run in surplus}
    return [run for run in runs if run.key not in left_out]


def _full(by_key: Mapping[str, list[ClaimedRun]], running: Mapping[str, int]) -> dict[str, list[ClaimedRun]]:
    """Return the keys of which more run than may, by any of their claimed runs' limits."""
    return {
        key: claimed
        for key, claimed in by_key.items()
        if running.get(key, 0) > min(_limit_of(run)["concurrency"] for run in claimed)
    }


def _overtaking(by_key: Mapping[str, list[ClaimedRun]], backend: Backend) -> dict[str, list[ClaimedRun]]:
    """Return the keys in order of which an older run waits for its retry, or for a worker."""
    oldest = _oldest_due(by_key, backend)
    return {key: by_key[key] for key, run_id in oldest.items() if any(run.id > run_id for run in by_key[key])}


def _oldest_due(by_key: Mapping[str, list[ClaimedRun]], backend: Backend) -> dict[str, int]:
    in_order = sorted(
        key for key, claimed in by_key.items() if any(_limit_of(run).get("in_order") for run in claimed)
    )
    return (
        backend.oldest(in_order, among="AND status = 'READY' AND run_after IS NOT NULL") if in_order else {}
    )


def _surplus(
    full: Mapping[str, list[ClaimedRun]], running: Mapping[str, int], oldest_due: Mapping[str, int]
) -> list[ClaimedRun]:
    surplus = []
    for key, claimed in full.items():
        others = running.get(key, 0) - len(claimed)
        for run in sorted(claimed, key=_turn):
            is_overtaking = key in oldest_due and run.id > oldest_due[key]
            if others < _limit_of(run)["concurrency"] and not is_overtaking:
                others += 1
            else:
                surplus.append(run)
    return surplus


def _too_early(
    rated: Mapping[str, list[ClaimedRun]], surplus: Sequence[ClaimedRun], using: str
) -> list[ClaimedRun]:
    """Return which runs of keys with a rate may not begin yet, besides those that may not anyway."""
    left_out = {run.id for run in surplus}
    left = {
        key: sorted((run for run in claimed if run.id not in left_out), key=_turn)
        for key, claimed in rated.items()
    }
    every = {key: _limit_of(claimed[0])["every"] for key, claimed in rated.items()}
    begin = pace.granted(left, every, using)
    return [run for claimed in left.values() for run in claimed if run.id not in begin]


def _turn(run: ClaimedRun) -> tuple[int, int]:
    return (0 if _limit_of(run).get("in_order") else -run.priority, run.id)


def _set_aside(surplus: Sequence[ClaimedRun], using: str) -> None:
    """Have claimed runs wait in their lines, or end those that do not wait."""
    waiting: dict[str, set[Key]] = defaultdict(set)
    skipped: list[tuple[ClaimedRun, Outcome]] = []
    now = datetime.now(UTC)
    for run in surplus:
        limit = _limit_of(run)
        if limit.get("when_full") == "skip":
            skipped.append((run, Outcome(Status.SKIPPED.value, now, now, error=_full_text(run))))
        else:
            waiting[Wait.ORDER if limit.get("in_order") else Wait.LIMIT].add(run.key)
    for what, keys in waiting.items():
        release.release_claims(surplus[0].worker_id, keys, waits_for=str(what), using=using)
    if skipped:
        written = outcomes.finish(skipped, using=using)
        ended = [(run.func, run.queue_name, Status.SKIPPED.value) for run, _ in skipped if run.key in written]
        transaction.on_commit(lambda: statistics.note_ended(ended, using=using), using=using)
        transaction.on_commit(lambda: outcomes.report_outcomes(skipped, written), using=using)
