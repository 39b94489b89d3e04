"""The state of live quality in a topic of its own: the books, and the offsets up to which they are kept, as one.

A state is written whole, in chunks that name their writer. Two generations take turns under the same keys, so one that was cut short by a crash
leaves the one before it as it was. No transaction is needed, and no fencing: whichever state is read, its books are those of its offsets.
"""

import uuid
from collections import defaultdict
from collections.abc import Iterable
from typing import Final

import msgspec
from confluent_kafka import KafkaError, Message, Producer

from streams.errors import BrokerError
from streams.kafka.clients import producer_config
from streams.kafka.reading import read_once, watermarks
from streams.kafka.topics import load_topics, topic_names
from streams.settings import Settings

CHUNK: Final = 500_000
"""Bytes of a chunk."""
_VERSION: Final = 1
_TIMEOUT: Final = 30.0


class _Chunk(msgspec.Struct, array_like=True, gc=False):
    version: int
    generation: int
    writer: str
    index: int
    count: int
    body: bytes


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Chunk).decode
_pieces = msgspec.msgpack.Decoder(list[bytes]).decode


class QualityStore:
    """Reads the last whole state, and writes the next ones."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._topic = topic_names(load_topics(settings.topic_prefix))["quality"]
        self._writer = uuid.uuid4().hex[:8]
        self._generation = 0

    def load(self) -> list[bytes]:
        """The pieces of the last state that is whole; none where there is none. Raises BrokerError."""
        low, high = watermarks(self._settings, self._topic, [0])[0]
        found: defaultdict[tuple[int, str], dict[int, _Chunk]] = defaultdict(dict)
        for message in read_once(self._settings, self._topic, {0: high}, {0: low}):
            try:
                chunk = _decode(message.value() or b"")
            except msgspec.DecodeError:  # not ours
                continue
            if chunk.version == _VERSION:
                found[chunk.generation, chunk.writer][chunk.index] = chunk
        self._generation = max((generation for generation, _ in found), default=0)
        for name in sorted(found, reverse=True):
            chunks = found[name]
            if len(chunks) == chunks[min(chunks)].count:
                return _pieces(b"".join(chunks[index].body for index in sorted(chunks)))
        return []

    def save(self, pieces: Iterable[bytes]) -> int:
        """Write a state; its bytes. Raises BrokerError."""
        body = _encode(list(pieces))
        self._generation += 1
        bodies = [body[start : start + CHUNK] for start in range(0, len(body), CHUNK)]
        problems: list[str] = []

        def stored(error: KafkaError | None, _: Message) -> None:
            if error is not None:
                problems.append(error.str())

        producer = Producer(producer_config(self._settings))
        for index, part in enumerate(bodies):
            chunk = _Chunk(_VERSION, self._generation, self._writer, index, len(bodies), part)
            key = f"{self._generation % 2}/{index}"
            producer.produce(self._topic, _encode(chunk), key, on_delivery=stored)
        if producer.flush(_TIMEOUT):
            problems.append(f"no answer within {_TIMEOUT:g} s")
        if problems:
            raise BrokerError(f"the state of live quality could not be written to {self._topic}: {problems[0]}")
        return len(body)
