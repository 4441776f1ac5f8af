"""What `run --here` and `replay` have in common: they execute a run in the terminal's own process."""

from __future__ import annotations

import pdb
import traceback
from typing import TYPE_CHECKING

from django_jobs.management.actions.action import nothing_done
from django_jobs.management.actions.terminal import compact, safe

if TYPE_CHECKING:
    from argparse import ArgumentParser

    from django_jobs.management.actions.terminal import Terminal
    from django_jobs.operations.run_here import Executed


def add_pdb(parser: ArgumentParser) -> None:
    """Say what `--pdb` does."""
    parser.add_argument(
        "--pdb", action="store_true", help="Open the debugger where the function raised, when it did."
    )


def show(terminal: Terminal, executed: Executed, *, wants_pdb: bool) -> None:
    """Write what a run said and came to.

    Raises:
        CommandError: It did not succeed.
    """
    shown = {name: getattr(executed, name) for name in ("run_id", "status", "result", "error", "log")}
    terminal.json(shown)
    if executed.log:
        terminal.say(safe(executed.log, keep_lines=True))
    raised = executed.raised
    if raised is not None:
        terminal.complain(safe("".join(traceback.format_exception(raised)).rstrip(), keep_lines=True))
        if wants_pdb and raised.__traceback__ is not None:
            pdb.post_mortem(raised.__traceback__)
    if executed.status != "SUCCESSFUL":
        again = ", and waits to be tried again" if executed.status == "READY" else ""
        raise nothing_done(f"run {executed.run_id}: {executed.error or executed.status}{again}")
    terminal.say(compact(executed.result))
