"""Runs: the queue and the history."""

from __future__ import annotations

from datetime import datetime

from django.db import models
from django.utils import timezone
from django.utils.text import format_lazy
from django.utils.translation import gettext_lazy as _

from django_jobs.models.base import (
    FINISHED,
    MAX_ID_LENGTH,
    UNFINISHED,
    Call,
    InStatus,
    PresentIndex,
    Status,
    StatusIndex,
    Wait,
)

# Which READY runs without `run_after` wait for a person.
HELD = models.Q(run_after__isnull=True) & (
    models.Q(waits_for__isnull=True) | models.Q(held_run_after__isnull=False)
)
# Which of those are paused. Versions without `held_run_after` left it empty, and of theirs those are that had
# not failed yet.
PAUSED = models.Q(held_run_after__isnull=False) | models.Q(error="", waits_for__isnull=True)
# And which cannot be called as they are stored.
BROKEN = models.Q(run_after__isnull=True, held_run_after__isnull=True, waits_for__isnull=True) & ~models.Q(
    error=""
)
# Which READY runs wait neither for their time nor for a person.
BLOCKED = models.Q(run_after__isnull=True, waits_for__isnull=False, held_run_after__isnull=True)
# The word for a run that waits for something.
_WAITING_WORDS = {
    Wait.LIMIT.value: "limited",
    Wait.ORDER.value: "ordered",
    # Behind other runs of its job.
    Wait.TURN.value: "ordered",
    # Behind other runs of its fair key.
    Wait.FAIR.value: "ordered",
    Wait.DEPENDENCY.value: "dependent",
    Wait.EVENT.value: "sleeping",
}
BLOCKED_STATES = frozenset(_WAITING_WORDS.values())


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
        return self.ready().filter(HELD)

    def paused(self) -> RunQuerySet:
        """Runs that wait for `resume_job`; one that waited for its retry has an error, too."""
        return self.held().filter(PAUSED)

    def broken(self) -> RunQuerySet:
        """Runs that cannot be called as they are stored."""
        return self.ready().filter(BROKEN)

    def blocked(self) -> RunQuerySet:
        """Runs that wait neither for their time nor for a person, but for what `waits_for` says."""
        return self.ready().filter(BLOCKED)


class Run(Call):
    """One execution of a job: an entry of the queue, and once finished of the history."""

    id = models.BigAutoField(primary_key=True)
    # Not a foreign key: rows of a job outlive it.
    job_id = models.CharField(_("job"), max_length=MAX_ID_LENGTH)
    status = models.CharField(_("status"), max_length=10, choices=Status, default=Status.READY)
    run_after = models.DateTimeField(
        _("run after"), null=True, help_text=_("Not before this time; empty while held.")
    )
    # What a READY run without `run_after` waits for, besides a person where `held_run_after` is set. Claims do
    # not see such a run: who ends the wait sets `run_after`, see storage/waits.py.
    waits_for = models.CharField(max_length=16, choices=Wait, null=True, editable=False)  # noqa: DJ001 - most rows have none
    # Tells which of the runs with a limit share it: a digest of the key that `options` has in full. Empty for
    # all others.
    limit_key = models.CharField(max_length=32, null=True, editable=False)  # noqa: DJ001 - most rows have none
    # Tells which runs take turns as one: a digest of queue, priority, fair key and limit. Empty without a fair key.
    fair_key = models.CharField(max_length=32, null=True, editable=False)  # noqa: DJ001 - most rows have none
    # Of one with a fair key: when that was served before this run's turn came. It tells the order in the line of a limit.
    turn_at = models.DateTimeField(null=True, editable=False)
    # The batch that it belongs to. Not a foreign key: most runs have none.
    batch_id = models.BigIntegerField(null=True, editable=False)
    # An object as "app_label.model:pk". Not a foreign key: it may be of any model, in any database.
    about = models.CharField(_("about"), max_length=255, null=True, editable=False)  # noqa: DJ001 - most rows have none
    # Of a run that ended and says itself how long it is kept. Empty where settings say, or its batch.
    keep_until = models.DateTimeField(null=True, editable=False)
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
    # A firing (job id and time), forever, or the id of an unfinished immediate job: the second
    # guard against running anything twice. Empty where nothing can collide.
    unique_key = models.CharField(max_length=255, null=True, unique=True)  # noqa: DJ001 - many rows have none
    cancel_requested = models.BooleanField(_("cancel requested"), default=False)
    worker_id = models.CharField(_("worker"), max_length=64, blank=True, default="")
    # A number of the claim that never comes again: ids, attempts and workers do, in a database that went
    # back to an older state. Empty where a process of a version without it claimed the run.
    fence = models.BigIntegerField(null=True, editable=False)
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
    # What a FAILED run shares with others that failed with the same exception at the same place; see
    # texts/failures.py. Empty for all others, and for those that failed under versions without it.
    error_key = models.CharField(max_length=32, null=True, editable=False)  # noqa: DJ001 - most rows have none
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
            # What claims walk: nothing in it waits for something other than its time.
            StatusIndex(
                ["status", "-priority", "run_after", "id"],
                statuses=["READY"],
                present="run_after",
                name="django_jobs_run_ready",
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
            # Of one key: those that run, those that are due, and those that wait, by their turns.
            StatusIndex(
                ["status", "limit_key", "run_after", "-priority", "id"],
                statuses=["READY", "RUNNING"],
                present="limit_key",
                name="django_jobs_run_limit",
            ),
            # Of one fair key: those that wait for their turn, and those whose turn it is. Not by the status first:
            # PostgreSQL leaves out of a statement's conditions what the index says already, and would walk all of it.
            StatusIndex(
                ["fair_key", "waits_for", "status", "run_after", "id"],
                statuses=["READY"],
                present="fair_key",
                name="django_jobs_run_fair",
            ),
            # When a fair key was served last.
            PresentIndex(fields=["fair_key", "id"], name="django_jobs_run_served"),
            PresentIndex(fields=["batch_id", "id"], name="django_jobs_run_batch"),
            PresentIndex(fields=["about", "id"], name="django_jobs_run_about"),
            # The few of an object that are unfinished, among all that ever were about it.
            StatusIndex(
                ["about", "status"],
                statuses=["READY", "RUNNING"],
                present="about",
                name="django_jobs_run_about_open",
            ),
            PresentIndex(fields=["keep_until"], name="django_jobs_run_keep"),
            # Without the status before them: PostgreSQL looks for no value of a column that the condition of a
            # partial index has already, and so would read all of the index.
            StatusIndex(
                ["error_key", "id"],
                statuses=["FAILED"],
                present="error_key",
                name="django_jobs_run_error_key",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.job_id} ({self.pk})"

    @property
    def state(self) -> str:
        """Where it stands: its status in lower case, or what a READY or RUNNING one waits for.

        One of ready, deferred (not before its time), paused, broken (it waits for a person, who says that
        it may be called again), limited, ordered, dependent, sleeping (it waits for a limit, its turn, other
        runs, an event), running, stopping (it was asked to), successful, failed, cancelled, skipped.
        """
        if self.status == Status.RUNNING:
            return "stopping" if self.cancel_requested else "running"
        if self.status != Status.READY:
            return str(self.status).lower()
        if self.run_after is not None:
            return "deferred" if self.run_after > timezone.now() else "ready"
        if self.waits_for and self.held_run_after is None:
            return _WAITING_WORDS.get(self.waits_for, "ready")
        return "paused" if self.held_run_after is not None or not self.error else "broken"

    @property
    def is_held(self) -> bool:
        """Whether it waits for a person."""
        if self.status != Status.READY or self.run_after is not None:
            return False
        return not self.waits_for or self.held_run_after is not None

    @property
    def share(self) -> float | None:
        """How far it has come by its progress, 0 to 1; None where the whole is unknown."""
        progress = self.progress if isinstance(self.progress, dict) else {}
        done, total = progress.get("done"), progress.get("total")
        if not isinstance(done, int | float) or not isinstance(total, int | float) or total <= 0:
            return None
        return min(1.0, max(0.0, done / total))

    @property
    def seconds_left(self) -> float | None:
        """How long it will still take if it goes on as it has; None where that is unknown, and unless it is RUNNING.

        A loop that goes on where an earlier attempt stopped has an estimate of its own, of this attempt's pace.
        """
        share, now, progress = self.share, timezone.now(), self.progress or {}
        if self.status != Status.RUNNING or self.started_at is None or not share:
            return None
        try:
            ends_at = datetime.fromisoformat(progress["ends_at"])
            return max(0.0, (ends_at - now).total_seconds())
        except (KeyError, TypeError, ValueError):
            return max(0.0, (now - self.started_at).total_seconds() * (1 - share) / share)


class Dashboard(Run):
    """No table: it gives the dashboard its place among the admin's pages, and has no permissions of its own."""

    class Meta:
        proxy = True
        default_permissions = ()
        verbose_name = _("Dashboard")
        # Django's admin sorts an app's pages by this name: a space goes before all letters, in any language.
        verbose_name_plural = format_lazy(" {}", _("Dashboard"))
