"""The state of live quality in a topic of its own: the books, and the offsets up to which they are kept, as one.

What changes is written whole, in chunks that name their writer. Two generations take turns under the same keys, so one that was cut short by a
crash leaves the one before it as it was. What never changes, pages of remembered answers, is written once, under its name, before the first state that
names it. No transaction is needed, and no fencing: whichever state is read, its books are those of its offsets.
"""

import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from hashlib import blake2b
from typing import Final, NamedTuple

import msgspec
from confluent_kafka import KafkaError, Message, Producer

from streams.errors import BrokerError
from streams.kafka.clients import Consumed, producer_config
from streams.kafka.reading import broker_stamp, read_once, watermarks
from streams.kafka.topics import load_topics, topic_names
from streams.kafka.troubles import told
from streams.settings import Settings

CHUNK: Final = 500_000
"""Bytes of a chunk."""
_PAGE: Final = b"page/"
_VERSION: Final = 2
_TIMEOUT: Final = 30.0
_MOST_BYTES: Final = {"message.max.bytes": 1_000_000}
"""Whatever records of the pipeline may have: a page as it may be at worst, within what the topic takes."""
_LAST: Final = 1 << 53
"""Generations beyond it are none of ours."""
_UNNAMED_FOR: Final = 3600.0
"""Seconds for which a page is kept that no state names: another worker may be about to, one that does not know yet that it leads no more."""


class Stored(NamedTuple):
    """The pieces of a state, and pages by name: all that it names, and perhaps others."""

    pieces: list[bytes]
    pages: dict[str, bytes]


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
        self._last = b""
        """The digest of the last state written."""
        self._pages: dict[str, float] = {}
        """When each page that the topic holds was written."""

    def load(self) -> Stored:
        """The last state that is whole; an empty one where there is none. Raises BrokerError."""
        states, pages = _States(), dict[str, bytes]()
        low, high = watermarks(self._settings, self._topic, [0])[0]
        with closing(read_once(self._settings, self._topic, {0: high}, {0: low})) as found:
            for message in found:
                key = message.key() or b""
                if key.startswith(_PAGE):
                    self._take_page(key[len(_PAGE) :].decode(errors="replace"), message, pages)
                else:
                    states.take(message.value() or b"")
        self._generation = states.generation
        return Stored(states.last, pages)

    def _take_page(self, name: str, message: Consumed, pages: dict[str, bytes]) -> None:
        body = message.value()
        if body is None:
            pages.pop(name, None)
            self._pages.pop(name, None)
        else:
            pages[name] = body
            self._pages[name] = (broker_stamp(message) or 0) / 1000

    def save(self, pieces: Iterable[bytes], pages: Mapping[str, Callable[[], bytes]]) -> int:
        """Write a state, and before it those of its pages that the topic lacks, unless it is the last one; the bytes written. Raises BrokerError."""
        body = _encode(list(pieces))
        digest = blake2b(body).digest()
        if digest == self._last:
            return 0
        self._generation += 1
        producer = Producer(producer_config(self._settings, **_MOST_BYTES))
        new = {name: packed() for name, packed in pages.items() if name not in self._pages}
        self._write(producer, [(_page_key(name), page) for name, page in new.items()])
        self._pages |= dict.fromkeys(new, time.time())
        self._write(producer, self._chunks(body))
        self._last = digest
        old = time.time() - _UNNAMED_FOR
        gone = [name for name, written in self._pages.items() if name not in pages and written < old]
        self._write(producer, [(_page_key(name), None) for name in gone])
        for name in gone:
            del self._pages[name]
        return len(body) + sum(map(len, new.values()))

    def _chunks(self, body: bytes) -> list[tuple[bytes, bytes]]:
        bodies = [body[start : start + CHUNK] for start in range(0, len(body), CHUNK)]
        chunks = [
            _Chunk(_VERSION, self._generation, self._writer, index, len(bodies), part)
            for index, part in enumerate(bodies)
        ]
        return [(b"%d/%d" % (self._generation % 2, chunk.index), _encode(chunk)) for chunk in chunks]

    def _write(self, producer: Producer, records: Iterable[tuple[bytes, bytes | None]]) -> None:
        """Write them all, and wait for that."""
        problems: list[str] = []

        def stored(error: KafkaError | None, _: Message) -> None:
            if error is not None:
                problems.append(told(error, f"Write {self._topic}"))

        for key, value in records:
            producer.produce(self._topic, value, key, on_delivery=stored)
        if producer.flush(_TIMEOUT):
            problems.append(f"no answer within {_TIMEOUT:g} s")
        if problems:
            raise BrokerError(f"the state of live quality could not be written to {self._topic}: {problems[0]}")


def _page_key(name: str) -> bytes:
    return _PAGE + name.encode()


class _States:
    """States as they are read, chunk by chunk; keeps no more than the last whole one, and what may become a later one."""

    def __init__(self) -> None:
        self.generation = 0
        self.last: list[bytes] = []
        self._whole = 0
        self._found: dict[tuple[int, str], dict[int, _Chunk]] = {}

    def take(self, value: bytes) -> None:
        try:
            chunk = _decode(value)
        except msgspec.DecodeError:  # not ours
            return
        if chunk.version != _VERSION or not 0 <= chunk.index < chunk.count or chunk.generation > _LAST:
            return
        self.generation = max(self.generation, chunk.generation)
        if chunk.generation < self._whole:
            return
        chunks = self._found.setdefault((chunk.generation, chunk.writer), {})
        chunks[chunk.index] = chunk
        if len(chunks) < chunk.count:
            return
        try:
            self.last = _pieces(b"".join(chunks[index].body for index in range(chunk.count)))
        except (msgspec.DecodeError, KeyError):  # not ours
            return
        self._whole = chunk.generation
        self._found = {name: of_it for name, of_it in self._found.items() if name[0] > chunk.generation}
