"""Spans of batches, off by default; made with OpenTelemetry's own exporter in memory."""

import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from streams.errors import SettingsError
from streams.pipeline.stages import Outbox, Ticket
from streams.pipeline.traces import Trace
from streams.settings import Settings
from streams.worker.spans import MOST_LINKS, Spans, make_spans
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
