"""The worker's pages: /metrics for Prometheus, /live and /ready for whoever restarts and routes."""

import time
from typing import TYPE_CHECKING, Any

from prometheus_client import CONTENT_TYPE_LATEST

from streams.worker.agents import App

if TYPE_CHECKING:
    from streams.worker.run import Stream


def health(stream: "Stream") -> dict[str, Any]:
    """What `/live` says: alive unless there is work and nothing has been committed for the stall timeout.

    Work is a batch in flight, or records that the source may read.
    """
    lag = sum(position.lag for position in list(stream.source.positions.values()))
    idle = min(stream.source.behind_for, time.monotonic() - stream.sink.last_commit)
    reason = None
    if stream.flow.stuck_for > stream.settings.stall_timeout:
        reason = f"a batch has been in flight for {stream.flow.stuck_for:.0f} s"
    elif idle > stream.settings.stall_timeout and not stream.source.waits:
        reason = f"{lag} records are unread and nothing was committed for {idle:.0f} s"
    return {"ok": reason is None, "lag": lag, "reason": reason}


def readiness(stream: "Stream") -> dict[str, Any]:
    """What `/ready` says: controls read to their end, model loaded (or the worker would not run), partitions dealt."""
    reason = None
    if not stream.controls.ready:
        reason = "the control topic is not read to its end yet"
    elif not stream.source.joined:
        reason = "the group has not dealt partitions yet"
    controls = stream.controls.current
    return {
        "ok": reason is None,
        "reason": reason,
        "partitions": sorted({partition for _, partition in stream.source.positions}),
        "control_version": controls.version,
        "model": controls.model.sha256,
    }


def add_pages(app: App, stream: "Stream") -> None:
    """Register the pages."""

    def answer(view: Any, state: dict[str, Any]) -> Any:
        return view.json(state, status=200 if state["ok"] else 503)

    @app.page("/live")
    async def live(self: Any, _request: Any) -> Any:
        return answer(self, health(stream))

    @app.page("/ready")
    async def ready(self: Any, _request: Any) -> Any:
        return answer(self, readiness(stream))

    @app.page("/metrics")
    async def metrics(self: Any, _request: Any) -> Any:
        controls = stream.controls
        body = stream.metrics.render(stream.source, stream.matcher, controls.current, controls.refused)
        return self.bytes(body, headers={"Content-Type": CONTENT_TYPE_LATEST})
