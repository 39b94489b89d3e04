"""What live quality reads: decisions, predictors and human decisions from where the books stand, and the books themselves.

Human decisions wait until what went to humans has been read as far as to their time. They come after their decisions, but their topic is far
smaller: read as fast as the others, years of them would have to wait in the books for decisions that stand further on.
"""

import logging
import math
import uuid
from collections import deque
from collections.abc import Callable, Mapping
from typing import Final

import msgspec
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, TopicPartition

from streams.kafka.clients import Consumed, consume, reader_config
from streams.kafka.cut_off import CutOff, discard
from streams.kafka.quality_store import QualityStore, Stored
from streams.kafka.reading import mends_itself, places_of, unreadable, watermarks
from streams.pipeline.quality.books import SKIPPED
from streams.pipeline.quality.keeping import Ledger
from streams.settings import Settings

log = logging.getLogger(__name__)

ROLES: Final = ("auto_action", "human_review", "vectors", "human_decisions")
_AT_ONCE: Final = 500
_MOST_WAITING: Final = 1_000
"""Human decisions of a partition that wait, before no more of it are fetched."""
_CONSUMER: Final = {
    # It is in no hurry, and what is fetched ahead is memory that no limit of the worker's counts.
    "queued.max.messages.kbytes": 1024,
    "fetch.message.max.bytes": 256 * 1024,
    "fetch.max.bytes": 4 * 1024 * 1024,
    "auto.offset.reset": "error",  # what is gone unread is said, not passed by
}

_Place = tuple[str, int]


class _Head(msgspec.Struct, array_like=True):
    """What stands before the books in a state: by topic and partition the next offset to read."""

    topics: dict[str, dict[int, int]]


class QualityReading:
    """The books as they were last stored, and a consumer that goes on there. `stamp` tells when a record was written (ms)."""

    def __init__(self, settings: Settings, stamp: Callable[[Consumed], int]) -> None:
        self._settings, self._stamp = settings, stamp
        self._store = QualityStore(settings)
        self._next, self.ledger = _restored(self._store.load())
        places = places_of(settings, *ROLES)
        self._roles = {name: role for role, (name, _) in places.items()}
        self._places = [(name, number) for name, numbers in places.values() for number in numbers]
        for name, numbers in places.values():
            self._pass_by(name, watermarks(settings, name, numbers))
        self._cut_off = CutOff(settings, self._places[0][0])
        self._consumer = self._assigned()
        log.info("live quality is kept here", extra={"from": self._next or "the beginning"})

    def _pass_by(self, name: str, marks: Mapping[int, tuple[int, int]]) -> None:
        """Go on at the first record there is, where those before it are gone, or the topic is another one."""
        for number, (low, high) in marks.items():
            at = self._next.get(name, {}).get(number)
            if at is None or low <= at <= high:
                continue
            skipped = max(low - at, 0)
            self.ledger.books.counts[SKIPPED] += skipped
            self._next[name][number] = low
            why = f"{skipped} records are gone unread (retention)" if skipped else "the topic was cut or made anew"
            log.warning("live quality goes on at offset %d, not %d, of %s %d: %s", low, at, name, number, why)

    def _assigned(self) -> Consumer:
        """A consumer of all partitions, none of which has been read further than was counted."""
        self._reached = {place: -math.inf for place in self._places if self._roles[place[0]] == "human_review"}
        self._waiting: dict[_Place, deque[Consumed]] = {
            place: deque() for place in self._places if self._roles[place[0]] == "human_decisions"
        }
        self._paused: set[_Place] = set()
        consumer = Consumer({**reader_config(self._settings), **_CONSUMER})
        consumer.assign(
            [
                TopicPartition(name, number, self._next.get(name, {}).get(number, OFFSET_BEGINNING))
                for name, number in self._places
            ]
        )
        return consumer

    def poll(self) -> dict[str, list[Consumed]]:
        """The next records, by the role of their topic."""
        found: dict[str, list[Consumed]] = {}
        messages = consume(self._consumer, _AT_ONCE, 0.5)
        for message in messages:
            error, place = message.error(), (message.topic(), message.partition())
            if error is not None:
                self._meet(error, message, place)
            elif place in self._waiting:
                self._waiting[place].append(message)
            else:
                found.setdefault(self._roles[place[0]], []).append(message)
                self._pass(place, message.offset() + 1)
                if place in self._reached:
                    self._reached[place] = self._stamp(message)
        if not messages and self._cut_off.look(self._consumer):
            discard(self._consumer.close)
            self._consumer = self._assigned()
        found["human_decisions"] = self._due()
        self._hold_back()
        return found

    def _meet(self, error: KafkaError, message: Consumed, place: _Place) -> None:
        if error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - its public name
            if place in self._reached:
                self._reached[place] = math.inf
            if not self._waiting.get(place):  # beyond the marks of transactions, which are no records
                self._pass(place, message.offset())
        elif not mends_itself(error):
            raise unreadable(message.topic(), error)

    def _pass(self, place: _Place, offset: int) -> None:
        self._next.setdefault(place[0], {})[place[1]] = offset

    def _due(self) -> list[Consumed]:
        """The human decisions whose decisions have been read, if there are any."""
        reached = min(self._reached.values(), default=math.inf)
        due = []
        for place, words in self._waiting.items():
            while words and self._stamp(words[0]) <= reached:
                due.append(words.popleft())
                self._pass(place, due[-1].offset() + 1)
        return due

    def _hold_back(self) -> None:
        """Fetch no more of human decisions than may wait."""
        full = {place for place, words in self._waiting.items() if len(words) >= _MOST_WAITING}
        free = {place for place in self._paused if not self._waiting[place]}
        if full - self._paused:
            self._consumer.pause([TopicPartition(*place) for place in full - self._paused])
        if free:
            self._consumer.resume([TopicPartition(*place) for place in free])
        self._paused = (self._paused | full) - free

    def lag(self) -> int | None:
        """Records that have not been counted, as far as the client knows; None while it does not know them all."""
        lag = 0
        for name, number in self._places:
            low, high = self._consumer.get_watermark_offsets(TopicPartition(name, number), cached=True)
            if high < 0:
                return None
            lag += max(0, high - max(low, self._next.get(name, {}).get(number, 0), 0))
        return lag

    def save(self) -> int:
        """Store the books with the offsets; the bytes written."""
        pieces = [msgspec.msgpack.encode(_Head(self._next)), *self.ledger.pieces()]
        return self._store.save(pieces, self.ledger.books.pages())

    def close(self) -> None:
        """Let go of the broker."""
        self._consumer.close()


def _restored(stored: Stored) -> tuple[dict[str, dict[int, int]], Ledger]:
    """The offsets and the books of a state; without one that can be read, the beginning."""
    if stored.pieces:
        try:
            head = msgspec.msgpack.decode(stored.pieces[0], type=_Head)
            ledger = Ledger.of(stored.pieces[1:], stored.pages)
        except (msgspec.DecodeError, ValueError, IndexError, StopIteration) as problem:
            log.warning("the state of live quality is of another version (%s): the books are kept anew", problem)
        else:
            if ledger.books.pages_lost:
                log.warning(
                    "of %d pages, the answers are forgotten: they are gone from the topic", ledger.books.pages_lost
                )
            return head.topics, ledger
    return {}, Ledger(uuid.uuid4().bytes)
