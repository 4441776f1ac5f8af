"""`manage.py jobs`: what an operator does to jobs from a terminal, and `jobs work`, which executes them."""

from __future__ import annotations

import argparse
import os
import sys
from typing import TYPE_CHECKING, Any

from django.core.checks import Tags
from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError, InterfaceError

from django_jobs.management.actions import ACTIONS
from django_jobs.management.actions.action import NO_DATABASE, wrong_usage
from django_jobs.management.actions.terminal import Terminal
from django_jobs.management.commands import runjobs
from django_jobs.models import missing_tables

if TYPE_CHECKING:
    from argparse import ArgumentParser

# Beside the actions: it has no JSON, and waits for a database that is away.
WORK = "work"
_DJANGO_OPTIONS: dict[tuple[str, ...], dict[str, Any]] = {
    ("-v", "--verbosity"): {"type": int, "choices": [0, 1, 2, 3]},
    ("--settings",): {},
    ("--pythonpath",): {},
    ("--traceback",): {"action": "store_true"},
    ("--no-color",): {"action": "store_true"},
    ("--force-color",): {"action": "store_true"},
}


class Command(BaseCommand):
    """Look at jobs, add them, control them and execute them from a terminal."""

    # Without those of models, which ask the database: that it is away has a code of its own here.
    requires_system_checks = (Tags.compatibility,)
    help = "Look at jobs, add them, control them, and execute them."
    epilog = (
        "Exit codes: 0 done; 1 no such job, nothing to do, or not all done; 2 wrong usage; 3 no database, "
        "or tables are missing."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        """See `manage.py jobs --help`."""
        parser.epilog = self.epilog
        actions = parser.add_subparsers(dest="action", required=True, title="actions", metavar="ACTION")
        for kind in ACTIONS:
            description = f"{kind.help} {kind.more}".rstrip()
            one = actions.add_parser(kind.name, help=kind.help, description=description, epilog=self.epilog)
            kind.add_arguments(one)
            one.add_argument("--json", action="store_true", help="Write JSON.")
            for name, text in (("--no-color", "Use no colours."), ("--force-color", "Use colours anyway.")):
                # As before the action; only where it is given here, or it would undo that.
                one.add_argument(name, action="store_true", default=argparse.SUPPRESS, help=text)
        self._add_work(actions)

    def _add_work(self, actions: Any) -> None:
        description = (
            f"{runjobs.Command.help} The same as the command runjobs, which another app may have too."
        )
        work = actions.add_parser(WORK, help="Execute jobs until it is stopped.", description=description)
        runjobs.Command().add_arguments(work)
        # Django's own options, which runjobs takes behind its name. As before the action unless given here.
        for names, more in _DJANGO_OPTIONS.items():
            work.add_argument(*names, default=argparse.SUPPRESS, help=argparse.SUPPRESS, **more)

    def handle(self, *, action: str, **options: Any) -> None:
        """Do it."""
        if action == WORK:
            self._work(options)
            return
        terminal = Terminal(
            self.stdout,
            self.stderr,
            self.style,
            is_json=options["json"],
            is_coloured=not options["no_color"] and (options["force_color"] or self.stdout.isatty()),
        )
        if any("\0" in word for value in options.values() for word in _words(value)):
            raise wrong_usage("an argument has a NUL character, which no database stores")
        (kind,) = [kind for kind in ACTIONS if kind.name == action]
        try:
            kind(terminal).run(options)
        except BrokenPipeError:
            # Whoever reads has enough, as `head` does. Nor may Python complain of it when it ends.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        except (DatabaseError, InterfaceError) as error:
            raise CommandError(_why(error), returncode=NO_DATABASE) from error

    def _work(self, options: dict[str, Any]) -> None:
        command = runjobs.Command()
        command.stdout, command.stderr, command.style = self.stdout, self.stderr, self.style
        command.called = f"jobs {WORK}"
        command.is_from_command_line = getattr(self, "_called_from_command_line", False)
        command.handle(**options)


def _words(value: Any) -> list[str]:
    """Return the texts of an option."""
    return [word for word in (value if isinstance(value, list) else [value]) if isinstance(word, str)]


def _why(error: Exception) -> str:
    try:
        missing = missing_tables()
    except (DatabaseError, InterfaceError):
        missing = set()
    if missing:
        return f"tables are missing ({', '.join(sorted(missing))}): run `manage.py migrate`"
    return f"the database does not answer: {error}".rstrip()
