"""OpenTelemetry, where the setting `traces` asks for it: a span per batch, with links to the spans that its records were written in.

A batch is of many traces, so it can be no span's child. Where it is off nothing of OpenTelemetry is imported, and no header is looked at for it.
Where spans go, how many, and under which name: OpenTelemetry's own variables (`OTEL_EXPORTER_OTLP_ENDPOINT`, `OTEL_TRACES_SAMPLER`, ...).
"""

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from streams.errors import SettingsError
from streams.kafka.client_log import OnceAMinute
from streams.pipeline.stages import Outbox
from streams.settings import Settings

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

MOST_LINKS: Final = 64
"""Links of one span: half of what OpenTelemetry's SDK keeps unless told otherwise."""
_FLUSH_WITHIN: Final = 3.0
"""Seconds that a worker which ends waits for its last spans to go."""
_EXTRA: Final = "traces = otlp needs OpenTelemetry: pip install 'secondlook[otel]', or leave traces off"


class Spans:
    """Makes the spans. `ended` is told of each batch, and how it ended."""

    def __init__(self, provider: "TracerProvider", group: str) -> None:
        self._provider, self._group = provider, group
        self._tracer = provider.get_tracer("secondlook")

    def ended(self, outbox: Outbox, result: str) -> None:
        """Make the span of a batch that has just been committed, or was not."""
        from opentelemetry.context import Context
        from opentelemetry.trace import Link, SpanContext, SpanKind, StatusCode, TraceFlags

        now, took = time.time_ns(), time.monotonic() - outbox.ticket.polled_at
        routes: Counter[str] = Counter()
        for (route, _, _), count in outbox.decisions.items():
            routes[route] += count
        span = self._tracer.start_span(
            "secondlook.batch",
            context=Context(),
            kind=SpanKind.CONSUMER,
            attributes={
                "messaging.system": "kafka",
                "messaging.consumer.group.name": self._group,
                "secondlook.batch.result": result,
                "secondlook.batch.dead_letters": outbox.dead.total(),
                **{f"secondlook.batch.decisions.{route}": count for route, count in routes.items()},
            },
            links=[
                Link(SpanContext(one.trace_id, one.span_id, is_remote=True, trace_flags=TraceFlags(one.flags)))
                for one in outbox.traces
            ],
            start_time=now - int(took * 1e9),
        )
        if result != "committed":
            span.set_status(StatusCode.ERROR, f"{result}: its records are read again")
        span.end(now)

    def close(self) -> None:
        """Send what is left, and not wait long for it."""
        thread = threading.Thread(target=self._provider.shutdown, name="spans", daemon=True)
        thread.start()
        thread.join(_FLUSH_WITHIN)


def make_spans(settings: Settings, worker: str) -> Spans | None:
    """None where they are off. Raises SettingsError where OpenTelemetry is not installed, or does not take its variables."""
    if settings.traces == "off":
        return None
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import OTELResourceDetector, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        raise SettingsError(_EXTRA) from None
    said = logging.getLogger(OTLPSpanExporter.__module__)
    said.setLevel(logging.ERROR)  # while a collector is away each attempt is a warning
    said.addFilter(OnceAMinute())
    own = Resource.create({"service.name": "secondlook", "service.instance.id": worker})
    try:
        provider = TracerProvider(resource=own.merge(OTELResourceDetector().detect()))
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    except (ValueError, RuntimeError) as problem:
        raise SettingsError(
            f"traces = otlp: OpenTelemetry refuses one of its variables (OTEL_*): {problem}"
        ) from problem
    return Spans(provider, settings.group)


def nobody(_outbox: Outbox, _result: str) -> None:
    """Where spans are off."""


Ended = Callable[[Outbox, str], None]
"""Who is told how a batch ended."""
