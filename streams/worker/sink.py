"""The sink: commits batches in the order they were read, on a thread of its own."""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress

from confluent_kafka import TopicPartition

from streams.errors import DeliveryError, DeliveryStopped
from streams.kafka.calls import Line
from streams.kafka.delivery import BatchAborted, Delivery
from streams.kafka.flow import Flow
from streams.pipeline.budget import Seen
from streams.pipeline.controls import Controls
from streams.pipeline.incidents import IncidentBudget
from streams.pipeline.records import Output
from streams.pipeline.stages import Outbox
from streams.worker.metrics import Metrics
from streams.worker.spans import Ended, nobody

log = logging.getLogger(__name__)

_MOST_ABORTS = 10
"""Batches taken back in a row, the broker being there each time, after which redoing is not going to help."""


class Sink:
    """Puts `Delivery` behind the checks of `Flow`.

    A batch that is not committed ends its assignment: the source begins anew from what is committed. `deletable` is told
    which changelog records (by partition: those before an offset) are not needed any more, `decided` what review budgets go by, and `ended`
    of each batch and how it ended.
    """

    def __init__(
        self,
        delivery: Delivery,
        flow: Flow,
        metrics: Metrics,
        controls: Callable[[], Controls],
        deletable: Callable[[Mapping[int, int]], None],
        decided: Callable[[Mapping[Seen, int]], None],
        ended: Ended = nobody,
    ) -> None:
        self._delivery = delivery
        self._flow = flow
        self._metrics = metrics
        self._controls = controls
        self._deletable = deletable
        self._decided = decided
        self._ended = ended
        self._line = Line("sink")
        self._aborted = 0
        self._shadow_problem: str | None = None
        self._incidents = IncidentBudget()
        self.last_commit = time.monotonic()

    @property
    def replaced(self) -> int:
        """Producers given up and replaced so far."""
        return self._delivery.replaced

    @property
    def waiting(self) -> bool:
        """Whether a batch waits for a broker that is away."""
        return self._delivery.waiting

    async def start(self) -> None:
        """Get ready to deliver."""
        with suppress(BatchAborted):  # the first producer hung, and another one has started
            await asyncio.wrap_future(self._line.submit(self._delivery.start))

    def leave_behind(self) -> None:
        """See to it that a call into the client that hangs holds up nothing for long: to be called now and then."""
        if self._delivery.leave_behind():
            self._line.leave_behind(self._delivery.recover)

    def write(self, outputs: list[Output], offsets: list[TopicPartition], group: object) -> None:
        """Write records and commit offsets with them, beside the batches; from any thread, blocking.

        Raises BatchAborted and DeliveryError as `Delivery.commit` does.
        """
        self._line.submit(lambda: self._delivery.commit(outputs, offsets, group)).result()

    async def deliver(self, *batches: Outbox) -> None:
        """Commit batches, together. Raises DeliveryError when the worker must stop without committing further."""
        try:
            await self._deliver(batches)
        except (
            BaseException
        ):  # the agent may be started again before the worker has stopped: nothing may pass these batches by
            for outbox in batches:
                outbox.ticket.assignment.end(outbox.touched)
            raise

    async def _deliver(self, batches: Iterable[Outbox]) -> None:
        to_commit = []
        for outbox in batches:
            ticket = outbox.ticket
            if not self._flow.arrive(ticket):
                ticket.assignment.end(outbox.touched)
                self._not_committed(outbox, "stale")
            elif outbox.outputs or outbox.changelog or ticket.offsets:
                self._report(outbox)
                to_commit.append(outbox)
        if to_commit:
            await self._commit(to_commit)
        await self._flow.settle()

    def _report(self, outbox: Outbox) -> None:
        """Tell of records that a stage failed on; so many that it can't be the records end the worker."""
        for incident in outbox.incidents:
            log.error(
                "stage %s failed on one record, which was set aside",
                incident.stage,
                extra={
                    "source": incident.source,
                    "partition": incident.partition,
                    "offset": incident.offset,
                    "traceback": incident.traceback,
                },
            )
        self._metrics.incidents(outbox.incidents)
        if self._incidents.exceeded(len(outbox.incidents), time.monotonic()):
            raise DeliveryError(
                f"{self._incidents.limit} records within {self._incidents.window_s:g} s made a stage fail: that is no matter of "
                "records. Nothing of this batch is committed; the log has the tracebacks"
            )

    async def _commit(self, batches: list[Outbox]) -> None:
        started = time.perf_counter()
        try:
            await asyncio.wrap_future(self._line.submit(lambda: self._delivery.deliver(*batches)))
        except BatchAborted as problem:
            self._taken_back(batches, "aborted")
            log.warning("taken back, to be read again (batches: %d): %s", len(batches), problem)
            self._count_abort(problem)
            return
        except DeliveryStopped as problem:  # what stopped the worker decides its exit code, not this
            self._taken_back(batches, "stale")
            log.warning("%s", problem)
            return
        self._metrics.worked("deliver", time.perf_counter() - started)
        self._aborted = 0
        self.last_commit = time.monotonic()
        for outbox in batches:
            self._committed(outbox)

    def _taken_back(self, batches: list[Outbox], how: str) -> None:
        for outbox in batches:
            outbox.ticket.assignment.end(outbox.touched)
            self._not_committed(outbox, how)

    def _not_committed(self, outbox: Outbox, how: str) -> None:
        self._metrics.settled(how)
        self._ended(outbox, how)

    def _committed(self, outbox: Outbox) -> None:
        """Tell of a batch that is durable."""
        self._metrics.committed(outbox, self._controls(), self.last_commit - outbox.ticket.polled_at)
        self._ended(outbox, "committed")
        if outbox.seen:
            self._decided(outbox.seen)
        if outbox.deletable:
            self._deletable(outbox.deletable)
        if outbox.problem is not None:
            self._metrics.model_failures.inc()
            log.error("the model failed, its batch went to humans: %s", outbox.problem)
        self._report_shadow(outbox.shadow_problem)

    def _report_shadow(self, problem: str | None) -> None:
        """Count a batch that the shadow failed on; it is told only where it fails for another reason than before."""
        if problem is None:
            return
        self._metrics.shadow_failures.inc()
        if problem != self._shadow_problem:
            log.warning("the shadow failed on a batch, which was decided without it: %s", problem)
            self._shadow_problem = problem

    def _count_abort(self, problem: BatchAborted) -> None:
        self._aborted += 1
        if self._aborted > _MOST_ABORTS:
            raise DeliveryError(f"taken back {self._aborted} times in a row, the last time for: {problem}") from problem

    async def close(self) -> None:
        """Let go of the broker."""
        self._delivery.close()
        self._line.close()
