import json
import sys
from urllib.error import URLError
from urllib.request import Request, urlopen

import pytest
from prometheus_client.parser import text_string_to_metric_families as parse

from tests.children import ROOT, free_port


@pytest.fixture
def demo(spawn, collector, tmp_path):
    """The demo, watched; returns a function that asks it for an address."""
    port = free_port()
    process = spawn(
        sys.executable, str(ROOT / "testproject" / "manage.py"), "demo", str(port),
        env={
            "DJANGO_SETTINGS_MODULE": "tests.integrations.demo_settings",
            "TESTPROJECT_VAR": str(tmp_path),
            "METRICS_TOKEN": "s3cret",
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
            # Milliseconds until finished spans are sent.
            "OTEL_BSP_SCHEDULE_DELAY": "100",
        },
    )  # fmt: skip

    def ask(address, *, method="GET", **headers):
        assert process.poll() is None, process.log.read_text()
        request = Request(f"http://127.0.0.1:{port}/{address}", method=method, headers=headers)
        try:
            with urlopen(request, timeout=20) as answer:
                return answer.read().decode()
        except (URLError, OSError):
            # Not yet.
            return None

    return ask


@pytest.mark.django_db(transaction=True)
def test_metrics_are_scraped_and_spans_exported_while_the_demo_runs(demo, collector, until):
    def scrape():
        text = demo("metrics/jobs", Authorization="Bearer s3cret")
        samples = [sample for family in parse(text or "") for sample in family.samples]
        return {(sample.name, *sorted(sample.labels.values())): sample.value for sample in samples}

    def done():
        return scrape().get(("django_jobs_runs_total", "default", "successful"), 0)

    until(lambda: scrape().get(("django_jobs_workers", "alive")) == 1, 60)
    before = until(done, 60)
    job_id = json.loads(demo("ingest/", method="POST"))["job_id"]
    until(lambda: done() > before, 60)

    def of_job(name):
        return [
            span
            for span in list(collector.spans)
            if span.name == name and collector.attribute(span, "messaging.message.conversation_id") == job_id
        ]

    (processed,) = until(lambda: of_job("process default"), 60)
    (sent,) = until(lambda: of_job("send default"), 60)
    (request,) = until(
        lambda: [span for span in list(collector.spans) if span.span_id == sent.parent_span_id], 60
    )
    assert request.name == "POST ingest/"
    assert {span.trace_id for span in (request, sent, processed)} == {request.trace_id}
    assert processed.parent_span_id == sent.span_id
    assert demo("metrics/jobs") is None
