"""The track that all contenders run on: topics filled once with recorded answers, outputs made anew for each run.

How far a run is, is seen from outside: the last stable offsets of the decision topics, which is what a consumer that
reads only committed records can reach. Asking for them costs the broker next to nothing.
"""

import time
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import cycle, islice
from typing import Any

import orjson
from confluent_kafka import (
    OFFSET_BEGINNING,
    Consumer,
    IsolationLevel,
    KafkaError,
    KafkaException,
    Producer,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, NewTopic, OffsetSpec
from job import JOINED, REQUEST_HEADER

from scoring import RECORDING, read_recording
from streams.kafka.topics import create_topics, load_topics

PREFIX = "bench."
DECISIONS = ("auto_action", "human_review")
INPUTS = ("requests", "responses")
_OUTPUTS = (*DECISIONS, "vectors", "dead_letter", "pending")


class Track:
    """The topics of one benchmark on a broker. `partitions` is that of every data topic, `inputs` more config of the inputs."""

    def __init__(
        self, broker: str, *, partitions: int = 4, prefix: str = PREFIX, inputs: Mapping[str, str] | None = None
    ) -> None:
        self.broker = broker
        self.prefix = prefix
        self.partitions = partitions
        self._admin = AdminClient({"bootstrap.servers": broker, "log_level": 0})
        self._topics = {
            key: topic if topic.partitions == 1 else replace(topic, partitions=partitions)
            for key, topic in load_topics(prefix).items()
        }
        for role in INPUTS:
            self._topics[role] = replace(self._topics[role], config={**self._topics[role].config, **(inputs or {})})
        self.names = {key: topic.name for key, topic in self._topics.items()} | {JOINED: prefix + JOINED}

    def build(self) -> None:
        """Make all topics, empty."""
        self.remove()
        create_topics({"bootstrap.servers": self.broker}, self._topics)
        _wait_all(self._admin.create_topics([NewTopic(self.names[JOINED], self.partitions)]))

    def clear_outputs(self) -> None:
        """Make the outputs and the changelog anew: a run must not know what the last one decided."""
        self._remove(self.names[key] for key in _OUTPUTS)
        create_topics({"bootstrap.servers": self.broker}, {key: self._topics[key] for key in _OUTPUTS})
        while self.readable():  # what answers for a deleted topic still
            time.sleep(0.05)

    def remove(self) -> None:
        """Delete all topics."""
        self._remove(self.names.values())

    def remove_others(self, prefix: str) -> None:
        """Delete the topics that a contender made for itself, named after its group."""
        self._remove(name for name in self._admin.list_topics(timeout=10).topics if name.startswith(prefix))

    def _remove(self, names: Iterable[str]) -> None:
        wanted = set(names)
        existing = [name for name in self._admin.list_topics(timeout=10).topics if name in wanted]
        if existing:
            _wait_all(self._admin.delete_topics(existing))
        while wanted & self._admin.list_topics(timeout=10).topics.keys():
            time.sleep(0.05)

    def fill(self, count: int, *, tokens: int | None = None, roles: Collection[str] = (*INPUTS, JOINED)) -> None:
        """Produce `count` records to each of these topics: requests, responses, and the same two joined."""
        producer = Producer(
            {
                "bootstrap.servers": self.broker,
                "compression.type": "lz4",
                "linger.ms": 20,
                "partitioner": "murmur2_random",
                "queue.buffering.max.kbytes": 262_144,
            }
        )
        for key, request, response in answers(count, tokens):
            if "requests" in roles:
                self._put(producer, "requests", key, request)
            if "responses" in roles:
                self._put(producer, "responses", key, response)
            if JOINED in roles:
                self._put(producer, JOINED, key, response, [(REQUEST_HEADER, request)])
        producer.flush()

    def _put(self, producer: Producer, role: str, key: bytes, value: bytes, headers: list[Any] | None = None) -> None:
        while True:
            try:
                producer.produce(self.names[role], value, key, headers=headers)
            except BufferError:
                producer.poll(0.05)
            else:
                return

    def readable(self) -> int:
        """Offsets of decisions that a committed reader can reach (transaction markers included)."""
        wanted = {
            TopicPartition(self.names[role], partition): OffsetSpec.latest()
            for role in DECISIONS
            for partition in range(self.partitions)
        }
        isolation = IsolationLevel.READ_COMMITTED
        while True:
            try:
                answers = self._admin.list_offsets(wanted, isolation_level=isolation, request_timeout=10)
                return sum(answer.result().offset for answer in answers.values())
            except KafkaException:  # the leaders of new partitions are not known everywhere yet
                time.sleep(0.05)

    def decisions(self) -> Counter[bytes]:
        """How often each request was decided, of what is readable now."""
        return Counter(message.key() for message in self.committed(DECISIONS))

    def committed(self, roles: Collection[str]) -> Iterator[Any]:
        """The messages of these topics that are readable now."""
        consumer = Consumer(
            {
                "bootstrap.servers": self.broker,
                "group.id": f"{self.prefix}verify",
                "enable.partition.eof": True,
                "enable.auto.commit": False,
                "isolation.level": "read_committed",
            }
        )
        parts = [
            TopicPartition(self.names[role], number, OFFSET_BEGINNING)
            for role in roles
            for number in range(self._topics[role].partitions)
        ]
        consumer.assign(parts)
        ended = 0
        while ended < len(parts):
            for message in consumer.consume(1000, timeout=1.0):
                error = message.error()
                if error is None:
                    yield message
                elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - its public name
                    ended += 1
                else:
                    raise KafkaException(error)
        consumer.close()


def answers(count: int, tokens: int | None = None) -> Iterator[tuple[bytes, bytes, bytes]]:
    """Key, request and response record: the recording over and over, each time under new ids.

    With `tokens` every answer's log-probabilities are repeated or cut to that many tokens.
    """
    items = read_recording(RECORDING)
    bodies = [orjson.loads(bytes(item.response)) for item in items]
    if tokens is not None:
        for body in bodies:
            lengthen(body, tokens)
    packed = [orjson.Fragment(orjson.dumps(body)) for body in bodies]
    for number, (item, body) in islice(enumerate(cycle(zip(items, packed, strict=True))), count):
        request_id = f"{item.request_id}-{number:07d}"
        request = orjson.dumps({**item.request, "request_id": request_id})
        response = orjson.dumps({"request_id": request_id, "provider": "openai-chat", "body": body})
        yield request_id.encode(), request, response


def lengthen(body: dict[str, Any], tokens: int) -> None:
    """Give a body exactly `tokens` tokens: its own first ones stay, and are followed by its own again."""
    content = body["choices"][0]["logprobs"]["content"]
    longer = list(islice(cycle(content), tokens))
    body["choices"][0]["logprobs"]["content"] = longer
    body["choices"][0]["message"]["content"] = "".join(token["token"] for token in longer)


def _wait_all(answers: dict[Any, Any]) -> None:
    for answer in answers.values():
        answer.result()
