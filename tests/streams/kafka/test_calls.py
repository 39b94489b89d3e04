"""Calls into the client that do not come back: the thread and the producer are left behind, others redo the batch."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from typing import TypeVar

import pytest
from confluent_kafka import KafkaError

from streams.errors import DeliveryError
from streams.kafka import delivery as module
from streams.kafka.calls import Line
from streams.kafka.delivery import BatchAborted, Delivery
from tests.streams.kafka.delivering import (
    OFFSETS,
    STEPS,
    WRITTEN,
    at_least_once,
    double,
    exactly_once,
    outbox,
    read_offsets,
)
from tests.streams.kafka.faulty_clients import UNSENT, FaultyProducer, Hang, problem

_Result = TypeVar("_Result")


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "Producer", FaultyProducer)
    monkeypatch.setattr(module, "_PATIENCE", 0.05)


@pytest.fixture
def hang() -> Iterator[Hang]:
    """A call that outlasts all patience; set in the end, so that its thread ends."""
    one = Hang()
    yield one
    one.set()


@pytest.fixture
def line() -> Iterator[Line]:
    """The thread that delivers."""
    one = Line("sink")
    yield one
    one.close()


def watched(line: Line, way: Delivery, work: Callable[[], _Result]) -> _Result:
    """What comes of this work, as the sink would have it: somebody looks now and then whether it hangs."""
    future = line.submit(work)
    deadline = time.monotonic() + 20
    while not future.done():
        assert time.monotonic() < deadline
        time.sleep(0.01)
        if way.leave_behind():
            line.leave_behind(way.recover)
    return future.result()


def test_work_is_done_in_its_order_and_what_it_raises_is_raised(line: Line) -> None:
    """As an executor does it."""
    done: list[int] = []
    futures = [line.submit(lambda number=number: done.append(number)) for number in range(5)]  # type: ignore[misc] # of a default
    failing = line.submit(lambda: 1 / 0)
    assert [None] * 5 == [one.result(5) for one in futures]
    with pytest.raises(ZeroDivisionError):
        failing.result(5)
    assert list(range(5)) == done


def test_what_comes_after_the_end_is_not_waited_for() -> None:
    """A takeover that wants to write its claim while the worker stops would hold up the end of the process."""
    one = Line("sink")
    before = one.submit(lambda: 1)
    one.close()
    after = one.submit(lambda: 2)
    assert 1 == before.result(20)
    with pytest.raises(CancelledError):
        after.result(20)


@pytest.mark.parametrize("step", ["begin", "offsets", "commit"])
def test_a_producer_that_hangs_is_left_behind_and_its_batch_redone(step: str, hang: Hang, line: Line) -> None:
    """What waits behind it is done by the next thread, with the next producer, and not before that is ready."""
    way, producer = exactly_once()
    producer.faults.on(step, hang)
    with pytest.raises(BatchAborted, match=r"has hung for 0\.05 s"):
        watched(line, way, lambda: way.deliver(outbox()))
    assert "abort" not in producer.calls
    watched(line, way, lambda: way.deliver(outbox()))
    assert (["init", *STEPS], 1, WRITTEN) == (double(way).calls, way.replaced, double(way).committed)


def test_a_call_that_comes_back_after_all_does_nothing_more(hang: Hang, line: Line) -> None:
    """Its thread ends there; its transaction has been fenced, and the batch is somebody else's."""
    way, producer = exactly_once()
    producer.faults.on("offsets", hang)
    with pytest.raises(BatchAborted):
        watched(line, way, lambda: way.deliver(outbox()))
    hang.set()
    watched(line, way, lambda: way.deliver(outbox()))
    time.sleep(0.05)
    assert (STEPS[:2], []) == (producer.calls, producer.committed)


def test_what_waits_behind_a_call_that_hangs_waits_for_its_successor(hang: Hang, line: Line) -> None:
    """It must not meet the producer that hangs."""
    way, producer = exactly_once()
    producer.faults.on("commit", hang)
    first = line.submit(lambda: way.deliver(outbox()))
    second = line.submit(lambda: way.deliver(outbox()))
    while not way.leave_behind():
        time.sleep(0.01)
    line.leave_behind(way.recover)
    assert isinstance(first.exception(5), BatchAborted)
    assert second.exception(5) is None
    assert ["init", *STEPS] == double(way).calls


def test_a_producer_that_hangs_while_it_aborts_is_left_behind(hang: Hang, line: Line) -> None:
    """Its successor aborts what it left open."""
    way, producer = exactly_once()
    producer.faults.on("commit", problem(KafkaError.ILLEGAL_GENERATION, "old generation", txn_requires_abort=True))
    producer.faults.on("abort", hang)
    with pytest.raises(BatchAborted, match="has hung"):
        watched(line, way, lambda: way.deliver(outbox()))
    assert (1, ["init"]) == (way.replaced, double(way).calls)


def test_a_successor_that_hangs_at_its_start_is_left_behind_too(
    hang: Hang, line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next one may have more luck."""
    made = [FaultyProducer({}) for _ in range(3)]
    for producer in made[:2]:
        producer.faults.on("init", hang)
    rest = list(made)
    monkeypatch.setattr(module, "Producer", lambda _config: rest.pop(0))
    way, _ = exactly_once()
    with pytest.raises(BatchAborted):
        watched(line, way, way.start)
    assert (2, [["init"]] * 3) == (way.replaced, [producer.calls for producer in made])


def test_a_flush_that_hangs_costs_the_producer(hang: Hang, line: Line) -> None:
    """At least once, what it had taken is written again."""
    way, producer, consumer = at_least_once()
    producer.faults.on("flush", hang)
    with pytest.raises(BatchAborted, match="has hung"):
        watched(line, way, lambda: way.deliver(outbox()))
    assert (1, []) == (way.replaced, consumer.offsets)
    watched(line, way, lambda: way.deliver(outbox()))
    assert OFFSETS == read_offsets(consumer)


def test_what_a_producer_that_was_left_behind_could_not_write_is_no_failure_of_the_next_one(
    hang: Hang, line: Line
) -> None:
    """It may tell of it while the next batch is written."""
    way, producer, _ = at_least_once()
    producer.faults.on("flush", hang)
    with pytest.raises(BatchAborted):
        watched(line, way, lambda: way.deliver(outbox()))
    for late, failed in ((producer, None), (double(way), KafkaError._MSG_TIMED_OUT)):
        late.config["on_delivery"](KafkaError(KafkaError._MSG_TIMED_OUT), UNSENT)
        assert failed == (way._failed and way._failed.code())


def test_so_many_producers_left_behind_end_the_process(hang: Hang, line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each one keeps its memory and its threads."""
    monkeypatch.setattr(module, "_MOST_LEFT_BEHIND", 1)
    way, producer = exactly_once()
    producer.faults.on("commit", hang)
    with pytest.raises(BatchAborted):
        watched(line, way, lambda: way.deliver(outbox()))
    double(way).faults.on("commit", hang)
    with pytest.raises(DeliveryError, match=r"has hung for 0\.05 s.*a restart is rid of them"):
        watched(line, way, lambda: way.deliver(outbox()))


def test_a_call_that_takes_its_time_is_waited_for(line: Line) -> None:
    """Nothing is left behind before its patience is over, nor between two calls."""
    way, _ = exactly_once()
    assert not way.leave_behind()
    assert line.submit(lambda: way.deliver(outbox())).result(5) is None
    assert not way.leave_behind()
