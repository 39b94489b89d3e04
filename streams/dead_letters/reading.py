"""Reading the dead-letter topic from outside: all of it as it stands, or single letters by their position."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from typing import NamedTuple

from confluent_kafka import Consumer

from streams.errors import LetterError
from streams.kafka.clients import Consumed, legible, reader_config
from streams.kafka.reading import ends, places_of, read_once, read_to_end
from streams.kafka.topics import Topic, load_topics
from streams.settings import Settings


class Spot(NamedTuple):
    """Where a letter stands in the dead-letter topic: partition and offset."""

    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.partition}:{self.offset}"


def spot_of(message: Consumed) -> Spot:
    """Where a consumed letter stands."""
    return Spot(message.partition(), message.offset())


def dead_letter_topic(settings: Settings) -> Topic:
    """The topic that the letters are in."""
    return load_topics(settings.topic_prefix)["dead_letter"]


def letter_ends(settings: Settings) -> dict[int, int]:
    """The end of each partition as it is now. Raises TopicError or BrokerError where there is nothing to read."""
    return ends(settings, *places_of(settings, "dead_letter")["dead_letter"])


def read_letters(settings: Settings) -> Iterator[Consumed]:
    """Every letter that stands in the topic now."""
    until = letter_ends(settings)
    return below(until, read_once(settings, dead_letter_topic(settings).name, until))


def letters_at(settings: Settings, positions: Iterable[Spot]) -> list[Consumed]:
    """The letters at these positions, each once. Raises LetterError when there is none at one of them."""
    until = letter_ends(settings)
    with closing(Consumer(reader_config(settings))) as consumer:
        return [_letter_at(consumer, dead_letter_topic(settings), position, until) for position in sorted({*positions})]


def below(until: Mapping[int, int], messages: Iterable[Consumed]) -> Iterator[Consumed]:
    """The letters below the ends only: what is set aside meanwhile is for the next time."""
    return (legible(message) for message in messages if message.offset() < until[message.partition()])


def _letter_at(consumer: Consumer, topic: Topic, position: Spot, until: dict[int, int]) -> Consumed:
    partition, offset = position
    if partition not in until:
        raise LetterError(f"no dead letter {position}: {topic.name} has the partitions 0 to {len(until) - 1}")
    if offset >= until[partition]:
        raise LetterError(
            f"no dead letter {position}: partition {partition} of {topic.name} ends at {until[partition]}"
        )
    messages = read_to_end(consumer, topic.name, {partition: offset + 1}, {partition: offset})
    found = [message for message in messages if spot_of(message) == position]
    if not found:
        raise LetterError(
            f"no dead letter {position} in {topic.name}: it has expired, or a transaction's mark has that offset; "
            "`secondlook dead-letters list` shows those that are there"
        )
    return legible(found[0])
