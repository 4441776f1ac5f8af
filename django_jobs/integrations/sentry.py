"""Sentry: a scope and a transaction for each attempt, failures as events, recurring jobs as cron monitors."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from django_jobs import signals
from django_jobs.execution import instrumentation

try:
    import sentry_sdk
    from sentry_sdk.integrations import Integration
    from sentry_sdk.integrations.logging import ignore_logger
    from sentry_sdk.tracing import TransactionSource
    from sentry_sdk.utils import event_from_exception
except ImportError as missing:
    raise ImportError(
        "django_jobs.integrations.sentry needs sentry-sdk: pip install 'django-durable-jobs[sentry]'"
    ) from missing

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from django_jobs.execution.instrumentation import End
    from django_jobs.storage.records import ClaimedRun, NewRun, Outcome

#: In a run's options: the trace that it was added in, as Sentry writes it into headers.
HEADERS = "sentry"
_ORIGIN = "auto.queue.django_jobs"


class DjangoJobsIntegration(Integration):
    """For `sentry_sdk.init(integrations=[DjangoJobsIntegration()])`, in settings.py.

    Args:
        capture_retried: Whether an attempt that will be tried again is an event too; else only what
            fails for good.
        monitor_recurring_jobs: Whether runs of recurring jobs check in with Sentry's cron monitors. A run
            then costs one query more at its start.
    """

    identifier = "django_jobs"

    def __init__(self, *, capture_retried: bool = False, monitor_recurring_jobs: bool = False) -> None:
        self.capture_retried = capture_retried
        self.monitor_recurring_jobs = monitor_recurring_jobs

    @staticmethod
    def setup_once() -> None:
        """Have runs observed; Sentry calls it once per process."""
        instrumentation.add_observer(_observer)
        # Each failure is an event of ours already, with its own exception.
        ignore_logger(signals.FAILED_LOGGER)
        for signal, receiver in (
            (signals.run_started, _check_in_at_start),
            (signals.run_finished, _check_in_at_end),
            (signals.run_rescued, _capture_death),
        ):
            signal.connect(receiver, dispatch_uid=f"django_jobs.sentry.{receiver.__name__}")


def _integration() -> DjangoJobsIntegration | None:
    """Return what the client of now was given; None where it has no DSN, or was set up without it."""
    client = sentry_sdk.get_client()
    return None if client.transport is None else client.get_integration(DjangoJobsIntegration)


class _Observer(instrumentation.Observer):
    @contextmanager
    def adding(self, runs: Sequence[NewRun]) -> Iterator[None]:
        if _integration() is None:
            yield
            return
        name = runs[0].func if len(runs) == 1 else f"{len(runs)} jobs"
        with sentry_sdk.start_span(op="queue.publish", name=name, origin=_ORIGIN) as span:
            span.set_data("messaging.system", "django_jobs")
            span.set_data("messaging.destination.name", runs[0].queue_name)
            scope = sentry_sdk.get_current_scope()
            headers = dict(scope.iter_trace_propagation_headers(span=span))
            for run in runs:
                # A dict of its own: the job may share its options with its run.
                run.options = {key: value for key, value in (run.options or {}).items() if key != HEADERS}
                if headers:
                    run.options[HEADERS] = headers
            yield

    def begin(self, run: ClaimedRun) -> End:
        integration = _integration()
        if integration is None:
            return _nothing
        stack = ExitStack()
        scope = stack.enter_context(sentry_sdk.isolation_scope())
        scope.clear_breadcrumbs()
        scope.set_tags(
            {
                "django_jobs.job_id": run.job_id,
                "django_jobs.run_id": run.id,
                "django_jobs.queue": run.queue_name,
                "django_jobs.function": run.func,
            }
        )
        scope.set_context(
            "job",
            {
                "job_id": run.job_id,
                "run_id": run.id,
                "attempt": run.attempt,
                "queue": run.queue_name,
                "function": run.func,
                "worker": run.worker_id,
            },
        )
        headers = run.options.get(HEADERS)
        transaction = sentry_sdk.continue_trace(
            headers if isinstance(headers, dict) else {},
            op="queue.process",
            name=run.func,
            source=TransactionSource.TASK,
            origin=_ORIGIN,
        )
        transaction.set_data("messaging.system", "django_jobs")
        transaction.set_data("messaging.message.id", str(run.id))
        transaction.set_data("messaging.destination.name", run.queue_name)
        transaction.set_data("messaging.message.retry.count", run.attempt - 1)
        stack.enter_context(sentry_sdk.start_transaction(transaction))

        def end(outcome: Outcome | None, error: BaseException | None) -> None:
            if outcome is None:
                # Goes on elsewhere, where it begins again.
                transaction.sampled = False
            else:
                is_failure = outcome.status == "FAILED" or bool(
                    outcome.status == "READY" and outcome.exception
                )
                transaction.set_status(
                    "internal_error" if is_failure else "cancelled" if outcome.status == "CANCELLED" else "ok"
                )
                is_final = outcome.status == "FAILED"
                if error is not None and is_failure and (is_final or integration.capture_retried):
                    event, hint = event_from_exception(
                        error,
                        client_options=sentry_sdk.get_client().options,
                        mechanism={"type": "django_jobs", "handled": not is_final},
                    )
                    event["level"] = "error" if is_final else "warning"
                    sentry_sdk.capture_event(event, hint=hint)
            stack.close()

        return end

    def flush(self, seconds: float) -> None:
        if _integration() is not None:
            sentry_sdk.flush(timeout=seconds)


_observer = _Observer()


def _nothing(outcome: Outcome | None, error: BaseException | None) -> None:
    """End what was not begun."""


def _capture_death(*, job_id: str, run_id: int, worker_id: str, status: str, reason: str, **_: Any) -> None:
    # Whoever executed it can tell nobody any more.
    if status != "FAILED" or _integration() is None:
        return
    with sentry_sdk.new_scope() as scope:
        scope.set_tags({"django_jobs.job_id": job_id, "django_jobs.run_id": run_id})
        scope.set_context("job", {"job_id": job_id, "run_id": run_id, "worker": worker_id})
        scope.fingerprint = ["django_jobs", "worker-died", job_id]
        sentry_sdk.capture_message(f"A run of job {job_id} failed: {reason}", level="error")


def _monitors() -> bool:
    integration = _integration()
    return integration is not None and integration.monitor_recurring_jobs


def _check_in_at_start(*, run: ClaimedRun, **_: Any) -> None:
    if run.kind == "recurring" and _monitors():
        # Only here, where models may be imported: Sentry is set up in settings.
        from django_jobs.integrations import sentry_monitors

        sentry_monitors.begin(run)


def _check_in_at_end(*, run: ClaimedRun, outcome: Outcome, **_: Any) -> None:
    if run.kind == "recurring" and outcome.status != "READY" and _monitors():
        from django_jobs.integrations import sentry_monitors

        sentry_monitors.end(run, outcome)
