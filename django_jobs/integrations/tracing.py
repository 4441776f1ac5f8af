"""OpenTelemetry: a span where a run is added, one for each attempt, and one trace over both.

Attributes follow the semantic conventions of messaging. Import it where Django need not be set up.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from django_jobs import __version__
from django_jobs.execution import instrumentation

try:
    from opentelemetry import context, propagate, trace
    from opentelemetry.instrumentation.instrumentor import (  # type: ignore[attr-defined] # says not what it exports
        BaseInstrumentor,
    )
    from opentelemetry.trace import Link, SpanKind, Status, StatusCode
except ImportError as missing:
    raise ImportError(
        "django_jobs.integrations.tracing needs OpenTelemetry: pip install 'django-durable-jobs[opentelemetry]'"
    ) from missing

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from opentelemetry.trace import Span, TracerProvider

    from django_jobs.execution.instrumentation import End
    from django_jobs.storage.records import ClaimedRun, NewRun, Outcome

#: In a run's options: the context that it was added in, as the propagators write it into headers.
CARRIER = "opentelemetry"
SYSTEM = "django_jobs"


class DjangoJobsInstrumentor(BaseInstrumentor):  # type: ignore[misc] # see its import
    """Traces what is added and executed in this process; `opentelemetry-instrument` finds it by itself.

    `instrument()` takes a `tracer_provider`, and `use_links`: whether an attempt begins a trace of its own
    with a link to the span that added the run, instead of going on with that one's trace.
    """

    def instrumentation_dependencies(self) -> Collection[str]:
        """Return what must be installed besides: nothing, this is part of what it instruments."""
        return ()

    def _instrument(self, **options: Any) -> None:
        self._observer = _Tracing(options.get("tracer_provider"), use_links=bool(options.get("use_links")))
        instrumentation.add_observer(self._observer)

    def _uninstrument(self, **_: Any) -> None:
        instrumentation.remove_observer(self._observer)


class _Tracing(instrumentation.Observer):
    def __init__(self, provider: TracerProvider | None, *, use_links: bool) -> None:
        self._provider = provider
        self._use_links = use_links
        self._tracer = trace.get_tracer("django_jobs", __version__, provider)

    @contextmanager
    def adding(self, runs: Sequence[NewRun]) -> Iterator[None]:
        queues = {run.queue_name for run in runs}
        # Of several queues none is named: the span is of all.
        queue_name = queues.pop() if len(queues) == 1 else ""
        attributes: dict[str, Any] = {
            "messaging.system": SYSTEM,
            "messaging.operation.name": "send",
            "messaging.operation.type": "send",
        }
        if queue_name:
            attributes["messaging.destination.name"] = queue_name
        if len(runs) == 1:
            attributes["messaging.message.conversation_id"] = runs[0].job_id
            attributes["code.function.name"] = _dotted(runs[0].func)
        else:
            attributes["messaging.batch.message_count"] = len(runs)
        name = f"send {queue_name}".rstrip()
        with self._tracer.start_as_current_span(name, kind=SpanKind.PRODUCER, attributes=attributes):
            carrier: dict[str, str] = {}
            propagate.inject(carrier)
            for run in runs:
                # A dict of its own: the job may share its options with its run.
                run.options = {key: value for key, value in (run.options or {}).items() if key != CARRIER}
                if carrier:
                    run.options[CARRIER] = carrier
            yield

    def begin(self, run: ClaimedRun) -> End:
        # Nothing of what this thread did before belongs to it.
        added_in = propagate.extract(_carrier(run), context=context.Context())
        links = []
        parent = added_in
        if self._use_links:
            origin = trace.get_current_span(added_in).get_span_context()
            links = [Link(origin)] if origin.is_valid else []
            parent = trace.set_span_in_context(trace.INVALID_SPAN, added_in)
        span = self._tracer.start_span(
            f"process {run.queue_name}",
            context=parent,
            kind=SpanKind.CONSUMER,
            links=links,
            attributes={
                "messaging.system": SYSTEM,
                "messaging.operation.name": "process",
                "messaging.operation.type": "process",
                "messaging.destination.name": run.queue_name,
                "messaging.message.id": str(run.id),
                "messaging.message.conversation_id": run.job_id,
                "messaging.client.id": run.worker_id,
                "code.function.name": _dotted(run.func),
                "django_jobs.attempt": run.attempt,
            },
        )
        token = context.attach(trace.set_span_in_context(span, added_in))

        def end(outcome: Outcome | None, error: BaseException | None) -> None:
            context.detach(token)
            if outcome is not None:
                _end(span, outcome, error)

        return end

    def flush(self, seconds: float) -> None:
        provider = self._provider or trace.get_tracer_provider()
        # The API's own provider, which drops everything, has nothing to flush.
        if hasattr(provider, "force_flush"):
            provider.force_flush(int(seconds * 1000))


def _end(span: Span, outcome: Outcome, error: BaseException | None) -> None:
    span.set_attribute("django_jobs.outcome", _word(outcome))
    if error is not None:
        span.record_exception(error)
    # Also where there will be another attempt: this one failed. One that was only told to stop did not.
    if outcome.status == "FAILED" or (outcome.status == "READY" and outcome.exception):
        span.set_attribute("error.type", outcome.exception or outcome.error.partition(":")[0])
        span.set_status(Status(StatusCode.ERROR, outcome.error))
    span.end()


def _carrier(run: ClaimedRun) -> dict[str, str]:
    # Nobody signs options: a row may hold anything.
    carrier = run.options.get(CARRIER)
    if not isinstance(carrier, dict):
        return {}
    return {key: value for key, value in carrier.items() if isinstance(value, str)}


def _word(outcome: Outcome) -> str:
    if outcome.status != "READY":
        return str(outcome.status).lower()
    return "returned" if outcome.retry_in is None else "retried"


def _dotted(func: str) -> str:
    return func.replace(":", ".")
