"""Tables, constraints, indexes and selections."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from django.db import connections, models, router
from django.db.models.lookups import Lookup
from django.utils import timezone
from django.utils.text import format_lazy
from django.utils.translation import gettext_lazy as _
from django_apscheduler.models import DjangoJob

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    _Lookup = Lookup[bool]
else:
    # Django's cannot be subscripted when the program runs.
    _Lookup = Lookup

MAX_ID_LENGTH = 255
DEFAULT_QUEUE_NAME = "default"
MIN_PRIORITY, MAX_PRIORITY = -100, 100


class Kind(models.TextChoices):
    """How a job came to be."""

    IMMEDIATE = "immediate", _("immediate")
    SCHEDULED = "scheduled", _("scheduled")
    RECURRING = "recurring", _("recurring")


class Status(models.TextChoices):
    """State of one run; the first four are Django Tasks', the last two ours."""

    READY = "READY", _("Ready")
    RUNNING = "RUNNING", _("Running")
    SUCCESSFUL = "SUCCESSFUL", _("Successful")
    FAILED = "FAILED", _("Failed")
    CANCELLED = "CANCELLED", _("Cancelled")
    SKIPPED = "SKIPPED", _("Skipped")


UNFINISHED = (Status.READY, Status.RUNNING)
FINISHED = (Status.SUCCESSFUL, Status.FAILED, Status.CANCELLED, Status.SKIPPED)


class StatusIndex(models.Index):
    """An index of the rows in some states only, so that history costs it nothing.

    On databases without partial indexes (MariaDB, MySQL) it covers all rows, so `fields` should
    begin with the status. A plain `condition` would make `manage.py check` warn there, each time.

    Args:
        fields: As for `models.Index`.
        statuses: The states whose rows are indexed.
        name: As for `models.Index`.
    """

    def __init__(self, fields: Sequence[str], *, statuses: Sequence[str], name: str) -> None:
        super().__init__(fields=fields, name=name)
        self.statuses = list(statuses)

    def deconstruct(self) -> tuple[str, Sequence[Any], dict[str, Any]]:
        """Return what a migration writes down."""
        return (
            "django_jobs.models.StatusIndex",
            [],
            {"fields": self.fields, "statuses": self.statuses, "name": self.name},
        )

    def _get_condition_sql(self, model: type[models.Model], schema_editor: Any) -> str | None:
        if not schema_editor.connection.features.supports_partial_indexes:
            return None
        quoted = [schema_editor.quote_value(status) for status in self.statuses]
        column = schema_editor.quote_name("status")
        # SQLite uses the index for `status = 'READY'` only when its condition says just that.
        return f"{column} = {quoted[0]}" if len(quoted) == 1 else f"{column} IN ({', '.join(quoted)})"


class Call(models.Model):
    """What to call and how: the columns that a job and its runs share."""

    name = models.CharField(_("name"), max_length=255)
    func = models.CharField(_("function"), max_length=500, help_text=_("What is called, as module:qualname."))
    payload = models.TextField(_("arguments"), help_text=_("Arguments as JSON with typed tags."))
    signature = models.CharField(
        max_length=64, help_text=_("Of function and arguments, by SECRET_KEY; others are never called.")
    )
    queue_name = models.CharField(_("queue"), max_length=100, default=DEFAULT_QUEUE_NAME)
    priority = models.SmallIntegerField(
        _("priority"), default=0, help_text=_("-100 to 100; high goes first.")
    )
    options = models.JSONField(
        null=True, help_text=_("Policy of each run: retry, timeout, at_most_once, expires, sensitive.")
    )
    kind = models.CharField(_("kind"), max_length=10, choices=Kind)

    class Meta:
        abstract = True


class JobQuerySet(models.QuerySet["Job"]):
    """Selections of jobs."""

    def active(self) -> JobQuerySet:
        """Jobs that will fire."""
        # Not `=`: a planner without statistics takes that for so rare that it reads all jobs to find one.
        return self.filter(broken_reason__lte="", next_run_time__isnull=False)

    def paused(self) -> JobQuerySet:
        """Jobs that wait for `resume_job`."""
        return self.filter(broken_reason="", next_run_time__isnull=True)

    def broken(self) -> JobQuerySet:
        """Jobs that cannot be read, kept until somebody mends them."""
        return self.exclude(broken_reason="")

    def declared(self) -> JobQuerySet:
        """Jobs that the code declares, as against those that somebody added."""
        return self.filter(declared__isnull=False)


class Job(Call, DjangoJob):  # type: ignore[misc] # django-apscheduler ships no types
    """A scheduled or recurring job: django-apscheduler's row, and what it lacks.

    `id`, `next_run_time` (null while paused) and `job_state` (our JSON of the trigger, never a
    pickle) are inherited columns of django-apscheduler's table.
    """

    max_instances = models.PositiveIntegerField(
        _("max instances"),
        default=1,
        help_text=_("Unfinished runs of this job at the same time, over all processes."),
    )
    coalesce = models.BooleanField(
        _("coalesce"), default=True, help_text=_("Missed firings become one run, not one each.")
    )
    misfire_grace_time = models.PositiveIntegerField(
        _("misfire grace time"),
        null=True,
        blank=True,
        help_text=_("Seconds a firing may be late before it is skipped; empty: it runs however late."),
    )
    broken_reason = models.TextField(
        _("broken"), blank=True, default="", help_text=_("Why this job cannot fire; empty when it can.")
    )
    declared = models.JSONField(
        _("declared"),
        null=True,
        editable=False,
        help_text=_(
            "What the code's declaration says of what a person may change; null: added, not declared."
        ),
    )
    overrides = models.JSONField(
        _("overrides"),
        default=dict,
        editable=False,
        help_text=_("What a person changed of it since, by name; deploys leave that alone."),
    )
    created_at = models.DateTimeField(_("created at"), auto_now_add=True)
    # A run of one of its scheduled times that was made before this, by the database's clock, is of an
    # earlier job of this id, or of before a person chose the time again. Empty: since `created_at`.
    occurrences_since = models.DateTimeField(null=True, editable=False)
    paused_at = models.DateTimeField(_("paused at"), null=True, blank=True)
    # A default of the database's: processes of the version before insert rows without it.
    paused_by = models.CharField(
        _("paused by"), max_length=255, blank=True, default="", db_default="",
        help_text=_("Who paused it, as they are called; empty when nobody said."),
    )  # fmt: skip
    # No constraint and no index: history may be pruned under it, and nothing looks a job up by it.
    last_run = models.ForeignKey(
        "Run", null=True, on_delete=models.DO_NOTHING, db_constraint=False, db_index=False, related_name="+"
    )

    objects = JobQuerySet.as_manager()

    class Meta:
        verbose_name = _("job")
        verbose_name_plural = _("jobs")
        permissions = [
            ("run_job", "Can run jobs now"),
            ("manage_job", "Can add, pause, resume and reschedule jobs"),
        ]

    def __str__(self) -> str:
        return str(self.id)

    @property
    def status(self) -> str:
        """One of scheduled, paused, broken."""
        if self.broken_reason:
            return "broken"
        return "scheduled" if self.next_run_time else "paused"

    @property
    def has_chosen_next_run(self) -> bool:
        """Whether a person chose when it fires next, and that is still to come."""
        chosen = self.overrides.get("next_run_time")
        return chosen is not None and self.next_run_time == datetime.fromisoformat(chosen)

    @property
    def overridden(self) -> list[str]:
        """What a person changed of a declared job, by name; "paused" among them."""
        if self.declared is None:
            return []
        names = [name for name in self.overrides if name != "next_run_time" or self.has_chosen_next_run]
        return sorted(names) + (["paused"] if self.paused_at else [])


class InStatus(_Lookup):
    """The condition that runs are in one of some states, for `filter()`.

    With the states as literals: SQLite does not use a partial index for a status that it is only
    told when the statement runs. A lookup, because MariaDB uses no index for other conditions of
    Django 5.2's, which it is given as `(...) = TRUE`.

    Args:
        statuses: One state or several.
    """

    lookup_name = "in_status"
    prepare_rhs = False

    def __init__(self, *statuses: Status) -> None:
        super().__init__(models.F("status"), tuple(Status(status).value for status in statuses))

    def as_sql(self, compiler: Any, connection: Any) -> tuple[str, tuple[Any, ...]]:
        """Return the condition."""
        column, params = self.process_lhs(compiler, connection)
        quoted = [f"'{status}'" for status in self.rhs]
        states = f"= {quoted[0]}" if len(quoted) == 1 else f"IN ({', '.join(quoted)})"
        return f"{column} {states}", tuple(params)


# Which of the held runs are paused. Versions without `held_run_after` left it empty, and of theirs those are
# that had not failed yet.
PAUSED = models.Q(held_run_after__isnull=False) | models.Q(error="")


class RunQuerySet(models.QuerySet["Run"]):
    """Selections of runs."""

    def ready(self) -> RunQuerySet:
        """Runs that wait: due, deferred or held."""
        return self.filter(InStatus(Status.READY))

    def running(self) -> RunQuerySet:
        """Runs that a worker holds."""
        return self.filter(InStatus(Status.RUNNING))

    def unfinished(self) -> RunQuerySet:
        """Runs that wait or execute."""
        return self.filter(InStatus(*UNFINISHED))

    def finished(self) -> RunQuerySet:
        """Runs that are history."""
        return self.filter(status__in=FINISHED)

    def held(self) -> RunQuerySet:
        """Runs that wait for a person; which of them are `paused()`, which `broken()`."""
        return self.ready().filter(run_after__isnull=True)

    def paused(self) -> RunQuerySet:
        """Runs that wait for `resume_job`; one that waited for its retry has an error, too."""
        return self.held().filter(PAUSED)

    def broken(self) -> RunQuerySet:
        """Runs that cannot be called as they are stored."""
        return self.held().exclude(PAUSED)


class Run(Call):
    """One execution of a job: an entry of the queue, and once finished of the history."""

    id = models.BigAutoField(primary_key=True)
    # Not a foreign key: rows of a job outlive it.
    job_id = models.CharField(_("job"), max_length=MAX_ID_LENGTH)
    status = models.CharField(_("status"), max_length=10, choices=Status, default=Status.READY)
    run_after = models.DateTimeField(
        _("run after"), null=True, help_text=_("Not before this time; empty while held.")
    )
    # Of a paused run, when it was due. Of one that runs: its job was paused meanwhile, and if it comes
    # back it is held. Of others it says nothing.
    held_run_after = models.DateTimeField(null=True, editable=False)
    attempt = models.PositiveIntegerField(_("attempt"), default=0, help_text=_("How often it was claimed."))
    rescues = models.PositiveIntegerField(
        _("rescues"), default=0, help_text=_("How often its worker died and it was given to another.")
    )
    scheduled_at = models.DateTimeField(
        _("scheduled at"), null=True, help_text=_("The firing this run stands for; empty when added by hand.")
    )
    # A firing (job id and time) for ever, or the id of an unfinished immediate job: the second
    # guard against running anything twice. Empty where nothing can collide.
    unique_key = models.CharField(max_length=255, null=True, unique=True)  # noqa: DJ001 - many rows have none
    cancel_requested = models.BooleanField(_("cancel requested"), default=False)
    worker_id = models.CharField(_("worker"), max_length=64, blank=True, default="")
    # When an engine that is told of its runs was; only in the queues of one, and not once it is claimed.
    dispatched_at = models.DateTimeField(null=True, editable=False)
    # When that message is taken for lost; says nothing where `dispatched_at` is empty.
    redispatch_at = models.DateTimeField(null=True, editable=False)
    enqueued_at = models.DateTimeField(_("enqueued at"))
    started_at = models.DateTimeField(_("started at"), null=True)
    finished_at = models.DateTimeField(_("finished at"), null=True)
    result = models.TextField(_("result"), null=True, help_text=_("What the function returned, as JSON."))  # noqa: DJ001 - null is no result, "" is never written
    error = models.TextField(_("error"), blank=True, default="", help_text=_("The last error, on one line."))
    errors = models.JSONField(
        _("errors"),
        null=True,
        help_text=_(
            "One entry per attempt that failed or was lost: attempt, worker, times, error, traceback."
        ),
    )
    log = models.TextField(_("log"), blank=True, default="")
    progress = models.JSONField(
        _("progress"), null=True, help_text=_("done, total and message, as last set.")
    )

    objects = RunQuerySet.as_manager()

    class Meta:
        verbose_name = _("run")
        verbose_name_plural = _("runs")
        permissions = [("view_payload", "Can see arguments, results, errors' details and logs")]
        indexes = [
            StatusIndex(
                ["status", "-priority", "run_after", "id"], statuses=["READY"], name="django_jobs_run_ready"
            ),
            StatusIndex(
                ["status", "queue_name", "-priority", "run_after", "id"],
                statuses=["READY"],
                name="django_jobs_run_queue",
            ),
            # When the next deferred run is due.
            StatusIndex(["status", "run_after"], statuses=["READY"], name="django_jobs_run_due"),
            StatusIndex(["status", "worker_id"], statuses=["RUNNING"], name="django_jobs_run_running"),
            StatusIndex(
                ["status", "id"], statuses=["FAILED", "CANCELLED", "SKIPPED"], name="django_jobs_run_failed"
            ),
            StatusIndex(["job_id", "status"], statuses=["READY", "RUNNING"], name="django_jobs_run_open"),
            models.Index(fields=["job_id", "id"], name="django_jobs_run_job"),
        ]

    def __str__(self) -> str:
        return f"{self.job_id} ({self.pk})"

    @property
    def state(self) -> str:
        """Where it stands: its status in lower case, or what a READY or RUNNING one waits for.

        One of ready, deferred (not before its time), paused, broken (it waits for a person, who says that
        it may be called again), running, stopping (it was asked to), successful, failed, cancelled, skipped.
        """
        if self.status == Status.RUNNING:
            return "stopping" if self.cancel_requested else "running"
        if self.status != Status.READY:
            return str(self.status).lower()
        if self.run_after is not None:
            return "deferred" if self.run_after > timezone.now() else "ready"
        return "paused" if self.held_run_after is not None or not self.error else "broken"

    @property
    def is_held(self) -> bool:
        """Whether it waits for a person."""
        return self.status == Status.READY and self.run_after is None


class Dashboard(Run):
    """No table: it gives the dashboard its place among the admin's pages, and has no permissions of its own."""

    class Meta:
        proxy = True
        default_permissions = ()
        verbose_name = _("Dashboard")
        # Django's admin sorts an app's pages by this name: a space goes before all letters, in any language.
        verbose_name_plural = format_lazy(" {}", _("Dashboard"))


class Worker(models.Model):
    """One process that claims runs, and until when it may keep them."""

    id = models.CharField(primary_key=True, max_length=64)
    host = models.CharField(_("host"), max_length=255)
    # Tells two boots, containers or reused process ids apart, so that a process on the same
    # machine can prove that this one is gone without waiting for the lease.
    process_key = models.CharField(max_length=255)
    pid = models.PositiveIntegerField(_("process"))
    version = models.CharField(_("version"), max_length=30)
    queues = models.JSONField(_("queues"), default=list, help_text=_("Empty: all."))
    threads = models.PositiveIntegerField(_("threads"))
    has_clock = models.BooleanField(_("clock"))
    started_at = models.DateTimeField(_("started at"))
    heartbeat_at = models.DateTimeField(_("last heartbeat"))
    lease_expires_at = models.DateTimeField(_("lease until"))
    stopped_at = models.DateTimeField(
        _("stopped at"), null=True, help_text=_("Ended by itself, or found dead.")
    )
    was_lost = models.BooleanField(_("lost"), default=False, help_text=_("Ended without saying so."))

    class Meta:
        verbose_name = _("worker")
        verbose_name_plural = _("workers")
        # Those that live, among all that ever did.
        indexes = [models.Index(fields=["stopped_at"], name="django_jobs_worker_stopped")]

    def __str__(self) -> str:
        return self.id


class Queue(models.Model):
    """A queue that an operator has said something about; others need no row."""

    name = models.CharField(_("name"), primary_key=True, max_length=100)
    paused_at = models.DateTimeField(_("paused at"), null=True, blank=True)

    class Meta:
        verbose_name = _("queue")
        verbose_name_plural = _("queues")

    def __str__(self) -> str:
        return self.name


class Chore(models.Model):
    """Work that one process does for all, every few minutes."""

    name = models.CharField(primary_key=True, max_length=30)
    # By the database's clock. Who moves it on first has the turn.
    due_at = models.DateTimeField()
    # What the next turn goes on from.
    state = models.JSONField(default=dict)

    def __str__(self) -> str:
        return self.name


# Upper ends of the bins that durations are counted in, in seconds; one more bin has what took longer.
BIN_ENDS = tuple(float(f"{digit}e{power}") for power in range(-3, 5) for digit in (1, 2, 5))[:-1]
RAN_BINS = tuple(f"ran_{index}" for index in range(len(BIN_ENDS) + 1))
WAITED_BINS = tuple(f"waited_{index}" for index in range(len(BIN_ENDS) + 1))


class Tally(models.Model):
    """How many runs of one function and queue came to one outcome in a minute, an hour or a day.

    Besides what is below it has the columns `RAN_BINS` and `WAITED_BINS`: how many ran, and had waited,
    for how long.
    """

    id = models.BigAutoField(primary_key=True)
    # Of the time that is counted: 60, 3600 or 86400; and when that begins.
    size_seconds = models.PositiveIntegerField()
    begins_at = models.DateTimeField()
    func = models.CharField(max_length=500)
    queue_name = models.CharField(max_length=100)
    # As `Run.status`. READY: an attempt that will be tried again.
    outcome = models.CharField(max_length=10)
    runs = models.BigIntegerField(default=0)
    ran_seconds = models.FloatField(default=0)
    waited_seconds = models.FloatField(default=0)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["size_seconds", "begins_at", "func", "queue_name", "outcome"],
                name="django_jobs_tally_one",
            )
        ]

    def __str__(self) -> str:
        return f"{self.func}: {self.runs} {self.outcome}"


for _name in (*RAN_BINS, *WAITED_BINS):
    Tally.add_to_class(_name, models.IntegerField(default=0))


class Release(models.Model):
    """The schedules that one version of the code declares, kept while a process has it and a while after.

    Versions are told apart by what they declare, and ordered by when that was first seen. The row
    whose fingerprint is empty is what processes lock, and remembers what persons changed of jobs that
    are not declared at present.
    """

    fingerprint = models.CharField(primary_key=True, max_length=64)
    number = models.PositiveIntegerField(unique=True, help_text=_("In the order they were first seen."))
    definitions = models.JSONField(default=dict, help_text=_("What each declared job is, by its id."))
    first_seen_at = models.DateTimeField()
    gone_at = models.DateTimeField(null=True, help_text=_("Since when no process is known to have it."))

    class Meta:
        verbose_name = _("release")
        verbose_name_plural = _("releases")

    def __str__(self) -> str:
        return str(self.number)


class Declarer(models.Model):
    """One process with a clock, and the release that its code is of."""

    id = models.CharField(primary_key=True, max_length=64)
    # Not a foreign key: the two are written in one transaction, and nothing deletes a release in use.
    fingerprint = models.CharField(max_length=64)
    host = models.CharField(max_length=255)
    process_key = models.CharField(max_length=255, help_text=_("As a worker's."))
    expires_at = models.DateTimeField(help_text=_("Dead by then, unless it says that it lives."))

    class Meta:
        verbose_name = _("declarer")
        verbose_name_plural = _("declarers")

    def __str__(self) -> str:
        return self.id


def jobs_database() -> str:
    """Return the alias that holds our tables, as the project's routers say."""
    return router.db_for_write(Run)


def missing_tables(alias: str | None = None) -> set[str]:
    """Return the tables of ours that the database lacks, with two or three queries."""
    connection = connections[alias or jobs_database()]
    there = set(connection.introspection.table_names())
    return {model._meta.db_table for model in _tables()} - there


def _tables() -> Iterable[type[models.Model]]:
    return (DjangoJob, Job, Run, Worker, Queue, Chore, Tally, Release, Declarer)
