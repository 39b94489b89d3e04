"""The sink: commits batches in the order they were read, on a thread of its own."""

import asyncio
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from streams.errors import DeliveryError, DeliveryStopped
from streams.kafka.delivery import BatchAborted, Delivery
from streams.pipeline.controls import Controls
from streams.pipeline.stages import Outbox
from streams.worker.flow import Flow
from streams.worker.metrics import Metrics

log = logging.getLogger(__name__)

_MOST_ABORTS = 10
"""Batches taken back in a row, the broker being there each time, after which redoing is not going to help."""


class Sink:
    """Puts `Delivery` behind the checks of `Flow`. `redo` gives up the assignment so that an aborted batch comes again."""

    def __init__(
        self,
        delivery: Delivery,
        flow: Flow,
        metrics: Metrics,
        controls: Callable[[], Controls],
        redo: Callable[[], None],
    ) -> None:
        self._delivery = delivery
        self._flow = flow
        self._metrics = metrics
        self._controls = controls
        self._redo = redo
        self._thread = ThreadPoolExecutor(1, "sink")
        self._aborted = 0
        self.last_commit = time.monotonic()

    @property
    def hung_for(self) -> float:
        """Seconds for which the Kafka client has kept the sink in one call."""
        return self._delivery.hung_for

    async def start(self) -> None:
        """Get ready to deliver."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._delivery.start)

    async def deliver(self, outbox: Outbox) -> None:
        """Commit one batch. Raises DeliveryError when the worker must stop without committing further."""
        ticket = outbox.ticket
        if not self._flow.arrive(ticket):
            self._metrics.settled("stale")
        elif outbox.outputs or outbox.changelog or ticket.offsets:
            await self._commit(outbox)
        await self._flow.settle()

    async def _commit(self, outbox: Outbox) -> None:
        started = time.perf_counter()
        try:
            await asyncio.get_running_loop().run_in_executor(self._thread, self._delivery.deliver, outbox)
        except BatchAborted as problem:
            self._metrics.settled("aborted")
            self._aborted += 1
            if self._aborted > _MOST_ABORTS:
                raise DeliveryError(
                    f"taken back {self._aborted} times in a row, the last time for: {problem}"
                ) from problem
            if outbox.ticket.epoch == self._flow.epoch:
                log.warning("batch taken back, reading it again: %s", problem)
                self._flow.new_epoch()
                self._redo()
            return
        except DeliveryStopped as problem:  # what stopped the worker decides its exit code, not this
            self._metrics.settled("stale")
            log.warning("%s", problem)
            return
        finished = time.perf_counter()
        self._aborted = 0
        self.last_commit = time.monotonic()
        self._metrics.stage_seconds.labels("deliver").observe(finished - started)
        self._metrics.committed(outbox, self._controls(), self.last_commit - outbox.ticket.polled_at)
        if outbox.problem is not None:
            self._metrics.model_failures.inc()
            log.error("the model failed, its batch went to humans: %s", outbox.problem)

    async def close(self) -> None:
        """Let go of the broker."""
        self._delivery.close()
        self._thread.shutdown(wait=False)
