"""`manage.py demo`: the whole example in one terminal."""

from __future__ import annotations

import errno
import os
import secrets
import signal
import socket
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from django_jobs import get_job_manager
from documents.jobs import add_ingestion, list_files
from documents.views import SAMPLES_DIR
from mailings.demo import load_demo_recipients
from mailings.jobs import send_newsletter
from reports.jobs import ask_other_library, print_report, scan_book

ADMIN = "admin"
PASSWORD_VARIABLE = "TESTPROJECT_ADMIN_PASSWORD"  # noqa: S105 - a name


class Command(BaseCommand):
    """Prepare the database, add an immediate and a scheduled job, and serve until Ctrl-C."""

    help = (
        "Migrates, makes an admin user, adds jobs beside those that the code declares, and serves the project; "
        "web server and jobs share this process, and Ctrl-C stops all of it. May be repeated."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Take what `runserver` takes, as far as it applies."""
        parser.add_argument(
            "addrport", nargs="?", default="127.0.0.1:8000", help="Port, or address:port; 127.0.0.1:8000."
        )
        parser.add_argument(
            "--noreload", action="store_true", help="Accepted as runserver's; the demo never reloads."
        )

    def handle(self, *, addrport: str, **options: Any) -> None:
        """Run the demo."""
        url = check_address(addrport)
        call_command("migrate", interactive=False, verbosity=0)
        password = prepare_admin()
        load_demo_recipients()

        # As Ctrl-C: the way out leads through `finally` below.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
        manager = get_job_manager()
        manager.start()
        try:
            add_demo_jobs()
            self.show_welcome(url, password)
            call_command("runserver", addrport, use_reloader=False)
        finally:
            manager.shutdown()

    def show_welcome(self, url: str, password: str | None) -> None:
        """Say where to look, and how to get in."""
        if password is None:
            manage = Path(sys.argv[0])
            entry = f"the user {ADMIN!r} exists already; for a new password: {manage} changepassword {ADMIN}"
        else:
            entry = f"user {ADMIN}, password {password}"
        self.stdout.write(
            f"\n"
            f"  An example web site: a library that reads documents in, writes to its readers, and reports.\n"
            f"  All of that is work for jobs. They run in this process; watch them in the admin.\n"
            f"\n"
            f"  Admin      {url}admin/   ({entry})\n"
            f"  Documents  {url}documents/\n"
            f"  Jobs       {url}jobs/\n"
            f"  Try        curl -X POST {url}ingest/\n"
            f"\n"
            f"  Batch      the documents of {SAMPLES_DIR}\n"
            f"             are read side by side, then indexed, then mailed about: {url}admin/django_jobs/batch/\n"
            f"  Limit      three books for one scanner: one is scanned, two wait for it; the run's page\n"
            f"             shows its log as it comes\n"
            f"  Schedules  an HTML report each 30 s, and a CSV one each minute, in {settings.VAR_DIR / 'reports'};\n"
            f"             in 10 s a newsletter, to files in {settings.VAR_DIR / 'mail'}\n"
            f"  Failures   on purpose: one job that fails, and one that succeeds at its third attempt\n"
        )


def check_address(addrport: str) -> str:
    """Make sure that the address is free before anything is changed.

    Args:
        addrport: As `runserver` takes it: `8000`, `127.0.0.1:8000` or `[::1]:8000`.

    Returns:
        The root URL there.

    Raises:
        CommandError: The address cannot be served; the message says why.
    """
    host, _, port = addrport.rpartition(":")
    host = host or "127.0.0.1"
    if not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise CommandError(f"{addrport!r} is not a port, or address:port.")
    bare_host = "0.0.0.0" if host == "0" else host.strip("[]")  # noqa: S104 - runserver's "0" means this
    family = socket.AF_INET6 if ":" in bare_host else socket.AF_INET
    try:
        socket.create_server((bare_host, int(port)), family=family).close()
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise CommandError(
                f"Port {port} is taken by another program. Stop it, or name another port: demo {int(port) + 1}"
            ) from error
        raise CommandError(f"Cannot serve {addrport}: {error.strerror or error}") from error
    return f"http://{'127.0.0.1' if host in {'0', '0.0.0.0'} else host}:{port}/"  # noqa: S104 - compared only


def prepare_admin() -> str | None:
    """Make the admin user unless there is one.

    A random password is kept in `VAR_DIR/admin-password.txt`, readable by its owner only, so that a later
    demo can show it again.

    Returns:
        The password, or None if there is such a user and its password is not known here.
    """
    User = get_user_model()  # noqa: N806 - a class
    file = settings.VAR_DIR / "admin-password.txt"
    given = os.environ.get(PASSWORD_VARIABLE)
    admin = User.objects.filter(**{User.USERNAME_FIELD: ADMIN}).first()
    if admin is None:
        password = given or secrets.token_urlsafe(12)
        User.objects.create_superuser(ADMIN, "admin@example.com", password)
        if not given:
            _write_secret(file, password)
        return password
    kept = file.read_text(encoding="utf-8").strip() if file.is_file() else None
    return next((password for password in (given, kept) if password and admin.check_password(password)), None)


def add_demo_jobs() -> None:
    """Add a batch, jobs that share a limit, one that is retried, one that fails, and a scheduled one.

    The recurring ones are declared in `reports.jobs`.
    """
    manager = get_job_manager()
    add_ingestion(SAMPLES_DIR, (str(file.relative_to(SAMPLES_DIR)) for file in list_files(SAMPLES_DIR)))
    for title in ("The Name of the Rose", "Emma", "Moby-Dick"):
        manager.add_immediate_job(scan_book, title)
    manager.add_immediate_job(ask_other_library, "The Name of the Rose")
    manager.add_immediate_job(print_report, 2)
    manager.add_scheduled_job(
        send_newsletter,
        timezone.now() + timedelta(seconds=10),
        "News from the library",
        "The annual report is out, and the reading room is open on Sundays again.",
        batch_size=10,
    )


def _write_secret(file: Path, text: str) -> None:
    # Removed first: an older file may be readable by others, or be a link.
    file.unlink(missing_ok=True)
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as opened:
        opened.write(text + "\n")
