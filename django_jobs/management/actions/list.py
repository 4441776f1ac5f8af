"""`manage.py jobs list`."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

from django_jobs.management.actions.action import Action, add_watch, watched, wrong_usage
from django_jobs.management.actions.terminal import ROLES, duration, moment, progress_of
from django_jobs.management.actions.values import at_least
from django_jobs.operations import listing

if TYPE_CHECKING:
    from argparse import ArgumentParser
    from collections.abc import Iterator

# Rows fetched with one query while all are listed.
BATCH = 500
# Parts of the history that are looked through for a first entry.
MOST_SEARCHES = 20


class List(Action):
    """Show jobs and runs by status."""

    name = "list"
    help = "Show what is still to run, or jobs and runs of other statuses."
    more = (
        "Jobs that wait for their time, are paused or are broken are lines of their own, and so are runs: a "
        "recurring job whose run executes is there twice. What is to run comes in the order it will, what has "
        "ended newest first. Times are in the project's time zone."
    )

    @classmethod
    def add_arguments(cls, parser: ArgumentParser) -> None:
        """See `manage.py jobs list --help`."""
        parser.add_argument(
            "--status", action="append", choices=listing.STATUSES, metavar="STATUS",
            help=f"One of {', '.join(listing.STATUSES)}; may be given several times. "
            f"Default: what is still to run ({', '.join(listing.UNFINISHED)}).",
        )  # fmt: skip
        parser.add_argument(
            "--queue", action="append", default=[], metavar="NAME",
            help="Of this queue only; may be given several times.",
        )  # fmt: skip
        parser.add_argument(
            "--func", default="", metavar="PATH", help="Whose function's module:name begins with this."
        )
        parser.add_argument("--job", default="", metavar="ID", help="This job and its runs only.")
        parser.add_argument(
            "--about", default="", metavar="OBJECT", help="What is about this object, as shop.order:4711."
        )
        parser.add_argument("--batch", default="", metavar="ID", help="Runs of this batch only.")
        parser.add_argument("--tag", default="", metavar="TAG", help="What has this tag.")
        parser.add_argument(
            "--limit", type=at_least(1, "number"), default=50, metavar="N", help="Lines at most. Default: 50."
        )
        parser.add_argument("--after", metavar="PLACE", help="Go on where another list ended, which says so.")
        parser.add_argument(
            "--all", action="store_true", help="No limit: one page after the other, as long as it takes."
        )
        add_watch(parser)
        parser.add_argument(
            "--ids", choices=["job", "run"],
            help="Write only the ids of jobs, or the numbers of runs, one a line, for `-` of other actions.",
        )  # fmt: skip

    def run(self, options: dict[str, Any]) -> None:
        """List them."""
        self.terminal.watch(lambda: self._look(options), watched(options, "ids", "all"))

    def _look(self, options: dict[str, Any]) -> None:
        if options["ids"] and self.terminal.is_json:
            raise wrong_usage("--ids and --json exclude each other: JSON has the ids")
        pages = self._pages(options)
        if options["ids"]:
            for page in pages:
                self._write_ids(page["entries"], options["ids"])
                self._write_next(page["next"], options, is_quiet=True)
            return
        if self.terminal.is_json:
            found = list(pages)
            entries = [entry for page in found for entry in page["entries"]]
            self.terminal.json({"entries": entries, "next": found[-1]["next"]})
            return
        after, is_first = None, True
        for page in pages:
            after = page["next"]
            if page["entries"]:
                self._write_table(page["entries"], has_heads=is_first)
                is_first = False
        if is_first and after is None:
            self.terminal.say("There is nothing to list.")
        self._write_next(after, options)

    def _write_table(self, entries: list[listing.Entry], *, has_heads: bool) -> None:
        waits = listing.why_due(entries)
        self.terminal.table(
            ["STATUS", "JOB", "RUN", "QUEUE", "WHEN", "FUNCTION", "MORE"],
            [_row(entry, waits.get(entry["run_id"], "")) for entry in entries],
            [ROLES.get(entry["status"], "") for entry in entries],
            has_heads=has_heads,
            yielding=["FUNCTION", "QUEUE", "JOB", "WHEN"],
        )

    def _pages(self, options: dict[str, Any]) -> Iterator[listing.Page]:
        after = options["after"]
        searches = 0
        while True:
            try:
                page = listing.page(
                    options["status"] or listing.UNFINISHED,
                    queues=options["queue"],
                    func=options["func"],
                    job_id=options["job"],
                    about=options["about"],
                    batch=options["batch"],
                    tag=options["tag"],
                    limit=BATCH if options["all"] else options["limit"],
                    after=after,
                )
            except ValueError as error:
                raise wrong_usage(f"--{error}") from None
            after = page["next"]
            searches += 1
            if options["all"]:
                yield listing.Page(entries=page["entries"], next=None)
            elif page["entries"] or after is None or searches == MOST_SEARCHES:
                yield page
                return
            if after is None:
                return

    def _write_ids(self, entries: list[listing.Entry], kind: str) -> None:
        for entry in entries:
            if kind == "job":
                self.terminal.raw(entry["id"])
            elif entry["run_id"] is not None:
                self.terminal.raw(str(entry["run_id"]))

    def _write_next(self, after: str | None, options: dict[str, Any], *, is_quiet: bool = False) -> None:
        if after is None:
            return
        words = [f"--status {status}" for status in options["status"] or ()]
        words += [f"--queue {shlex.quote(name)}" for name in options["queue"]]
        words += [
            f"--{name} {shlex.quote(options[name])}"
            for name in ("func", "job", "about", "batch", "tag")
            if options[name]
        ]
        more = " ".join(["There may be more: manage.py jobs list", *words, f"--after {after}"])
        if is_quiet:
            self.terminal.complain(more)
        else:
            self.terminal.say(more)


def _row(entry: listing.Entry, waits: str) -> list[str]:
    last = entry["last_run"]
    is_run = entry["run_id"] is not None
    when, more = "", entry["reason"] or entry["trigger"]
    match entry["status"]:
        case "scheduled" | "queued":
            when = moment(entry["next_run_time"])
            more = "; ".join(filter(None, (waits, _failed_before(entry)))) if is_run else entry["trigger"]
        case "running" if last:
            when = moment(last["started_at"])
            more = progress_of(entry["progress"])
        case "paused" if is_run:
            more = ""
        case "broken":
            more = entry["reason"]
        case _ if waits:
            more = waits
        case _ if is_run and last:
            when = moment(last["finished_at"])
            more = entry["error"] or duration(last["seconds"])
    return [
        entry["status"],
        entry["id"],
        str(entry["run_id"] or ""),
        entry["queue_name"],
        when,
        entry["func"],
        more[:200],
    ]


def _failed_before(entry: listing.Entry) -> str:
    return f"after attempt {entry['attempt']}: {entry['error']}" if entry["error"] else ""
