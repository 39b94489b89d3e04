"""Taking partitions over, on a simulated Kafka, where it is broken off half-way."""

from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, TopicPartition

from streams.errors import BrokerError
from streams.kafka import reading
from streams.kafka import restore as module
from streams.kafka.delivery import BatchAborted
from streams.kafka.restore import Restorer
from streams.kafka.topics import load_topics, topic_names
from streams.pipeline.assignment import Assignment
from streams.pipeline.ledger import Limits
from streams.pipeline.records import REQUESTS, Output
from streams.settings import Settings
from tests.simulated import Entry, SimulatedConsumer, SimulatedKafka, Transaction, raises

TOPICS = load_topics()
NAMES = topic_names(TOPICS)


class Takeovers:
    """One worker's, of partition 0; the next `aborts` claims are taken back. Time (s) goes by as its users say."""

    def __init__(self) -> None:
        self.kafka = SimulatedKafka(TOPICS, 1)
        self.aborts = 0
        self.seconds = 0.0
        self.on_claim: Callable[[], None] = lambda: None

    def pass_time(self, seconds: float) -> None:
        self.seconds += seconds

    def begin(self) -> None:
        settings = Settings(on_data_loss="continue", restore_timeout=60)
        self.restorer = Restorer(settings, NAMES, Limits(10, 2**20, 10), self._write, lambda: self.kafka.now)

    def _write(self, outputs: list[Output], offsets: list[TopicPartition], _group: object) -> None:
        self.on_claim()
        if self.aborts:
            self.aborts -= 1
            raise BatchAborted("injected")
        for output in outputs:
            self.kafka.append((NAMES["pending"], 0), Entry(output.key, output.value))
        for one in offsets:
            self.kafka.offsets["secondlook", one.topic, one.partition] = (one.offset, one.metadata)

    def take_over(self, kept: Any) -> Assignment:
        assignment = Assignment(1, frozenset({0}), "the group")
        self.restorer.restore(assignment, kept)
        assignment.ready = True
        return assignment


@pytest.fixture
def takeovers(monkeypatch: pytest.MonkeyPatch) -> Iterator[Takeovers]:
    found = Takeovers()
    found.kafka.patch(monkeypatch)
    clock = SimpleNamespace(sleep=found.pass_time, monotonic=lambda: found.seconds)
    monkeypatch.setattr(module, "time", clock)
    monkeypatch.setattr(reading, "time", clock)
    found.begin()
    return found


@pytest.mark.parametrize("aborts", [0, 1, 2])
def test_a_loss_is_counted_however_often_its_takeover_is_broken_off(takeovers: Takeovers, aborts: int) -> None:
    """Also where the worker keeps its store, which must not have gone past the loss in an attempt that failed."""
    kept = takeovers.take_over({}).clean_stores()
    log = takeovers.kafka.logs[NAMES[REQUESTS], 0]
    log.entries, log.low = [Entry(b"a", b"{}")] * 30, 25
    takeovers.aborts = aborts
    assignment = takeovers.take_over(kept)
    assert ({"retention": 25}, 25) == (takeovers.restorer.skipped, assignment.positions[REQUESTS, 0].next_offset)


def test_a_changelog_behind_an_open_transaction_ends_the_takeover_and_says_where(
    takeovers: Takeovers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After `restore_timeout` without a record, and with what to do about it."""
    topic = NAMES["pending"]
    for transaction in (Transaction(), None):
        takeovers.kafka.append((topic, 0), Entry(b"k", b"v", transaction=transaction))
    consume = SimulatedConsumer.consume

    def slowly(client: SimulatedConsumer, count: int, timeout: float) -> Any:
        takeovers.pass_time(timeout)
        return consume(client, count, timeout)

    monkeypatch.setattr(SimulatedConsumer, "consume", slowly)
    expected = f"from {topic} for 60 s, partition 0 at 0 of 2: a transaction that is still open .* find-hanging"
    with pytest.raises(BrokerError, match=expected):
        takeovers.take_over({})
    assert 60 < takeovers.seconds < 70


def test_offsets_behind_an_open_transaction_end_the_takeover(
    takeovers: Takeovers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They may still move."""

    def unstable(*_: Any, **__: Any) -> None:
        raise raises(KafkaError.UNSTABLE_OFFSET_COMMIT)

    monkeypatch.setattr(SimulatedConsumer, "committed", unstable)
    with pytest.raises(BrokerError, match="cannot read the offsets of group secondlook: "):
        takeovers.take_over({})
    assert 60 < takeovers.seconds < 61


def test_a_broker_that_goes_away_late_is_waited_for_as_one_that_goes_at_once(
    takeovers: Takeovers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long the takeover has read by then: what came wore out no patience."""
    store = takeovers.take_over({}).stores[0]
    takeovers.begin()
    apply = store.__class__.apply

    def slowly(store: Any, key: bytes | None, value: bytes | None) -> bool:
        takeovers.pass_time(100)
        takeovers.kafka.away = 3
        monkeypatch.setattr(store.__class__, "apply", apply)
        return apply(store, key, value)

    monkeypatch.setattr(store.__class__, "apply", slowly)
    assert 0 == takeovers.take_over({}).positions[REQUESTS, 0].next_offset
    assert 0 == takeovers.kafka.away


def test_a_broker_that_stays_away_ends_the_takeover(takeovers: Takeovers) -> None:
    """After `restore_timeout`."""
    takeovers.kafka.away = 1_000_000
    with pytest.raises(BrokerError, match=r"the partitions cannot be taken over: .*simulated"):
        takeovers.take_over({})
    assert 60 < takeovers.seconds < 61


def test_a_claim_that_waits_for_the_broker_wears_out_no_patience(takeovers: Takeovers) -> None:
    """It is taken back when the broker is there again, and written anew."""
    takeovers.aborts, takeovers.on_claim = 1, lambda: takeovers.pass_time(600)
    assert 0 == takeovers.take_over({}).positions[REQUESTS, 0].next_offset


def test_claims_that_are_taken_back_again_and_again_end_the_takeover(takeovers: Takeovers) -> None:
    """What an attempt reads that others have read before is nothing new."""
    takeovers.take_over({})
    takeovers.kafka.offsets.clear()
    takeovers.kafka.logs[NAMES["pending"], 0].entries[0].key = b"foreign"
    takeovers.aborts = 1_000_000
    with pytest.raises(BrokerError, match="the partitions cannot be taken over: injected"):
        takeovers.take_over({})
    assert 60 < takeovers.seconds < 61
