"""The Faust app: agents joined by channels, each event a batch. Faust's own Kafka clients are switched off."""

import asyncio
import logging
import time
from collections.abc import AsyncIterable, Awaitable, Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import Any, TypeVar

import faust
from faust.app.base import BootStrategy
from faust.types import AgentT

from streams.kafka.flow import Flow
from streams.pipeline.stages import Outbox, Pipeline, Polled
from streams.settings import Settings
from streams.worker.logs import LIBRARY_LOG
from streams.worker.metrics import Metrics

log = logging.getLogger(__name__)

_In = TypeVar("_In")

_QUEUED_BATCHES = 1
"""Batches that may wait before a stage. Before the last one all do that may be in flight: see `streams.kafka.flow`."""


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
    app: App,
    pipeline: Pipeline,
    metrics: Metrics,
    flow: Flow,
    deliver: Callable[..., Awaitable[None]],
) -> Callable[[Polled], Awaitable[object]]:
    """Make the agents read, intake, featurize, score, route and deliver; returns how to put a batch in front of the first.

    `flow` is told of each batch that is decided, and says how long to wait for more; `deliver` gets all that are by then, in their order, as one call's arguments.
    """
    # Typed, a channel would take nothing but events; without a topic it takes what is to come out.
    channels: dict[str, Any] = {
        name: app.channel(maxsize=_QUEUED_BATCHES) for name in ("read", "intake", "featurize", "score", "route")
    }
    decided: Any = app.channel(maxsize=0)
    beside = ThreadPoolExecutor(1, "read")

    def stage(
        name: str,
        work: Callable[[_In], object],
        put: Callable[[Any], Awaitable[object]],
        thread: Executor | None = None,
    ) -> None:
        async def agent(batches: AsyncIterable[_In]) -> None:
            loop = asyncio.get_running_loop()
            async for batch in batches:
                started = time.perf_counter()
                result = work(batch) if thread is None else await loop.run_in_executor(thread, work, batch)
                metrics.worked(name, time.perf_counter() - started)
                await put(result)

        agent.__name__ = name
        app.agent(channels[name], name=name)(agent)

    async def pass_on(outbox: Outbox) -> None:
        await flow.routed(outbox.size)
        await decided.put(outbox)

    stage("read", pipeline.read, channels["intake"].put, beside)
    stage("intake", pipeline.intake, channels["featurize"].put)
    stage("featurize", pipeline.featurize, channels["score"].put)
    stage("score", pipeline.score, channels["route"].put)
    stage("route", pipeline.route, pass_on)

    async def sink(outboxes: Any) -> None:
        waiting = outboxes.channel
        async for outbox in outboxes:
            gathered = [outbox]
            while (patience := flow.patience(outbox.ticket, gathered[-1].ticket)) or not waiting.empty():
                try:
                    gathered.append(await waiting.get(timeout=patience or None))
                except TimeoutError:
                    break
            await deliver(*gathered)

    app.agent(decided, name="deliver")(sink)
    put: Callable[[Polled], Awaitable[object]] = channels["read"].put
    return put
