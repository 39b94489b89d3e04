"""Taking partitions over, on a simulated Kafka, where it is broken off half-way."""

from collections.abc import Iterator
from typing import Any

import pytest
from confluent_kafka import TopicPartition

from streams.kafka import restore as module
from streams.kafka.delivery import BatchAborted
from streams.kafka.restore import Restorer
from streams.kafka.topics import load_topics, topic_names
from streams.pipeline.assignment import Assignment
from streams.pipeline.ledger import Limits
from streams.pipeline.records import REQUESTS, Output
from streams.settings import Settings
from tests.simulated import Entry, SimulatedKafka

TOPICS = load_topics()
NAMES = topic_names(TOPICS)


class Takeovers:
    """One worker's, of partition 0; the next `aborts` claims are taken back."""

    def __init__(self) -> None:
        self.kafka = SimulatedKafka(TOPICS, 1)
        self.aborts = 0

    def begin(self) -> None:
        settings = Settings(on_data_loss="continue")
        self.restorer = Restorer(settings, NAMES, Limits(10, 2**20, 10), self._write, lambda: self.kafka.now)

    def _write(self, outputs: list[Output], offsets: list[TopicPartition], _group: object) -> None:
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
    monkeypatch.setattr(module, "_AGAIN_AFTER", 0.0)
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
