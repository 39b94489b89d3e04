"""The Faust app: agents joined by channels, each event a batch. Faust's own Kafka clients are switched off."""

import logging
import time
from collections.abc import AsyncIterable, Awaitable, Callable
from typing import Any, TypeVar

import faust
from faust.app.base import BootStrategy
from faust.types import AgentT

from streams.pipeline.stages import Outbox, Pipeline, Polled
from streams.settings import Settings
from streams.worker.logs import LIBRARY_LOG
from streams.worker.metrics import Metrics

log = logging.getLogger(__name__)

_In = TypeVar("_In")

_QUEUED_BATCHES = 1
"""Batches that may wait before a stage: enough to decode the next one while the last commits, few enough for latency."""


class WithoutKafka(BootStrategy):
    """Start agents, services and the web server only; Kafka is confluent-kafka's alone."""

    enable_kafka = False


class App(faust.App):
    """A Faust app whose agents may not fail quietly: its supervisor would restart one and lose the batch in hand."""

    BootStrategy = WithoutKafka
    logger = LIBRARY_LOG

    def _create_directories(self) -> None:
        """Faust would make folders for its tables; there are none."""

    async def _on_agent_error(self, agent: AgentT[object], exc: BaseException) -> None:
        name = agent.fun.__name__
        log.critical("%s: %s; the worker stops, a restart redoes its batch", name, exc, exc_info=exc)
        await self.crash(exc)


def make_app(settings: Settings) -> App:
    """An app with nothing in it yet. Its web server is off when the port is 0."""
    return App(
        settings.group,
        broker="kafka://unused",
        web_host=settings.web_host,
        web_bind=settings.web_host,
        web_port=settings.web_port or None,
        web_enabled=bool(settings.web_port),
        web_cors_options=None,
    )


def connect_agents(
    app: App, pipeline: Pipeline, metrics: Metrics, deliver: Callable[[Outbox], Awaitable[None]]
) -> Callable[[Polled], Awaitable[object]]:
    """Make the agents intake, featurize, score, route and deliver; returns how to put a batch in front of the first."""
    # Typed, a channel would take nothing but events; without a topic it takes what is to come out.
    channels: dict[str, Any] = {
        name: app.channel(maxsize=_QUEUED_BATCHES) for name in ("intake", "featurize", "score", "route", "deliver")
    }

    def stage(name: str, following: str, work: Callable[[_In], object]) -> None:
        seconds = metrics.stage_seconds.labels(name)

        async def agent(batches: AsyncIterable[_In]) -> None:
            async for batch in batches:
                started = time.perf_counter()
                result = work(batch)
                seconds.observe(time.perf_counter() - started)
                await channels[following].put(result)

        agent.__name__ = name
        app.agent(channels[name], name=name)(agent)

    stage("intake", "featurize", pipeline.intake)
    stage("featurize", "score", pipeline.featurize)
    stage("score", "route", pipeline.score)
    stage("route", "deliver", pipeline.route)

    async def sink(outboxes: AsyncIterable[Outbox]) -> None:
        async for outbox in outboxes:
            await deliver(outbox)

    app.agent(channels["deliver"], name="deliver")(sink)
    put: Callable[[Polled], Awaitable[object]] = channels["intake"].put
    return put
