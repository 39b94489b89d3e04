"""At least once, against a client that fails in every way the broker can make it fail; and what holds both ways."""

from collections.abc import Callable
from typing import Any

import pytest
from confluent_kafka import KafkaError

from streams.errors import DeliveryError, DeliveryStopped
from streams.kafka import delivery as module
from streams.kafka.delivery import BatchAborted
from streams.pipeline.records import REQUESTS
from streams.pipeline.stages import Ticket
from tests.rig import assignment
from tests.streams.kafka.delivering import (
    OFFSETS,
    PERMANENT,
    SAFE_STEPS,
    WRITTEN,
    at_least_once,
    exactly_once,
    outbox,
    read_offsets,
    until_closed,
)
from tests.streams.kafka.faulty_clients import FaultyProducer, problem


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "Producer", FaultyProducer)


@pytest.mark.parametrize("make", [exactly_once, at_least_once])
def test_a_full_queue_is_waited_for_and_nothing_is_lost_or_reordered(make: Callable[[], Any]) -> None:
    """The record that did not fit is the next one produced, after the client had time to send."""
    way, producer, *_ = make()
    producer.faults.on("produce vectors", BufferError(), BufferError())
    way.deliver(outbox())
    assert WRITTEN == producer.committed
    assert ["produce vectors", "poll"] * 2 == [
        call for call in producer.faults.calls if call in ("produce vectors", "poll")
    ][:4]


@pytest.mark.parametrize("make", [exactly_once, at_least_once])
def test_a_full_queue_does_not_hold_up_a_worker_that_stops(make: Callable[[], Any]) -> None:
    """The queue stays full while the broker is away."""
    way, producer, *_ = make()
    producer.faults.always("produce vectors", until_closed(way, fault=BufferError))
    with pytest.raises(DeliveryStopped, match="stopped while the broker was away"):
        way.deliver(outbox())
    assert [] == producer.committed


def test_decisions_are_durable_before_the_changelog_and_both_before_the_offsets() -> None:
    """Else a crash in between could lose a request."""
    way, producer, consumer = at_least_once()
    way.start()
    way.deliver(outbox())
    assert SAFE_STEPS == producer.calls
    assert OFFSETS == read_offsets(consumer)


def test_of_batches_that_have_gathered_all_decisions_are_durable_before_any_changelog() -> None:
    """One offset commit stands for all of them, up to where the last has read in each partition."""
    way, producer, consumer = at_least_once()
    later = Ticket(2, assignment(), {(REQUESTS, 0): 8}, 0.0)
    way.deliver(outbox(), outbox(ticket=later))
    outputs, flush, changelog, offsets = SAFE_STEPS[:2], ["flush"], SAFE_STEPS[3:4], SAFE_STEPS[-1:]
    assert [*outputs * 2, *flush, *changelog * 2, *flush, *offsets] == producer.calls
    assert {**OFFSETS, (REQUESTS, 0): 8} == read_offsets(consumer)


@pytest.mark.parametrize("flush", [1, 2])
def test_a_record_that_failed_stops_the_worker_before_the_offsets(flush: int) -> None:
    """A decision that failed leaves no tombstone either."""
    way, producer, consumer = at_least_once()
    failed = KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED, "topic not yours")
    steps: list[Callable[[], object]] = [lambda: None] * 2
    steps[flush - 1] = lambda: producer.unreported.append(failed)
    producer.faults.always("flush", (step() for step in steps))
    # The report comes with the poll that the flush ends with.
    producer.flush = _reporting(producer)  # type: ignore[method-assign]
    with pytest.raises(DeliveryError, match="refuses the batch: this user lacks the right to Write auto_action "):
        way.deliver(outbox())
    assert [] == consumer.offsets
    assert (flush == 2) == ("produce pending" in producer.calls)


def _reporting(producer: FaultyProducer) -> Callable[[float], int]:
    flush = producer.flush

    def reporting(timeout: float) -> int:
        left = flush(timeout)
        producer._report()
        return left

    return reporting


@pytest.mark.parametrize("code", PERMANENT.values(), ids=PERMANENT)
def test_a_record_that_is_refused_at_once_stops_the_worker(code: int) -> None:
    """The same line as for one that the broker refuses later."""
    way, producer, consumer = at_least_once()
    producer.faults.on("produce vectors", problem(code, "not this one"))
    with pytest.raises(DeliveryError, match=r"refuses the batch: (not this one|this user lacks)"):
        way.deliver(outbox())
    assert [] == consumer.offsets


def test_a_record_that_was_not_written_is_written_again() -> None:
    """What waiting may mend takes the batch back, and not the worker."""
    way, producer, consumer = at_least_once()
    producer.unreported.append(KafkaError(KafkaError.NOT_ENOUGH_REPLICAS, "two brokers away"))
    with pytest.raises(BatchAborted, match="two brokers away"):
        way.deliver(outbox())
    assert [] == consumer.offsets
    way.deliver(outbox())
    assert OFFSETS == read_offsets(consumer)


def test_an_idempotent_producer_that_raises_that_it_cannot_go_on_is_replaced() -> None:
    """A dead one raises from whatever it is asked."""
    way, producer, consumer = at_least_once()
    producer.faults.on("flush", problem(KafkaError._FATAL, "sequence lost", fatal=True))
    with pytest.raises(BatchAborted, match="sequence lost"):
        way.deliver(outbox())
    assert (1, [], False) == (way.replaced, consumer.offsets, way.waiting)


def test_an_idempotent_producer_that_cannot_go_on_is_replaced() -> None:
    """As with transactions."""
    way, producer, consumer = at_least_once()
    producer.unreported.append(KafkaError(KafkaError._FATAL, "sequence lost", fatal=True))
    with pytest.raises(BatchAborted, match="sequence lost"):
        way.deliver(outbox())
    assert (1, []) == (way.replaced, consumer.offsets)


def test_records_wait_for_a_broker_that_is_away_until_the_worker_stops() -> None:
    """They never expire; `close` ends the flush, and no offset is committed."""
    way, producer, consumer = at_least_once()
    assert 0 == producer.config["message.timeout.ms"]
    producer.queued = 2
    producer.faults.always("flush", until_closed(way, fault=lambda: None))
    with pytest.raises(DeliveryStopped, match="stopped while the broker was away"):
        way.deliver(outbox())
    assert 3 == producer.calls.count("flush")
    assert [] == consumer.offsets
