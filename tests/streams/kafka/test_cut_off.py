"""Clients that lost their brokers for good: noticed where others get answers, and another one takes their place."""

import asyncio
import itertools
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError

from streams.kafka import control_status, cut_off, prober
from streams.kafka import delivery as delivery_module
from streams.kafka.clock import BrokerClock
from streams.kafka.control_status import StatusWriter, WorkerStatus
from streams.kafka.cut_off import CUT_OFF, CutOff
from streams.kafka.delivery import BatchAborted
from streams.pipeline.records import REQUESTS
from streams.settings import Settings
from tests.rig import TIMEOUT, request
from tests.simulated import Entry, SimulatedKafka
from tests.streams.kafka.delivering import WRITTEN, at_least_once, double, exactly_once, outbox
from tests.streams.kafka.faulty_clients import FaultyProducer, away, problem
from tests.streams.kafka.test_simulated import NAMES, TOPICS, Worker


class Client:
    """Answers, is away, or knows no broker any more."""

    def __init__(self, state: str = "well") -> None:
        self.state = state
        self.asked = 0

    def list_topics(self, _topic: str, timeout: float) -> Any:  # noqa: ARG002 - nothing is waited for
        self.asked += 1
        if self.state == "away":
            raise problem(KafkaError._TRANSPORT)
        return SimpleNamespace(brokers={} if self.state == "empty" else {1: None})


@pytest.fixture
def other(monkeypatch: pytest.MonkeyPatch) -> Client:
    """What another client is told."""
    client = Client()
    monkeypatch.setattr(CutOff, "_another", lambda _self: client)
    return client


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Gives what moves the time (s)."""
    now = [1000.0]
    monkeypatch.setattr(cut_off, "time", SimpleNamespace(monotonic=lambda: now[0]))

    def move(seconds: float) -> None:
        now[0] += seconds

    return move


def looks(one: CutOff, client: Client, clock: Callable[[float], None], *, seconds: int) -> list[int]:
    """After which seconds it was said to be cut off, asked once a second."""
    found = []
    for second in range(1, seconds + 1):
        clock(1)
        if one.look(client):
            found.append(second)
    return found


@pytest.mark.parametrize("state", ["away", "empty"])
def test_a_client_that_gets_no_answer_while_others_do_is_cut_off(
    other: Client, clock: Callable[[float], None], state: str
) -> None:
    """Once it had the time to connect again; a fenced broker's word that there are no brokers is no answer."""
    assert 25 <= looks(CutOff(Settings(), "topic"), Client(state), clock, seconds=60)[0] <= 30
    assert other.asked


@pytest.mark.parametrize("state", ["away", "empty"])
def test_where_nobody_gets_an_answer_nobody_is_cut_off(
    other: Client, clock: Callable[[float], None], state: str
) -> None:
    """The brokers are away: another client would fare no better."""
    other.state = state
    assert [] == looks(CutOff(Settings(), "topic"), Client("away"), clock, seconds=200)


def test_a_client_that_gets_an_answer_is_not_cut_off(other: Client, clock: Callable[[float], None]) -> None:
    """Whatever it met before; and it is asked no more often than it must be."""
    one, client = CutOff(Settings(), "topic"), Client("away")
    assert [] == looks(one, client, clock, seconds=20)
    client.state = "well"
    assert [] == looks(one, client, clock, seconds=10)
    client.state = "away"
    assert [] == looks(one, client, clock, seconds=15)
    clock(100)  # nobody asked: records came
    assert [] == looks(one, client, clock, seconds=20)
    assert client.asked <= 14
    assert 0 == other.asked


@pytest.mark.parametrize("step", ["init", "offsets", "commit", "abort"])
def test_a_producer_that_is_cut_off_is_replaced_and_its_batch_redone(
    monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """Its calls time out for ever, as if the broker were away."""
    monkeypatch.setattr(delivery_module, "Producer", FaultyProducer)
    monkeypatch.setattr(CutOff, "look", lambda _self, client: client is first)
    way, first = exactly_once()
    first.faults.always(step, itertools.repeat(away()))
    if step == "abort":
        first.faults.on("commit", problem(KafkaError.INVALID_TXN_STATE, txn_requires_abort=True))
    with pytest.raises(BatchAborted, match=CUT_OFF):
        way.start() if step == "init" else way.deliver(outbox())
    assert 1 == way.replaced
    assert double(way) is not first
    assert ["init"] == double(way).calls
    way.deliver(outbox())
    assert WRITTEN == double(way).committed


def test_a_flush_of_a_producer_that_is_cut_off_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """At least once, records wait for the broker without a limit; another producer writes them."""
    monkeypatch.setattr(delivery_module, "Producer", FaultyProducer)
    monkeypatch.setattr(CutOff, "look", lambda _self, client: client is first)
    way, first, _consumer = at_least_once()
    first.queued = 3
    with pytest.raises(BatchAborted, match=CUT_OFF):
        way.deliver(outbox())
    way.deliver(outbox())
    assert WRITTEN == double(way).committed


@pytest.mark.parametrize("lost", [False, True], ids=["with its partitions", "when they are lost"])
def test_a_member_that_is_cut_off_joins_anew(monkeypatch: pytest.MonkeyPatch, lost: bool) -> None:
    """And reads what came meanwhile."""
    kafka = SimulatedKafka(TOPICS, 1)
    kafka.patch(monkeypatch)
    worker = Worker(kafka, "one")

    async def live() -> None:
        await worker.start()
        await rounds()
        record = request("a")
        kafka.append((NAMES[REQUESTS], 0), Entry(record.key, record.value))
        if lost:
            worker.source.lost()
        kafka.cut_off(worker.consumers[0])
        await rounds()

    async def rounds() -> None:
        for _ in range(12):
            await worker.step()
            worker.restores.take()
            await worker.deliver()

    asyncio.run(live())
    worker.kill()
    assert 2 == len(worker.consumers)
    assert 1 == worker.source.positions[REQUESTS, 0].next_offset


def test_a_member_that_does_not_know_that_it_was_missed_decides_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A request times out in its store and in its successor's: the group refuses the one of the two that is no member."""
    kafka = SimulatedKafka(TOPICS, 1)
    kafka.patch(monkeypatch)
    cut, successor = Worker(kafka, "one"), Worker(kafka, "two")
    record = request("a", at=kafka.now)
    kafka.append((NAMES[REQUESTS], 0), Entry(record.key, record.value))

    async def rounds(*workers: Worker) -> None:
        for _ in range(12):
            for worker in workers:
                await worker.step()
                worker.restores.take()
                await worker.deliver()

    async def live() -> None:
        await cut.start()
        await rounds(cut)
        kafka.cut_off(cut.consumers[0])
        await successor.start()
        await rounds(successor)
        kafka.now += TIMEOUT + 1
        await rounds(cut, successor)

    asyncio.run(live())
    for worker in (cut, successor):
        worker.kill()
    assert [b"a"] == [one.key for one in kafka.committed_records(NAMES["human_review"])]


def test_a_member_that_only_has_nothing_to_read_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """A question holds up what comes just then."""
    kafka = SimulatedKafka(TOPICS, 1)
    kafka.patch(monkeypatch)
    worker = Worker(kafka, "one")
    asked: list[bool] = []

    async def live() -> None:
        await worker.start()
        for _ in range(20):
            await worker.step()
            worker.restores.take()
            await worker.deliver()
            if worker.source.assignment is not None:
                monkeypatch.setattr(CutOff, "look", lambda *_: asked.append(worker.source.assignment.ready))

    asyncio.run(live())
    worker.kill()
    assert True not in asked


def test_a_prober_whose_clients_fail_asks_with_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without its answers nothing ever times out."""
    kafka = SimulatedKafka(TOPICS, 1)
    kafka.patch(monkeypatch)
    monkeypatch.setattr(prober, "_RENEWED_AFTER", 0.0)
    one = prober.Prober(Settings(), NAMES, lambda: 0)
    kept = one._client
    for _ in range(3):
        one._round()
        one._renew()
    assert one._client is kept
    kafka.away = 1
    with pytest.raises(Exception, match="simulated"):
        one._round()
    one._failed()
    one._renew()
    assert one._client is not kept
    one._round()
    one._renew()


def test_a_worker_that_is_not_heard_speaks_through_another_client(monkeypatch: pytest.MonkeyPatch) -> None:
    """Silence would count as a dead worker."""
    made: list[Any] = []

    class Mute:
        def __init__(self, _config: object) -> None:
            self.said = 0
            made.append(self)

        def produce(self, *_given: object, on_delivery: object) -> None:
            assert on_delivery
            self.said += 1

        def poll(self, _seconds: float) -> None:
            pass

    monkeypatch.setattr(control_status, "Producer", Mute)
    writer = StatusWriter(Settings(), {"control_status": "status"}, "one", BrokerClock())
    writer.write(WorkerStatus(worker="", event="alive", at="", control_version=0))
    assert [1] == [one.said for one in made]
    monkeypatch.setattr(control_status, "_RENEWED_AFTER", 0.0)
    writer.write(WorkerStatus(worker="", event="alive", at="", control_version=0))
    assert [1, 1] == [one.said for one in made]
