"""An app that sets tracing up, as a project's own does."""

from django.apps import AppConfig


class TracedConfig(AppConfig):
    name = "tests.integrations"
    label = "traced"

    def ready(self):
        from opentelemetry import trace
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.instrumentation.django import DjangoInstrumentor
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        from django_jobs.integrations.tracing import DjangoJobsInstrumentor

        provider = TracerProvider()
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        trace.set_tracer_provider(provider)
        DjangoJobsInstrumentor().instrument()
        DjangoInstrumentor().instrument()
