"""`manage.py jobs add`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django_jobs.api.manager import get_job_manager
from django_jobs.exceptions import ConflictingIdError, FunctionNotAllowed
from django_jobs.management.actions import values
from django_jobs.management.actions.action import Action, nothing_done, wrong_usage
from django_jobs.management.actions.wait import add_wait, wait

if TYPE_CHECKING:
    from argparse import ArgumentParser

    from django_jobs.api.manager import JobManager


class Add(Action):
    """Add a job."""

    name = "add"
    help = "Add a job: for now, for a time, or again and again."
    more = (
        "With --every or --cron and the --id of a job that is there, that job is changed; its pause stays. "
        "Arguments are JSON, so a text needs double quotes, and the shell needs those quoted in turn: "
        "manage.py jobs add shop.jobs:count '\"to be or not\"' 3 limit=10"
    )

    @classmethod
    def add_arguments(cls, parser: ArgumentParser) -> None:
        """See `manage.py jobs add --help`."""
        parser.add_argument("func", metavar="FUNCTION", help="What to call, as package.module:name.")
        parser.add_argument(
            "arguments", nargs="*", metavar="JSON", help="Its arguments; NAME=JSON for a keyword argument."
        )
        when = parser.add_mutually_exclusive_group()
        when.add_argument(
            "--at", type=values.moment, metavar="TIME",
            help="Once, at this time, with its zone: 2026-12-01T03:30Z.",
        )  # fmt: skip
        when.add_argument(
            "--every", type=values.duration, metavar="DURATION",
            help="Again and again, first after one interval: seconds, or 90s, 30m, 1h30m, 7d.",
        )  # fmt: skip
        when.add_argument(
            "--cron", metavar="EXPRESSION", help="By a crontab expression: '30 3 * * mon-fri', or @daily."
        )
        parser.add_argument(
            "--timezone",
            metavar="ZONE",
            help="Of --cron, as Europe/Paris. Default: the setting CRON_TIME_ZONE, or UTC.",
        )
        parser.add_argument("--id", metavar="ID", help="Id of the job. Default: a random one.")
        parser.add_argument("--name", help="What lists and pages call it. Default: the function's name.")
        parser.add_argument("--queue", metavar="NAME", help="Queue to wait in.")
        parser.add_argument("--priority", type=int, metavar="N", help="-100 to 100; high goes first.")
        parser.add_argument(
            "--timeout", type=values.duration, metavar="DURATION", help="Time that one attempt may take."
        )
        parser.add_argument(
            "--max-instances",
            type=int,
            metavar="N",
            help="Unfinished runs of --every or --cron at the same time.",
        )
        parser.add_argument(
            "--on-conflict", choices=["raise", "skip", "replace"],
            help="What to do when a job of this id is unfinished, but for --every and --cron. Default: raise.",
        )  # fmt: skip
        add_wait(parser)

    def run(self, options: dict[str, Any]) -> None:
        """Add it."""
        if options["timezone"] and options["cron"] is None:
            raise wrong_usage("--timezone belongs to --cron: --at has its zone in the time")
        if options["wait"] is not None and not (options["every"] is None and options["cron"] is None):
            raise wrong_usage("--wait is for jobs that end: add it without, then `jobs run` it")
        try:
            args, kwargs = values.arguments(options["arguments"])
            manager = get_job_manager().using(
                queue_name=options["queue"],
                priority=options["priority"],
                timeout=options["timeout"],
                max_instances=options["max_instances"],
                name=options["name"],
                on_conflict=options["on_conflict"],
            )
            job_id = _add(manager, options, args, kwargs)
        except ConflictingIdError:
            raise nothing_done(
                f"a job {options['id']!r} is unfinished: say --on-conflict skip or replace, or use another --id"
            ) from None
        except (ValueError, TypeError, FunctionNotAllowed) as error:
            raise wrong_usage(str(error)) from None
        if options["wait"] is None:
            self.terminal.json(get_job_manager().get_job(job_id))
            self.terminal.say(job_id)
        else:
            wait(self.terminal, job_id, options["wait"])


def _add(manager: JobManager, options: dict[str, Any], args: list[Any], kwargs: dict[str, Any]) -> str:
    func, job_id = options["func"], options["id"]
    if options["at"] is not None:
        return manager.add_scheduled_job(func, options["at"], *args, job_id=job_id, **kwargs)
    if options["every"] is not None:
        return manager.add_recurring_job(func, options["every"], *args, job_id=job_id, **kwargs)
    if options["cron"] is not None:
        zone = options["timezone"]
        return manager.add_cron_job(func, options["cron"], *args, job_id=job_id, timezone=zone, **kwargs)
    return manager.add_immediate_job(func, *args, job_id=job_id, **kwargs)
