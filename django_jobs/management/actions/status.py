"""`manage.py jobs status`."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django_jobs.management.actions.action import Action, add_watch, nothing_done, watched
from django_jobs.management.actions.terminal import duration, moment, safe, sum_up
from django_jobs.management.actions.values import duration as read_duration
from django_jobs.models import queue_words
from django_jobs.operations import health

if TYPE_CHECKING:
    from argparse import ArgumentParser

    from django_jobs.operations.reports import QueueReport, Report, WorkerReport

ROLES = {"alive": "SUCCESS", "quiet": "WARNING", "late": "WARNING", "gone": "ERROR"}


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
        add_watch(parser)

    def run(self, options: dict[str, Any]) -> None:
        """Show it.

        Raises:
            CommandError: Something is wrong, and `--exit-code` was asked for.
        """
        self.terminal.watch(lambda: self._look(options), watched(options, "exit_code"))

    def _look(self, options: dict[str, Any]) -> None:
        report = health.report(overdue=options["overdue"], needs_clock=options["clock"])
        self.terminal.json(report)
        self._write(report)
        problems = report["problems"]
        if problems and options["exit_code"]:
            raise nothing_done("; ".join(problem["code"] for problem in problems))

    def _write(self, report: Report) -> None:
        jobs = report["jobs"]
        waiting = [(sum(queue[key] for queue in report["queues"]), word) for key, word in (("due", "due"), ("later", "later"), ("held", "held"), ("blocked", "waiting for something else"))]  # type: ignore[literal-required]  # fmt: skip
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
        living = [worker for worker in report["workers"] if worker["state"] != "gone"]
        gone = [worker for worker in report["workers"] if worker["state"] == "gone"]
        if living or gone:
            self.terminal.say("")
        if living:
            self.terminal.table(
                ["STATE", "WORKER", "BUSY", "LAST HEARTBEAT", "CLOCK", "QUEUES", "ID"],
                [_worker_row(worker) for worker in living],
                [ROLES[health.shown_state(worker)] for worker in living],
                yielding=["ID", "QUEUES", "WORKER", "CLOCK", "LAST HEARTBEAT"],
            )
        if gone:
            names = ", ".join(f"{worker['host']}:{worker['pid']}" for worker in gone)
            last = moment(max(worker["heartbeat_at"] for worker in gone))
            self.terminal.say(f"gone: {len(gone)}, last heartbeat {last}: {safe(names)}", "ERROR")
        if report["queues"]:
            self.terminal.say("")
            self.terminal.table(
                ["QUEUE", "STATE", "DUE", "LATER", "HELD", "BLOCKED", "OLDEST WAITS"],
                [_queue_row(queue) for queue in report["queues"]],
                ["" if health.queue_state(queue) == "serving" else "WARNING" for queue in report["queues"]],
                yielding=["QUEUE", "BLOCKED", "HELD", "LATER"],
            )
            for queue in report["queues"]:
                if more := _pause(queue):
                    self.terminal.say(f"{safe(queue['name'])} is paused {safe(more)}.", "WARNING")
        self.terminal.say("")
        for problem in report["problems"]:
            self.terminal.say(f"{problem['code']}: {safe(problem['text'])}.", "ERROR")
        if not report["problems"]:
            self.terminal.say("All is well.", "SUCCESS")


def _worker_row(worker: WorkerReport) -> list[str]:
    return [
        health.shown_state(worker),
        f"{worker['host']}:{worker['pid']}",
        f"{worker['running']} of {worker['threads']}",
        moment(worker["heartbeat_at"]),
        "yes" if worker["has_clock"] else "no",
        _queues(worker),
        worker["id"],
    ]


def _queues(worker: WorkerReport) -> str:
    words = queue_words(worker["queues"], worker["queue_threads"])
    return ", ".join(words if worker["queues"] else ["all", *words])


def _pause(queue: QueueReport) -> str:
    """Return what is known of a queue's pause; empty for nothing."""
    parts = [
        queue["paused_until"] and f"until {moment(queue['paused_until'])}",
        queue["paused_by"] and f"by {queue['paused_by']}",
        queue["paused_reason"] and f"({queue['paused_reason']})",
    ]
    return " ".join(part for part in parts if part)


def _queue_row(queue: QueueReport) -> list[str]:
    return [
        queue["name"],
        health.queue_state(queue),
        str(queue["due"]),
        str(queue["later"]),
        str(queue["held"]),
        str(queue["blocked"]),
        duration(queue["oldest_seconds"]),
    ]
