import asyncio
import json
import tomllib
from datetime import timedelta
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from django.utils import timezone
from opentelemetry import trace
from opentelemetry.instrumentation.instrumentor import BaseInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from django_jobs import Retry
from django_jobs.integrations.tracing import DjangoJobsInstrumentor
from django_jobs.models import Job, Run, jobs_database
from django_jobs.worker.inline import inline_worker
from tests.executed import execute_all

ROOT = Path(__file__).parent.parent.parent


class Traces:
    """What was exported, and a tracer that makes spans around it."""

    def __init__(self, **options):
        self.exporter = InMemorySpanExporter()
        self.provider = TracerProvider()
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.tracer = self.provider.get_tracer("a request")
        DjangoJobsInstrumentor().instrument(tracer_provider=self.provider, **options)

    def named(self, name):
        return [span for span in self.exporter.get_finished_spans() if span.name == name]

    def one(self, name):
        (span,) = self.named(name)
        return span


@pytest.fixture
def traced():
    made = []

    def instrument(**options):
        made.append(Traces(**options))
        return made[-1]

    yield instrument

    DjangoJobsInstrumentor().uninstrument()
    for one in made:
        one.provider.shutdown()


@pytest.fixture
def traces(traced):
    return traced()


def is_child(span, parent):
    return span.parent.span_id == parent.context.span_id and span.context.trace_id == parent.context.trace_id


@pytest.mark.django_db
def test_a_run_goes_on_with_the_trace_of_the_request_that_added_it(traces, manager, probes):
    with traces.tracer.start_as_current_span("GET /"):
        manager.using(queue_name="mail").add_immediate_job(probes.give, 1, job_id="hello")
    execute_all()

    request, sent, processed = traces.one("GET /"), traces.one("send mail"), traces.one("process mail")
    assert is_child(sent, request)
    assert is_child(processed, sent)
    assert (sent.kind, processed.kind) == (SpanKind.PRODUCER, SpanKind.CONSUMER)
    assert dict(sent.attributes) == {
        "messaging.system": "django_jobs",
        "messaging.operation.name": "send",
        "messaging.operation.type": "send",
        "messaging.destination.name": "mail",
        "messaging.message.conversation_id": "hello",
        "code.function.name": "tests.probes.jobs.give",
    }
    run = Run.objects.get()
    assert dict(processed.attributes) == {
        "messaging.system": "django_jobs",
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.destination.name": "mail",
        "messaging.message.id": str(run.pk),
        "messaging.message.conversation_id": "hello",
        "messaging.client.id": run.worker_id,
        "code.function.name": "tests.probes.jobs.give",
        "django_jobs.attempt": 1,
        "django_jobs.outcome": "successful",
    }
    assert processed.status.status_code is StatusCode.UNSET


@pytest.mark.django_db
def test_each_failed_attempt_is_a_span_with_its_exception(traces, manager, probes):
    manager.using(retry=Retry(max_attempts=2, delay=0)).add_immediate_job(probes.fail, "no bank")
    execute_all()

    first, second = traces.named("process default")
    assert is_child(first, traces.one("send default"))
    assert is_child(second, traces.one("send default"))
    assert [span.attributes["django_jobs.attempt"] for span in (first, second)] == [1, 2]
    assert [span.attributes["django_jobs.outcome"] for span in (first, second)] == ["retried", "failed"]
    for span in (first, second):
        assert span.status.status_code is StatusCode.ERROR
        assert span.status.description == "ValueError: no bank"
        assert span.attributes["error.type"] == "builtins.ValueError"
        (event,) = span.events
        assert event.attributes["exception.message"] == "no bank"
        assert "in fail" in event.attributes["exception.stacktrace"]


def test_what_a_function_does_is_within_its_span_on_threads_and_on_the_loop(traces, serve, manager, probes):
    serve()

    for function in (probes.trace_id, probes.trace_id_async):
        traces.exporter.clear()
        trace_id = manager.wait(manager.add_immediate_job(function), 10)

        # Ended before its outcome was written.
        span = traces.one("process default")
        assert trace_id == trace.format_trace_id(span.context.trace_id)
        assert traces.one("inside").parent.span_id == span.context.span_id
    # And the threads are left as they were.
    assert not trace.get_current_span().get_span_context().is_valid


def test_a_run_that_another_run_adds_goes_on_with_its_trace(traces, serve, manager, probes, until):
    serve()

    manager.add_immediate_job(probes.add_another, "of another")

    until(lambda: len(traces.named("process default")) == 2)
    assert len({span.context.trace_id for span in traces.exporter.get_finished_spans()}) == 1


@pytest.mark.django_db
def test_many_are_added_with_one_span(traces, manager, probes):
    manager.add_many([(probes.give, (number,)) for number in range(3)])
    execute_all()

    sent = traces.one("send default")
    assert sent.attributes["messaging.batch.message_count"] == 3
    assert all(is_child(span, sent) for span in traces.named("process default"))
    assert len(traces.named("process default")) == 3


@pytest.mark.django_db
def test_a_scheduled_job_goes_on_with_the_trace_and_a_recurring_one_begins_its_own(traces, manager, probes):
    past = timezone.now() - timedelta(seconds=1)
    with traces.tracer.start_as_current_span("GET /"):
        manager.add_scheduled_job(probes.nothing, past, job_id="once")
        manager.add_recurring_job(probes.nothing, 3600, job_id="often")
    Job.objects.filter(pk="often").update(next_run_time=past)
    with inline_worker(jobs_database()) as worker:
        assert worker.fire() == 2
    execute_all()

    request = traces.one("GET /")
    by_job = {
        span.attributes["messaging.message.conversation_id"]: span for span in traces.named("process default")
    }
    assert by_job["once"].context.trace_id == request.context.trace_id
    assert by_job["often"].parent is None
    assert by_job["often"].context.trace_id != request.context.trace_id


@pytest.mark.django_db
def test_a_job_that_is_run_once_more_belongs_to_who_asked_for_it(traces, manager, probes):
    job_id = manager.add_immediate_job(probes.nothing)
    execute_all()
    with traces.tracer.start_as_current_span("POST /again"):
        manager.run_job(job_id)
    traces.exporter.clear()
    execute_all()

    span = traces.one("process default")
    first, second = Run.objects.order_by("id")
    assert first.options["opentelemetry"] != second.options["opentelemetry"]
    assert trace.format_trace_id(span.context.trace_id) in second.options["opentelemetry"]["traceparent"]


@pytest.mark.django_db
def test_with_links_a_run_is_a_trace_of_its_own(traced, manager, probes):
    traces = traced(use_links=True)
    manager.add_immediate_job(probes.nothing)
    execute_all()

    sent, processed = traces.one("send default"), traces.one("process default")
    assert processed.parent is None
    assert processed.context.trace_id != sent.context.trace_id
    assert [link.context.span_id for link in processed.links] == [sent.context.span_id]


@pytest.mark.django_db(transaction=True)
def test_a_view_that_is_async_and_calls_the_plain_method_keeps_its_trace(traces, manager, probes, run_async):
    async def view():
        with traces.tracer.start_as_current_span("GET /"):
            manager.add_immediate_job(probes.nothing)
            await manager.aadd_immediate_job(probes.nothing)
            await asyncio.sleep(0)

    run_async(view())

    assert [is_child(span, traces.one("GET /")) for span in traces.named("send default")] == [True, True]


@pytest.mark.django_db
@pytest.mark.parametrize("stored", ["nonsense", {"traceparent": "nonsense"}, {"traceparent": 7}])
def test_a_damaged_context_begins_a_trace_of_its_own(stored, traces, make_run):
    make_run(options={"opentelemetry": stored})

    execute_all()

    assert traces.one("process default").parent is None
    assert Run.objects.get().status == "SUCCESSFUL"


@pytest.mark.django_db
def test_after_uninstrument_nothing_is_traced_and_nothing_stored(traces, manager, probes):
    DjangoJobsInstrumentor().uninstrument()

    manager.add_immediate_job(probes.nothing)
    execute_all()

    assert traces.exporter.get_finished_spans() == ()
    assert Run.objects.get().options is None
    # For the fixture, which ends what it began.
    DjangoJobsInstrumentor().instrument(tracer_provider=traces.provider)


def test_the_entry_point_is_what_opentelemetry_instrument_looks_for():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    group = project["entry-points"]["opentelemetry_instrumentor"]

    found = EntryPoint("django_jobs", group["django_jobs"], "opentelemetry_instrumentor").load()

    assert issubclass(found, BaseInstrumentor)
    assert found().instrumentation_dependencies() == ()


@pytest.mark.django_db(transaction=True)
def test_a_worker_and_its_children_send_spans_to_a_collector(collector, runjobs, manager, probes, until):
    job_ids = [
        manager.using(queue_name=queue_name).add_immediate_job(probes.trace_id)
        for queue_name in ("default", "heavy")
    ]
    worker = runjobs(
        "--drain",
        env={
            "TESTS_DJANGO_JOBS": json.dumps({"ENGINES": {"heavy": "processes"}}),
            "TESTS_APP": "tests.integrations.traced_app.TracedConfig",
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
            "OTEL_SERVICE_NAME": "a worker of a test",
        },
    )
    assert worker.wait(60) == 0, worker.log.read_text()

    names = until(lambda: len(collector.names()) >= 4 and collector.names())
    assert sorted(names) == ["inside", "inside", "process default", "process heavy"]
    assert {collector.attribute(span, "messaging.message.conversation_id") for span in collector.spans if span.name != "inside"} == set(job_ids)  # fmt: skip
    assert collector.services == {"a worker of a test"}
