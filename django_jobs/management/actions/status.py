"""`manage.py jobs status`."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django_jobs.management.actions.action import Action, nothing_done
from django_jobs.management.actions.terminal import duration, moment, safe, sum_up
from django_jobs.management.actions.values import duration as read_duration
from django_jobs.operations import health

if TYPE_CHECKING:
    from argparse import ArgumentParser

    from django_jobs.operations.health import QueueReport, WorkerReport

ROLES = {"alive": "SUCCESS", "late": "WARNING", "gone": "ERROR"}


class Status(Action):
    """Show workers and queues, and whether all is well."""

    name = "status"
    help = "Show workers, queues and what is wrong; with --exit-code a health check."

    @classmethod
    def add_arguments(cls, parser: ArgumentParser) -> None:
        """See `manage.py jobs status --help`."""
        parser.add_argument("--exit-code", action="store_true", help="Exit with 1 when something is wrong.")
        parser.add_argument(
            "--overdue", type=read_duration, default=timedelta(minutes=5), metavar="DURATION",
            help="How late a due run may begin, and a due job fire, before that is wrong. Default: 5m.",
        )  # fmt: skip
        parser.add_argument(
            "--no-clock", action="store_false", dest="clock",
            help="Do not ask for a worker with a clock: yours is in a process without a worker (WORKER off).",
        )  # fmt: skip

    def run(self, options: dict[str, Any]) -> None:
        """Show it.

        Raises:
            CommandError: Something is wrong, and `--exit-code` was asked for.
        """
        report = health.report(overdue=options["overdue"], needs_clock=options["clock"])
        self.terminal.json(report)
        self._write(report)
        problems = report["problems"]
        if problems and options["exit_code"]:
            raise nothing_done("; ".join(problem["code"] for problem in problems))

    def _write(self, report: health.Report) -> None:
        jobs = report["jobs"]
        waiting = [(sum(queue[key] for queue in report["queues"]), word) for key, word in (("due", "due"), ("later", "later"), ("held", "held"))]  # type: ignore[literal-required]  # fmt: skip
        self.terminal.details(
            [
                ("at", moment(report["at"])),
                (
                    "jobs",
                    sum_up([(jobs[word], word) for word in ("scheduled", "paused", "broken")]) or "none",
                ),
                ("runs", sum_up([(report["running"], "running"), *waiting]) or "no runs waiting or running"),
            ]
        )
        if report["workers"]:
            self.terminal.say("")
            self.terminal.table(
                ["WORKER", "STATE", "HOST", "PROCESS", "QUEUES", "RUNNING", "CLOCK", "LAST HEARTBEAT"],
                [_worker_row(worker) for worker in report["workers"]],
                [ROLES[worker["state"]] for worker in report["workers"]],
            )
        if report["queues"]:
            self.terminal.say("")
            self.terminal.table(
                ["QUEUE", "STATE", "DUE", "LATER", "HELD", "OLDEST WAITS"],
                [_queue_row(queue) for queue in report["queues"]],
                ["" if health.queue_state(queue) == "serving" else "WARNING" for queue in report["queues"]],
            )
        self.terminal.say("")
        for problem in report["problems"]:
            self.terminal.say(f"{problem['code']}: {safe(problem['text'])}.", "ERROR")
        if not report["problems"]:
            self.terminal.say("All is well.", "SUCCESS")


def _worker_row(worker: WorkerReport) -> list[str]:
    return [
        worker["id"],
        worker["state"],
        worker["host"],
        str(worker["pid"]),
        ", ".join(worker["queues"]) or "all",
        f"{worker['running']} of {worker['threads']}",
        "yes" if worker["has_clock"] else "no",
        moment(worker["heartbeat_at"]),
    ]


def _queue_row(queue: QueueReport) -> list[str]:
    return [
        queue["name"],
        health.queue_state(queue),
        str(queue["due"]),
        str(queue["later"]),
        str(queue["held"]),
        duration(queue["oldest_seconds"]),
    ]
