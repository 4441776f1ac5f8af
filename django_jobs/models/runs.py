"""Runs: the queue and the history."""

from __future__ import annotations

from django.db import models
from django.utils import timezone
from django.utils.text import format_lazy
from django.utils.translation import gettext_lazy as _

from django_jobs.models.base import FINISHED, MAX_ID_LENGTH, UNFINISHED, Call, InStatus, Status, StatusIndex

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
