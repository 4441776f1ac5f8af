import gzip
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)


class Collector:
    """Takes what exporters send to it by OTLP over HTTP."""

    def __init__(self):
        self.spans = []
        self.services = set()
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                collector.take(ExportTraceServiceRequest.FromString(body))
                self.send_response(200)
                self.send_header("Content-Type", "application/x-protobuf")
                self.end_headers()
                self.wfile.write(ExportTraceServiceResponse().SerializeToString())

            def log_message(self, *_):
                return

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()

    def take(self, request):
        for of_resource in request.resource_spans:
            self.services |= {
                one.value.string_value for one in of_resource.resource.attributes if one.key == "service.name"
            }
            for of_scope in of_resource.scope_spans:
                self.spans.extend(of_scope.spans)

    def names(self):
        return [span.name for span in self.spans]

    def attribute(self, span, key):
        return next((one.value.string_value for one in span.attributes if one.key == key), None)

    def stop(self):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join(10)


@pytest.fixture
def collector():
    collector = Collector()
    yield collector
    collector.stop()
