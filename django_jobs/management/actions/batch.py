"""`manage.py jobs batch`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from django_jobs.api.batch_info import of_row
from django_jobs.api.job_info import of_run
from django_jobs.api.manager import get_job_manager
from django_jobs.management.actions.action import nothing_done, wrong_usage
from django_jobs.management.actions.control import Control
from django_jobs.management.actions.terminal import ROLES, ids_from, moment
from django_jobs.management.actions.values import at_least
from django_jobs.models import jobs_database
from django_jobs.operations import batches

if TYPE_CHECKING:
    from argparse import ArgumentParser

    from django_jobs.api.batch_info import BatchInfo


class BatchAction(Control):
    """Lists, shows, cancels and retries batches."""

    name = "batch"
    help = "List, show, cancel or retry batches: runs that belong together."
    done: ClassVar[str] = "Cancelled"

    @classmethod
    def add_arguments(cls, parser: ArgumentParser) -> None:
        """See `manage.py jobs batch --help`."""
        parser.add_argument("what", choices=["list", "show", "cancel", "retry"], help="What to do.")
        parser.add_argument(
            "ids", nargs="*", metavar="ID", help="Ids of batches; - for those on standard input."
        )
        parser.add_argument("--status", choices=sorted(batches.STATES), help="List only these.")
        parser.add_argument(
            "--limit", type=at_least(1, "number"), default=20, metavar="N",
            help="How many batches to list, or runs of one to show. Default: 20.",
        )  # fmt: skip

    def run(self, options: dict[str, Any]) -> None:
        """Do it."""
        ids = ids_from(options["ids"])
        what = options["what"]
        if what == "list":
            if ids:
                raise wrong_usage("`batch list` takes no ids: `batch show ID` shows one batch")
            self._list(options["status"] or "", options["limit"])
        elif what == "show":
            if len(ids) != 1:
                raise wrong_usage("`batch show` takes the id of one batch: `batch list` shows them")
            self._show(ids[0], options["limit"])
        else:
            act = self._cancel if what == "cancel" else self._retry
            # Of this call alone: an action is made for each.
            self.done = "Cancelled" if what == "cancel" else "Ready again:"  # type: ignore[misc]
            self.each("batch", ids, act)

    def _cancel(self, batch_id: str) -> str:
        is_done = get_job_manager().cancel_batch(batch_id)
        return "" if is_done else f"{batch_id}: there is no such batch, or it has ended"

    def _retry(self, batch_id: str) -> str:
        count = get_job_manager().retry_batch(batch_id)
        return "" if count else f"{batch_id}: there is no such batch, or none of it failed"

    def _list(self, state: str, limit: int) -> None:
        infos = [of_row(row) for row in batches.newest(state, using=jobs_database())[:limit]]
        self.terminal.json(infos)
        self.terminal.table(
            ["STATUS", "ID", "NAME", "RUNS", "DONE", "FAILED", "CREATED", "ENDED"],
            [_row(info) for info in infos],
            [ROLES.get(info["status"], "") for info in infos],
        )
        if not infos:
            self.terminal.say("No batches.")

    def _show(self, batch_id: str, limit: int) -> None:
        using = jobs_database()
        row = batches.newest(using=using).filter(key=batch_id).first()
        if row is None:
            raise nothing_done(f"there is no batch {batch_id!r}: `manage.py jobs batch list` shows them")
        info = of_row(row)
        nodes = batches.nodes_of(row, using=using, most=limit)
        runs = [of_run(node.run) for node in nodes]
        with_after = [{**run, "after": node.after} for run, node in zip(runs, nodes, strict=True)]
        self.terminal.json({**info, "runs": with_after})
        self.terminal.details(
            [
                ("id", info["id"]),
                ("status", info["status"]),
                ("name", info["name"]),
                ("runs", str(info["total"])),
                *((word, str(row_count)) for word in _WORDS if (row_count := getattr(row, word))),
                ("unfinished", str(info["unfinished"]) if info["unfinished"] else ""),
                ("created", moment(info["created_at"])),
                ("closed", moment(info["closed_at"])),
                ("ended", moment(info["ended_at"])),
                ("jobs at the end", ", ".join(f"{word}: {job}" for word, job in info["jobs"].items())),
            ]
        )
        self.terminal.say("")
        self.terminal.table(
            ["STATUS", "RUN", "NAME", "AFTER", "STARTED", "FINISHED", "ERROR"],
            [
                [
                    node.run.state,
                    str(node.run.pk),
                    node.run.name,
                    ", ".join(map(str, node.after)),
                    moment(run["started_at"]),
                    moment(run["finished_at"]),
                    node.run.error[:200],
                ]
                for node, run in zip(nodes, runs, strict=True)
            ],
            [ROLES.get(node.run.state, "") for node in nodes],
        )
        if len(nodes) < row.total:
            self.terminal.say(f"{row.total - len(nodes)} more; --limit shows more.")


_WORDS = ("successful", "failed", "cancelled", "skipped")


def _row(info: BatchInfo) -> list[str]:
    return [
        info["status"],
        info["id"],
        info["name"],
        str(info["total"]),
        str(info["total"] - info["unfinished"]),
        str(info["failed"]),
        moment(info["created_at"]),
        moment(info["ended_at"]),
    ]
