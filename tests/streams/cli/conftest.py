"""An operator's desk beside an embedded broker, for the tests of `secondlook dead-letters`."""

import time
from collections.abc import Iterator
from itertools import count
from typing import Any

import pytest
from click.testing import CliRunner, Result
from confluent_kafka import Producer

from scoring.evaluation import evaluate
from scoring.training import train
from streams.cli.main import main
from streams.kafka.topics import load_topics
from streams.pipeline.dead_letters import dead_letter
from streams.pipeline.matching import Dead
from streams.pipeline.reasons import DeadLetter
from streams.pipeline.records import REQUESTS, Headers, Record
from streams.trials.brokers import EmbeddedBroker
from tests.driving import everything

TOPICS = load_topics()
NAMES = {role: topic.name for role, topic in TOPICS.items()}
LETTERS = NAMES["dead_letter"]


@pytest.fixture(scope="module")
def cluster() -> Iterator[EmbeddedBroker]:
    """A broker for all tests: each has topics of its own by a prefix of its own."""
    with EmbeddedBroker([]) as broker:
        yield broker


@pytest.fixture
def _few_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a command does with its figures does not hang on how many draws their intervals are of."""
    for reckons in (evaluate, train):
        assert reckons.__kwdefaults__ is not None
        monkeypatch.setitem(reckons.__kwdefaults__, "replicates", 20)


class Desk:
    """The operator's desk: topics under one prefix, and the command."""

    def __init__(self, broker: EmbeddedBroker, prefix: str) -> None:
        self.broker, self.prefix = broker, prefix
        for topic in load_topics(prefix).values():
            broker.create_topic(topic.name, topic.partitions)
        self.producer = Producer({"bootstrap.servers": broker.bootstrap, "linger.ms": 0})
        self._times = count(int(time.time() * 1000) - 60_000)

    def run(self, command: str, *arguments: str) -> Result:
        """What a command came to."""
        where = [f"--broker={self.broker.bootstrap}", f"--topic-prefix={self.prefix}"]
        if command == "redrive":
            where.append("--delivery=at_least_once")
        return CliRunner().invoke(main, ["dead-letters", command, *where, *arguments])

    def said(self, command: str, *arguments: str) -> str:
        """What a command said that must succeed."""
        result = self.run(command, *arguments)
        assert 0 == result.exit_code, result.output
        return result.output

    def put(self, value: bytes | None, headers: Headers, *, partition: int = 0, key: bytes | None = b"k") -> None:
        """A record in the dead-letter topic, each a ms younger than the one before."""
        at = next(self._times)
        self.producer.produce(self.prefix + LETTERS, value, key, partition, timestamp=at, headers=headers)  # type: ignore[arg-type]
        assert 0 == self.producer.flush(10)

    def set_aside(
        self,
        value: bytes | None,
        code: DeadLetter = DeadLetter.NOT_A_RECORD,
        *,
        source: str = REQUESTS,
        key: bytes | None = b"k",
        own: Headers | None = None,
        partition: int = 0,
    ) -> None:
        """A dead letter as a worker writes it."""
        record = Record(source, 1, 7, 0, key, value, own)
        names = {role: self.prefix + name for role, name in NAMES.items()}
        letter = dead_letter(Dead(record, code, "because", carried=code is not DeadLetter.TOO_LARGE), names)
        self.put(letter.value, letter.headers or [], partition=partition, key=letter.key)

    def arrived(self, role: str) -> list[Any]:
        """Every record of a topic."""
        return everything(self.broker.bootstrap, load_topics(self.prefix)[role])

    def wait_for(self, letters: int) -> list[Any]:
        """The dead letters, once there are so many."""
        while len(found := self.arrived("dead_letter")) < letters:
            time.sleep(0.05)
        return found

    def values(self, role: str = REQUESTS) -> list[bytes | None]:
        """The values in a topic, sorted."""
        return sorted((message.value() for message in self.arrived(role)), key=lambda value: value or b"")


@pytest.fixture
def desk(cluster: EmbeddedBroker, request: pytest.FixtureRequest) -> Desk:
    return Desk(cluster, f"{abs(hash(request.node.name))}.")
