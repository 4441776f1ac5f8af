"""What this process's code declares, as other processes and the database see it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from django_jobs import codec, triggers
from django_jobs.registry import decorators, functions, schedules
from django_jobs.registry.call_spec import CALL_COLUMNS, CallSpec, columns_of
from django_jobs.registry.misplaced_options import of_schedule

if TYPE_CHECKING:
    from collections.abc import Mapping

    Definitions = dict[str, dict[str, Any]]

# Columns of a declared job that a person may change, and those that are its declaration's, always.
POLICY = ("queue_name", "priority", "max_instances")
FIXED = (*(name for name in CALL_COLUMNS if name not in POLICY), "coalesce", "misfire_grace_time")


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
    # Signed, so that a new SECRET_KEY makes a new release, which signs the jobs again.
    return codec.sign("", json.dumps(told, sort_keys=True)), definitions


def _definition(declared: schedules.Declaration) -> dict[str, Any]:
    path, function = functions.path_of(declared.func)
    options = of_schedule(declared.options.over(decorators.options_of(function)))
    return {
        # Signed by the process that declares it: another that applies it signs nothing that it only read.
        **columns_of(CallSpec.of_call(path, function, declared.args, declared.kwargs, options)),
        "coalesce": options.coalesce is not False,
        "misfire_grace_time": options.misfire_grace_time,
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
