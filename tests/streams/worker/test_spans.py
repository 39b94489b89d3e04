"""Spans of batches, off by default; made with OpenTelemetry's own exporter in memory."""

import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import orjson
import pytest
from confluent_kafka import Producer

from streams.errors import SettingsError
from streams.kafka.topics import load_topics
from streams.pipeline.stages import Outbox, Ticket
from streams.pipeline.traces import Trace
from streams.settings import Settings
from streams.trials.brokers import EmbeddedBroker
from streams.trials.worker_process import WorkerProcess
from streams.worker.spans import MOST_LINKS, Spans, make_spans
from tests.driving import ITEMS, decisions
from tests.rig import assignment


@pytest.fixture
def exported() -> Iterator[tuple[Spans, Any]]:
    """Spans, and where they go."""
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    provider, exporter = TracerProvider(), InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    spans = Spans(provider, "the group")
    yield spans, exporter
    spans.close()


def batch(**changes: Any) -> Outbox:
    return Outbox(Ticket(1, assignment(), {}, time.monotonic() - 0.5), [], [], **changes)


def test_a_batch_is_a_span_with_links_to_its_records_traces(exported: tuple[Spans, Any]) -> None:
    """From its poll to its commit, a root of its own: it belongs to many traces."""
    spans, exporter = exported
    decisions = Counter({("auto-action", "below_threshold", "hate"): 3, ("auto-action", "below_threshold", "spam"): 1})
    spans.ended(batch(decisions=decisions, traces=[Trace(1, 2, 1), Trace(3, 4, 0)]), "committed")
    (span,) = exporter.get_finished_spans()
    assert ("secondlook.batch", None) == (span.name, span.parent)
    assert [(1, 2, 1), (3, 4, 0)] == [
        (link.context.trace_id, link.context.span_id, link.context.trace_flags) for link in span.links
    ]
    assert all(link.context.is_remote for link in span.links)
    assert 4 == span.attributes["secondlook.batch.decisions.auto-action"]
    assert "the group" == span.attributes["messaging.consumer.group.name"]
    assert 0.5e9 <= span.end_time - span.start_time
    assert span.status.is_ok


def test_a_batch_that_is_taken_back_is_a_span_too(exported: tuple[Spans, Any]) -> None:
    """Marked as an error: its records are read again, in another batch."""
    spans, exporter = exported
    spans.ended(batch(), "aborted")
    (span,) = exporter.get_finished_spans()
    assert "aborted" == span.attributes["secondlook.batch.result"]
    assert "ERROR" == span.status.status_code.name


def test_links_that_are_asked_for_are_kept(exported: tuple[Spans, Any]) -> None:
    """The SDK would drop those beyond its own limit, and say so."""
    spans, exporter = exported
    spans.ended(batch(traces=[Trace(1, number + 1, 1) for number in range(MOST_LINKS)]), "committed")
    (span,) = exporter.get_finished_spans()
    assert (MOST_LINKS, 0) == (len(span.links), span.dropped_links)


def test_they_are_off_unless_asked_for() -> None:
    """And then a worker imports nothing of OpenTelemetry."""
    assert None is make_spans(Settings(), "a worker")
    program = (
        "import sys, streams.worker.run; print([name for name in sys.modules if name.startswith('opentelemetry')])"
    )
    assert "[]" == subprocess.check_output([sys.executable, "-c", program], text=True).strip()


def test_asked_for_where_it_is_not_installed_says_how(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the first record, not at it."""
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(SettingsError, match=r"secondlook\[otel\]"):
        make_spans(Settings(traces="otlp"), "a worker")


def test_they_go_to_where_opentelemetrys_variables_say(monkeypatch: pytest.MonkeyPatch) -> None:
    """A collector that is away holds up nobody for long."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("OTEL_SERVICE_NAME", "moderation")
    spans = make_spans(Settings(traces="otlp"), "worker-1")
    assert spans is not None
    attributes = spans._provider.resource.attributes
    assert ("moderation", "worker-1") == (attributes["service.name"], attributes["service.instance.id"])
    spans.close()


@pytest.mark.parametrize(
    ("variable", "value", "name"),
    [
        ("OTEL_SERVICE_NAME", "moderation", "moderation"),
        ("OTEL_RESOURCE_ATTRIBUTES", "service.name=moderation,team=a", "moderation"),
        ("OTEL_RESOURCE_ATTRIBUTES", "team=a", "secondlook"),
    ],
)
def test_their_name_is_ours_unless_a_variable_says_another(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, name: str
) -> None:
    """Either of OpenTelemetry's own."""
    monkeypatch.setenv(variable, value)
    spans = make_spans(Settings(traces="otlp"), "worker-1")
    assert spans is not None
    assert name == spans._provider.resource.attributes["service.name"]
    spans.close()


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("OTEL_SPAN_LINK_COUNT_LIMIT", "many"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "10"),
        ("OTEL_PYTHON_EXPORTER_OTLP_HTTP_TRACES_CREDENTIAL_PROVIDER", "nobody"),
    ],
)
def test_a_variable_that_opentelemetry_refuses_is_an_error_of_settings(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    """One line that says what was refused, and no traceback."""
    monkeypatch.setenv(variable, value)
    with pytest.raises(SettingsError, match=r"OTEL_\*.*(must|not found)"):
        make_spans(Settings(traces="otlp"), "a worker")


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """Give the spans that come to an OTLP endpoint of the test's own."""
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    found: list[Any] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            sent = ExportTraceServiceRequest.FromString(self.rfile.read(int(self.headers["Content-Length"])))
            found.extend(span for each in sent.resource_spans for scope in each.scope_spans for span in scope.spans)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """It says nothing."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "none")
        yield found
        server.shutdown()
        thread.join()


def test_a_workers_spans_arrive_at_a_collector(models: Path, collector: list[Any]) -> None:
    """With links to the traces of what it decided; the last ones are sent before it ends."""
    topics = load_topics()
    settings = {"delivery": "at_least_once", "model": models, "web_port": 0, "traces": "otlp"}
    with EmbeddedBroker() as broker, WorkerProcess({"broker": broker.bootstrap, **settings}) as running:
        running.wait_for("assigned")
        producer = Producer({"bootstrap.servers": broker.bootstrap})
        for number, item in enumerate(ITEMS[:3], start=1):
            key, trace = item.request_id.encode(), b"00-%032x-%016x-01" % (number, number)
            producer.produce(topics["requests"].name, orjson.dumps(item.request), key, headers={"traceparent": trace})
            producer.produce(topics["responses"].name, bytes(item.response), key)
        producer.flush(10)
        assert 3 == len(decisions(broker.bootstrap, 3))
        assert 0 == running.terminate()
    assert {"secondlook.batch"} == {span.name for span in collector}
    assert {1, 2, 3} == {int.from_bytes(link.trace_id) for span in collector for link in span.links}
