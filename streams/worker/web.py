"""The worker's pages: /metrics for Prometheus, /live and /ready for whoever restarts and routes."""

import time
from typing import TYPE_CHECKING

from faust.web import Request, Response, View
from prometheus_client import CONTENT_TYPE_LATEST

from streams.worker.agents import App

if TYPE_CHECKING:
    from streams.worker.run import Stream

BROKER_AWAY = 10.0
"""Seconds without an answer from any broker after which it counts as away."""


def health(stream: "Stream") -> dict[str, object]:
    """What `/live` says: alive unless there is work that a restart could help with, and it stands still.

    Work is a batch in flight, or records that the source may read. A broker that is away, a store that is full and partitions
    that are being taken over are no reasons to restart: that would only begin it again. A poll that does not come back is one
    even then: nothing else is noticed any more, the end of a takeover included.
    """
    source = stream.source
    lag = sum(position.lag for position in list(source.positions.values()))
    idle = min(source.behind_for, time.monotonic() - stream.sink.last_commit)
    away = stream.prober.silent_for > BROKER_AWAY
    waits = source.restoring or stream.sink.waiting or away
    limit = stream.settings.stall_timeout
    reason = None
    if not away and source.polling_for > limit:
        reason = f"the Kafka client has not come back from reading for {source.polling_for:.0f} s"
    elif not waits and stream.flow.stuck_for > limit:
        reason = f"a batch has been in flight for {stream.flow.stuck_for:.0f} s"
    elif not waits and not source.held and idle > limit:
        reason = f"{lag} records are unread and nothing was committed for {idle:.0f} s"
    return {"ok": reason is None, "lag": lag, "reason": reason}


def readiness(stream: "Stream") -> dict[str, object]:
    """What `/ready` says: a broker answers, controls read to their end and honoured, partitions dealt and taken over."""
    source, silent = stream.source, stream.prober.silent_for
    reason = None
    if silent > BROKER_AWAY:
        reason = f"no broker has answered for {silent:.0f} s"
    elif not stream.controls.ready:
        reason = "the control topic is not read to its end yet"
    elif not source.joined:
        reason = "the group has not dealt partitions yet"
    elif source.restoring:
        reason = "partitions are being taken over: their changelog is read"
    elif stream.controls.current.problem is not None:
        reason = (
            f"everything goes to humans, as the controls in force cannot be honoured: {stream.controls.current.problem}"
        )
    controls = stream.controls.current
    return {
        "ok": reason is None,
        "reason": reason,
        "partitions": sorted({partition for _, partition in source.positions}),
        "control_version": controls.version,
        "model": None if controls.model is None else controls.model.sha256,
    }


def add_pages(app: App, stream: "Stream") -> None:
    """Register the pages."""

    def answer(view: View, state: dict[str, object]) -> Response:
        return view.json(state, status=200 if state["ok"] else 503)

    @app.page("/live")
    async def live(self: View, _request: Request) -> Response:
        return answer(self, health(stream))

    @app.page("/ready")
    async def ready(self: View, _request: Request) -> Response:
        return answer(self, readiness(stream))

    @app.page("/metrics")
    async def metrics(self: View, _request: Request) -> Response:
        return self.bytes(stream.metrics.render(stream.snapshot()), headers={"Content-Type": CONTENT_TYPE_LATEST})
