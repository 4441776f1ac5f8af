"""`manage.py jobs show`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django_jobs.api.manager import get_job_manager
from django_jobs.management.actions.action import Action, no_such_job, nothing_done
from django_jobs.management.actions.terminal import ROLES, compact, duration, moment, progress_of
from django_jobs.management.actions.values import at_least
from django_jobs.operations import listing

if TYPE_CHECKING:
    from argparse import ArgumentParser

    from django_jobs.api.job_info import RunInfo
    from django_jobs.operations.kept import StepInfo


class Show(Action):
    """Show one job or one run."""

    name = "show"
    help = "Show a job with its last runs, or one run with its arguments, errors and log."

    @classmethod
    def add_arguments(cls, parser: ArgumentParser) -> None:
        """See `manage.py jobs show --help`."""
        which = parser.add_mutually_exclusive_group(required=True)
        which.add_argument("id", nargs="?", help="Id of the job.")
        which.add_argument(
            "--run", type=at_least(1, "number"), metavar="NUMBER", help="Number of a run, as `list` shows it."
        )
        parser.add_argument(
            "--limit", type=at_least(0, "number"), default=10, metavar="N",
            help="How many of the job's runs to show. Default: 10.",
        )  # fmt: skip

    def run(self, options: dict[str, Any]) -> None:
        """Show it."""
        if options["run"] is not None:
            self._show_run(options["run"])
        else:
            self._show_job(options["id"], options["limit"])

    def _show_job(self, job_id: str, limit: int) -> None:
        job = get_job_manager().get_job(job_id)
        if job is None:
            raise nothing_done(no_such_job(job_id))
        runs = listing.runs_of(job_id, limit=limit)
        self.terminal.json({**job, "runs": runs})
        is_lone = job["kind"] == "immediate"
        self.terminal.details(
            [
                ("id", job["id"]),
                ("status", job["status"]),
                ("reason", job["reason"]),
                ("name", job["name"]),
                ("function", job["func"]),
                ("arguments", _call(job["args"], job["kwargs"])),
                ("kind", job["kind"]),
                ("trigger", "" if is_lone else job["trigger"]),
                ("next run", moment(job["next_run_time"])),
                ("queue", job["queue_name"]),
                ("priority", str(job["priority"])),
                ("max instances", "" if is_lone else str(job["max_instances"])),
                ("limit", job["limit"] or ""),
                ("fair key", job["fair_key"] or ""),
                ("waits", job["waits"]),
                ("tags", ", ".join(job["tags"])),
                ("about", job["about"] or ""),
                ("progress", progress_of(job["progress"])),
                ("result", "" if job["result"] is None else compact(job["result"])),
                ("error", job["error"]),
            ]
        )
        if runs:
            self.terminal.say("")
            self.terminal.table(
                ["STATUS", "RUN", "ATTEMPT", "ENQUEUED", "STARTED", "TOOK", "ERROR"],
                [_run_row(run) for run in runs],
                [ROLES.get(run["status"].lower(), "") for run in runs],
            )

    def _show_run(self, run_id: int) -> None:
        run = listing.run(run_id)
        if run is None:
            raise nothing_done(f"there is no run {run_id}: `manage.py jobs show ID` shows the runs of a job")
        self.terminal.json(run)
        self.terminal.details(
            [
                ("run", str(run["id"])),
                ("job", run["job_id"]),
                ("status", run["status"]),
                ("waits", run["waits"]),
                ("function", run["func"]),
                ("arguments", _call(run["args"], run["kwargs"])),
                ("queue", run["queue_name"]),
                ("attempt", str(run["attempt"])),
                ("enqueued", moment(run["enqueued_at"])),
                ("scheduled for", moment(run["scheduled_at"])),
                ("started", moment(run["started_at"])),
                ("finished", moment(run["finished_at"])),
                ("took", duration(run["seconds"])),
                ("worker", run["worker_id"]),
                ("limit", run["limit"] or ""),
                ("fair key", run["fair_key"] or ""),
                ("tags", ", ".join(run["tags"])),
                ("about", run["about"] or ""),
                ("unique by", run["unique"]),
                ("progress", progress_of(run["progress"])),
                ("result", "" if run["result"] is None else compact(run["result"])),
                ("error", run["error"]),
            ]
        )
        for entry in run["errors"]:
            self.terminal.say("")
            self.terminal.details(
                [
                    ("attempt", f"{entry['attempt']} on {entry['worker_id']}"),
                    ("error", entry["error"]),
                    ("traceback", (entry.get("traceback") or "").rstrip()),
                ]
            )
        if run["kept"]:
            self.terminal.say("")
            self.terminal.table(
                ["KIND", "NAME", "STATE", "STARTED", "ENDS", "RESULT"],
                [_kept_row(step) for step in run["kept"]],
            )
        if run["log"]:
            self.terminal.say("")
            self.terminal.details([("log", run["log"])])


def _call(args: list[Any], kwargs: dict[str, Any]) -> str:
    words = [compact(value) for value in args]
    words += [f"{name}={compact(value)}" for name, value in kwargs.items()]
    return ", ".join(words)


def _kept_row(step: StepInfo) -> list[str]:
    if step["kind"] == "loop":
        errors = f", {len(step['failed'])} with errors" if step["failed"] else ""
        result = f"{step['done'] or 0} rows{errors}"
    else:
        result = step["error"] or ("" if step["value"] is None else compact(step["value"]))
    name = step["name"] if step["occurrence"] == 1 else f"{step['name']} ({step['occurrence']})"
    ends = step["finished_at"] or step["until"]
    return [step["kind"], name, step["state"], moment(step["started_at"]), moment(ends), result[:200]]


def _run_row(run: RunInfo) -> list[str]:
    return [
        run["status"].lower(),
        str(run["id"]),
        str(run["attempt"]),
        moment(run["enqueued_at"]),
        moment(run["started_at"]),
        duration(run["seconds"]),
        run["error"][:200],
    ]
