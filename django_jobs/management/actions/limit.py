"""`manage.py jobs limit`."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from django_jobs.management.actions.action import Action, nothing_done, wrong_usage
from django_jobs.management.actions.control import caller
from django_jobs.management.actions.terminal import moment
from django_jobs.management.actions.values import at_least
from django_jobs.models import jobs_database
from django_jobs.operations import limits

if TYPE_CHECKING:
    from argparse import ArgumentParser

    from django_jobs.operations.limits import LimitPattern


class LimitAction(Action):
    """Lists limits, and edits what holds for them."""

    name = "limit"
    help = "List limits, or have other numbers hold for one than the code's."
    more = "An edit holds for runs that wait already, and deploys leave it alone."

    @classmethod
    def add_arguments(cls, parser: ArgumentParser) -> None:
        """See `manage.py jobs limit --help`."""
        parser.add_argument(
            "what", nargs="?", choices=["list", "set", "clear"], default="list",
            help="What to do. Default: list.",
        )  # fmt: skip
        parser.add_argument("pattern", nargs="?", help="The limit's key as in the code, as shop:{shop.pk}.")
        parser.add_argument(
            "--concurrency", type=at_least(0, "number"), metavar="N",
            help="Runs of each key at the same time; 0 lets none begin.",
        )  # fmt: skip
        parser.add_argument("--rate", metavar="RATE", help="Starts of each key in a time, as 100/m.")
        parser.add_argument("--reason", default="", metavar="TEXT", help="Why, for all to see.")

    def run(self, options: dict[str, Any]) -> None:
        """Do it."""
        using = jobs_database()
        pattern, what = options["pattern"], options["what"]
        numbers = {"concurrency": options["concurrency"], "rate": options["rate"]}
        if what != "set" and (any(value is not None for value in numbers.values()) or options["reason"]):
            raise wrong_usage("--concurrency, --rate and --reason are for `limit set`")
        if what == "list":
            self._list([one for one in limits.patterns(using=using) if pattern in {None, one.name}])
            return
        if pattern is None:
            raise wrong_usage(f"say which limit to {what}: `manage.py jobs limit` lists them")
        if what == "clear":
            if not limits.clear(pattern, by=caller(), using=using):
                raise nothing_done(f"limit {pattern!r} is as in the code already")
            self.terminal.say(f"Limit {pattern} is as in the code again.")
            return
        names = [one.name for one in limits.patterns(using=using)]
        if pattern not in names:
            similar = get_close_matches(pattern, names, n=1)
            hint = f": did you mean {similar[0]}?" if similar else ""
            self.terminal.complain(f"no code or run has a limit {pattern!r} yet{hint}")
        try:
            limits.edit(pattern, **numbers, by=caller(), reason=options["reason"], using=using)
        except ValueError as error:
            raise wrong_usage(str(error)) from None
        self.terminal.say(f"Limit {pattern} is edited. All processes go by it within a few seconds.")

    def _list(self, found: list[LimitPattern]) -> None:
        self.terminal.json([_as_dict(one) for one in found])
        self.terminal.table(
            ["LIMIT", "CONCURRENCY", "RATE", "RUNNING", "WAITING", "BUSIEST KEY", "EDITED"], [_row(one) for one in found]
        )  # fmt: skip
        if not found:
            self.terminal.say("No limits.")


def _row(one: LimitPattern) -> list[str]:
    busiest = one.busiest[0] if one.busiest else None
    return [
        one.name,
        "" if one.concurrency is None else str(one.concurrency),
        one.rate,
        str(one.running),
        str(one.waiting),
        f"{busiest.key} ({busiest.running} run, {busiest.waiting} wait)" if busiest else "",
        "" if one.edit is None else f"{moment(one.edit.edited_at.isoformat())} by {one.edit.edited_by}",
    ]


def _as_dict(one: LimitPattern) -> dict[str, Any]:
    edit = one.edit
    return {
        "limit": one.name,
        "concurrency": one.concurrency,
        "rate": one.rate,
        "running": one.running,
        "waiting": one.waiting,
        "functions": one.functions,
        "busiest": [
            {"key": key.key, "running": key.running, "waiting": key.waiting}
            for key in one.busiest[: limits.BUSIEST]
        ],
        "edit": edit
        and {
            "concurrency": edit.concurrency,
            "rate": edit.rate,
            "by": edit.edited_by,
            "at": edit.edited_at.isoformat(),
            "reason": edit.reason,
        },
    }
