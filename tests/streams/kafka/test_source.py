"""What the source hands on, on a simulated Kafka."""

import asyncio
import time
from types import SimpleNamespace

import pytest

from streams.errors import BrokerError, TopicError
from streams.pipeline.records import REQUESTS
from tests.rig import request
from tests.simulated import Entry, SimulatedKafka, Transaction
from tests.streams.kafka.test_simulated import NAMES, TOPICS, Turns, Worker


async def work(worker: Worker, rounds: int = 10) -> None:
    for _ in range(rounds):
        await worker.step()
        worker.restores.take()
        await worker.deliver()


def written(kafka: SimulatedKafka, state: str) -> None:
    """A producer's transaction of one request."""
    transaction, record = Transaction(spots={(NAMES[REQUESTS], 0)}), request("a")
    kafka.append((NAMES[REQUESTS], 0), Entry(record.key, record.value, transaction=transaction))
    kafka.end(transaction, state)


@pytest.mark.parametrize("states", [["committed"], ["aborted"], ["committed", "aborted"]], ids=str)
def test_what_transactions_leave_behind_the_last_record_is_committed_too(
    states: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Retention takes it one day, and a restart would take it for a record that nobody had read."""
    monkeypatch.setattr("streams.kafka.source._AHEAD_FOR", 0.0)
    monkeypatch.setattr("streams.kafka.restore.time", SimpleNamespace(sleep=Turns.sleep, monotonic=time.monotonic))
    kafka = SimulatedKafka(TOPICS, 1)
    kafka.patch(monkeypatch)
    worker = Worker(kafka, "one")

    async def live() -> None:
        await worker.start()
        await work(worker)
        for state in states:
            written(kafka, state)
            await work(worker)

    asyncio.run(live())
    worker.kill()
    log = kafka.logs[NAMES[REQUESTS], 0]
    assert 2 * len(states) == log.high == kafka.offsets["secondlook", NAMES[REQUESTS], 0][0]
    log.low = log.high
    again = Worker(kafka, "one")

    async def return_() -> None:
        await again.start()
        await work(again)

    asyncio.run(return_())
    again.kill()
    assert again.source.positions[REQUESTS, 0].next_offset == log.high


@pytest.mark.parametrize(("count", "told"), [(2, [False]), (3, [True, False]), (4, [True, False])], ids=str)
def test_a_batch_is_full_only_where_more_is_known_to_stand_behind_it(
    count: int, told: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that keeps up must not hold commits back, however small its batches are."""
    monkeypatch.setattr("streams.kafka.restore.time", SimpleNamespace(sleep=Turns.sleep, monotonic=time.monotonic))
    kafka = SimulatedKafka(TOPICS, 1)
    kafka.patch(monkeypatch)
    worker = Worker(kafka, "one")
    found: list[bool] = []

    async def live() -> None:
        await worker.start()
        await work(worker)
        for number in range(count):
            record = request(f"a{number}")
            kafka.append((NAMES[REQUESTS], 0), Entry(record.key, record.value))
        worker.probe()
        for _ in told:
            polled = await worker.source.poll()
            assert polled is not None
            found.append(polled.ticket.is_full)

    asyncio.run(live())
    worker.kill()
    assert told == found


def test_a_poll_that_does_not_come_back_is_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    """/live looks at it; between polls there is nothing to time."""
    kafka = SimulatedKafka(TOPICS, 1)
    kafka.patch(monkeypatch)
    worker = Worker(kafka, "one")
    timed: list[float] = []

    def fetch() -> None:
        time.sleep(0.05)
        timed.append(worker.source.polling_for)
        raise TopicError("gone")

    async def live() -> None:
        await worker.start()
        monkeypatch.setattr(worker.source._consumer, "fetch", fetch)
        await worker.step()

    with pytest.raises(TopicError):
        asyncio.run(live())
    worker.kill()
    assert timed[0] >= 0.05
    assert 0.0 == worker.source.polling_for


def test_a_gap_that_takes_long_to_look_through_is_given_more_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A huge aborted transaction would else be looked up in vain for ever; once that is done, patience is as before."""
    kafka = SimulatedKafka(TOPICS, 1)
    kafka.patch(monkeypatch)
    source = Worker(kafka, "one").source
    given: list[float] = []

    def look(*_: object, patience: float) -> bool:
        given.append(patience)
        if len(given) < 7:
            raise BrokerError("nothing more could be read")
        return False

    monkeypatch.setattr("streams.kafka.source.holds_records", look)
    assert [True] * 6 + [False] * 2 == [source._holds_records((REQUESTS, 0), [(0, 9)]) for _ in range(8)]
    assert [10, 20, 40, 80, 160, 160, 160, 10] == given


def test_what_is_fetched_while_the_group_deals_anew_is_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A poll that spans two assignments hands on nothing of the old one, and moves no position of the new one."""
    kafka = SimulatedKafka(TOPICS, 1)
    kafka.patch(monkeypatch)
    worker = Worker(kafka, "one")
    handed_on: list[int] = []

    async def live() -> None:
        await worker.start()
        await work(worker)
        before = worker.source.assignment
        for name in "ab":
            record = request(name)
            kafka.append((NAMES[REQUESTS], 0), Entry(record.key, record.value))
        kafka.rebalance()
        assert await worker.source.poll() is None
        assert before is not None
        assert before.over
        for _ in range(10):
            polled = await worker.source.poll()
            worker.restores.take()
            if polled is not None:
                handed_on.extend(record.offset for record in polled.arrivals.records)

    asyncio.run(live())
    worker.kill()
    assert [0, 1] == handed_on
