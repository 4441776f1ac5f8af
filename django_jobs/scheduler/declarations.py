"""What this process's code declares, as other processes and the database see it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from django_jobs import codec, triggers
from django_jobs.models import DEFAULT_QUEUE_NAME
from django_jobs.registry import arguments, decorators, functions, schedules

if TYPE_CHECKING:
    from collections.abc import Mapping

    Definitions = dict[str, dict[str, Any]]

# Columns of a job that are its declaration's, always, and those that a person may change.
FIXED = ("name", "func", "payload", "signature", "options", "coalesce", "misfire_grace_time")
POLICY = ("queue_name", "priority", "max_instances")


def own() -> tuple[str, Definitions]:
    """Return the fingerprint of what this process's code declares, and the definitions by job id.

    Raises:
        ValueError: A function cannot be found by its name; or as `arguments.stored_arguments`.
    """
    definitions = {declared.job_id: _definition(declared) for declared in schedules.declarations()}
    # As others will read it: tuples are lists then.
    definitions = json.loads(json.dumps(definitions))
    # A set is stored in an order of its own in each process, and is the same nevertheless.
    told = {
        job_id: {**definition, "payload": codec.plain(definition["payload"]), "signature": ""}
        for job_id, definition in definitions.items()
    }
    # Signed, so that a new SECRET_KEY makes a new release, which signs the jobs anew.
    return codec.sign("", json.dumps(told, sort_keys=True)), definitions


def _definition(declared: schedules.Declaration) -> dict[str, Any]:
    path, function = functions.path_of(declared.func)
    options = declared.options.over(decorators.options_of(function))
    payload = arguments.stored_arguments(declared.args, declared.kwargs)
    return {
        "name": options.name or path.rpartition(":")[2],
        "func": path,
        "payload": payload,
        # The declaring process's: another that applies it signs nothing that it only read.
        "signature": codec.sign(path, payload),
        "options": arguments.stored_options(options, function, declared.args),
        "coalesce": options.coalesce is not False,
        "misfire_grace_time": options.misfire_grace_time,
        "queue_name": options.queue_name or DEFAULT_QUEUE_NAME,
        "priority": options.priority or 0,
        "max_instances": options.max_instances or 1,
        "trigger": triggers.rule(declared.trigger),
    }


def overridable(definition: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a declaration says of what a person may change."""
    said = {name: definition[name] for name in ("trigger", *POLICY)}
    return {**said, "retry": retry_of(definition["options"])}


def retry_of(options: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Return the retry policy among a job's options, as it is stored."""
    return (options or {}).get("retry")


def with_retry(options: Mapping[str, Any] | None, retry: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Return a job's options with another retry policy, or none."""
    others = {name: value for name, value in (options or {}).items() if name != "retry"}
    return ({**others, "retry": dict(retry)} if retry else others) or None


def with_overrides(definition: Mapping[str, Any], overrides: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a definition whose options have the retry policy that a person chose, where one did."""
    if "retry" not in overrides:
        return definition
    return {**definition, "options": with_retry(definition["options"], overrides["retry"])}
