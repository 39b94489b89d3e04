"""The sink: what it does when a batch is taken back, comes too late, or cannot be delivered at all."""

import asyncio
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import TopicPartition

from streams.errors import DeliveryError, DeliveryStopped
from streams.kafka.delivery import BatchAborted
from streams.pipeline.records import REQUESTS, Output
from streams.pipeline.stages import Outbox, Ticket
from streams.settings import Settings
from streams.worker.flow import Flow
from streams.worker.metrics import Metrics
from streams.worker.run import initial_controls
from streams.worker.sink import _MOST_ABORTS, Sink

SETTINGS = Settings()


class FaultyDelivery:
    """Commits what it is told to, and fails where it is told to."""

    hung_for = 0.0

    def __init__(self, faults: Iterable[Exception | None] = ()) -> None:
        self._faults = iter(faults)
        self.committed: list[int] = []
        self.closed = False

    def start(self) -> None:
        """Nothing to open."""

    def deliver(self, outbox: Outbox) -> None:
        fault = next(self._faults, None)
        if fault is not None:
            raise fault
        self.committed.append(outbox.ticket.sequence)

    def commit(self, outputs: Iterable[Output], offsets: list[TopicPartition], group: Any) -> None:
        raise NotImplementedError

    def close(self) -> None:
        self.closed = True


class Bench:
    """A sink, what it stands on, and how often it had the assignment given up."""

    def __init__(self, models: Path, faults: Iterable[Exception | None] = ()) -> None:
        self.flow = Flow()
        self.delivery = FaultyDelivery(faults)
        self.metrics = Metrics()
        self.redone = 0
        controls = initial_controls(Settings(model=models))
        self.sink = Sink(self.delivery, self.flow, self.metrics, lambda: controls, self._redo)

    def _redo(self) -> None:
        self.redone += 1

    async def put(self, *, epoch: int | None = None, **changes: Any) -> None:
        """The next batch goes through the sink."""
        now = self.flow.epoch if epoch is None else epoch
        ticket = Ticket(self.flow.next_sequence(), now, changes.pop("offsets", {(REQUESTS, 0): 1}), None, 0.0)
        parts: dict[str, Any] = {"ticket": ticket, "outputs": [], "changelog": [], **changes}
        await self.sink.deliver(Outbox(**parts))

    def settled(self, result: str) -> float:
        """What the metric counts under this result."""
        value = self.metrics.registry.get_sample_value("secondlook_batches_total", {"result": result})
        return value or 0.0


def test_a_batch_that_is_taken_back_is_read_again_and_the_one_behind_it_is_not_committed(models: Path) -> None:
    """The batch behind was read before the assignment was given up: committing it would pass the first one by."""

    async def scenario(bench: Bench) -> None:
        before = bench.flow.epoch
        await bench.put(epoch=before)
        await bench.put(epoch=before)
        await bench.put()

    bench = Bench(models, [BatchAborted("old generation")])
    asyncio.run(scenario(bench))
    assert [3] == bench.delivery.committed
    assert 1 == bench.redone
    assert 1 == bench.settled("aborted")
    assert 1 == bench.settled("stale")
    assert 0 == bench.flow.in_flight


def test_a_batch_that_is_taken_back_after_its_assignment_ended_gives_up_nothing_more(models: Path) -> None:
    """A rebalance came while it was being committed: the new assignment reads it anyway."""

    async def scenario(bench: Bench) -> None:
        deliver = bench.delivery.deliver

        def revoked_meanwhile(outbox: Outbox) -> None:
            bench.flow.new_epoch()
            deliver(outbox)

        bench.delivery.deliver = revoked_meanwhile  # type: ignore[method-assign]
        await bench.put()

    bench = Bench(models, [BatchAborted("rebalance in progress")])
    asyncio.run(scenario(bench))
    assert 0 == bench.redone


def test_redoing_ends_when_it_does_not_help(models: Path) -> None:
    """After so many times in a row the worker stops, and says for what the last one was taken back."""

    async def scenario(bench: Bench) -> None:
        for _ in range(_MOST_ABORTS):
            await bench.put()
        with pytest.raises(DeliveryError, match=r"11 times in a row.*no quorum"):
            await bench.put()

    bench = Bench(models, [BatchAborted("no quorum")] * (_MOST_ABORTS + 1))
    asyncio.run(scenario(bench))
    assert _MOST_ABORTS == bench.redone
    assert [] == bench.delivery.committed


def test_only_those_in_a_row_count(models: Path) -> None:
    """A batch that was committed in between shows that redoing helps."""

    async def scenario(bench: Bench) -> None:
        for _ in range(3 * _MOST_ABORTS):
            await bench.put()

    half = [BatchAborted("now and then")] * (_MOST_ABORTS - 1)
    bench = Bench(models, [*half, None, *half, None, *half])
    asyncio.run(scenario(bench))
    assert 3 == len(bench.delivery.committed)


def test_an_error_that_stops_the_worker_settles_nothing(models: Path) -> None:
    """Whoever waits for the batch (a rebalance) must not believe it committed."""

    async def scenario(bench: Bench) -> None:
        with pytest.raises(DeliveryError, match="fenced"):
            await bench.put()

    bench = Bench(models, [DeliveryError("fenced")])
    asyncio.run(scenario(bench))
    assert 1 == bench.flow.in_flight


def test_a_stop_while_the_broker_is_away_is_no_failure(models: Path) -> None:
    """The batch is let go, and so is the one behind it: a worker that was told to stop ends with exit code 0."""

    async def scenario(bench: Bench) -> None:
        before = bench.flow.epoch
        await bench.flow.give_up()
        await bench.put()
        await bench.put(epoch=before)

    bench = Bench(models, [DeliveryStopped("the broker was away")])
    asyncio.run(scenario(bench))
    assert [] == bench.delivery.committed
    assert 2 == bench.settled("stale")
    assert 0 == bench.flow.in_flight


def test_a_batch_with_nothing_to_write_costs_no_transaction(models: Path) -> None:
    """A look for timeouts that found none."""

    async def scenario(bench: Bench) -> None:
        await bench.put(offsets={})

    bench = Bench(models)
    asyncio.run(scenario(bench))
    assert [] == bench.delivery.committed
    assert 0 == bench.flow.in_flight


def test_closing_lets_go_of_the_broker(models: Path) -> None:
    """So that a wait for it ends."""
    bench = Bench(models)
    asyncio.run(bench.sink.close())
    assert bench.delivery.closed
