"""Dead letters: the record as it came, its reason in headers under the names that Kafka Connect's tools know.

`dead_letter` sets a record aside, `put_back` undoes it: the record as it came, and one header that counts how often.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, TypeAlias

import msgspec

from streams.contracts.headers import (
    CONNECT,
    CYCLES,
    ERROR_CODE,
    EXCEPTION_CLASS,
    EXCEPTION_MESSAGE,
    SOURCE_OFFSET,
    SOURCE_PARTITION,
    SOURCE_TOPIC,
    STAGE,
)
from streams.pipeline.matching import Dead
from streams.pipeline.reasons import DeadLetter
from streams.pipeline.records import Headers, Output

_MOST_DIGITS: Final = 9
_MOST_MESSAGE: Final = 1024


class Refusal(StrEnum):
    """Why a dead letter is not put back."""

    MALFORMED = "malformed"
    FOREIGN = "foreign"
    TOO_LARGE = "too_large"
    MAX_CYCLES = "max_cycles"


REFUSALS: Final[dict[Refusal, str]] = {
    Refusal.MALFORMED: "no secondlook worker of this version wrote it: it lacks the headers that say where it came from, or its code is unknown",
    Refusal.FOREIGN: "it came from a topic that is not this pipeline's requests or responses; is --topic-prefix right?",
    Refusal.TOO_LARGE: "it would be too large again: it stands in its own topic, at the partition and offset in the headers",
    Refusal.MAX_CYCLES: "it has been put back as often as --max-cycles allows, and came here again",
}


@dataclass(frozen=True, slots=True)
class Letter:
    """What a dead letter's headers say; None where they say nothing, because anybody may write to the topic."""

    code: str | None
    topic: str | None
    partition: str | None
    offset: str | None
    message: str | None
    cycles: int


def dead_letter(dead: Dead, topic_names: Mapping[str, str]) -> Output:
    """Key, value and headers unchanged, the reason in additional headers; of a record too large only the reason."""
    record = dead.record
    reasons: Headers = [
        (SOURCE_TOPIC, topic_names[record.source].encode()),
        (SOURCE_PARTITION, str(record.partition).encode()),
        (SOURCE_OFFSET, str(record.offset).encode()),
        (STAGE, b"intake"),
        (EXCEPTION_CLASS, type(dead.code).__name__.encode()),
        (EXCEPTION_MESSAGE, dead.message.encode(errors="replace")[:_MOST_MESSAGE]),
        (ERROR_CODE, dead.code.encode()),
    ]
    if not dead.carried:
        return Output("dead_letter", None, None, reasons)
    return Output("dead_letter", record.key, record.value, [*(record.headers or []), *reasons])


def read_letter(headers: Headers | None) -> Letter:
    """The reason in a dead letter's headers. Of several headers of one name the last is ours: the record's own stand before."""
    said = {
        name: None if value is None else value.decode(errors="backslashreplace")
        for name, value in headers or ()
        if _is_ours(name)
    }
    return Letter(
        code=said.get(ERROR_CODE),
        topic=said.get(SOURCE_TOPIC),
        partition=said.get(SOURCE_PARTITION),
        offset=said.get(SOURCE_OFFSET),
        message=said.get(EXCEPTION_MESSAGE),
        cycles=_count(said.get(CYCLES)),
    )


def refusal(letter: Letter, topics: Collection[str], max_cycles: int) -> Refusal | None:
    """Why a letter is not put back into one of the `topics`; None when it is."""
    if letter.topic is None or letter.code not in set(DeadLetter):
        return Refusal.MALFORMED
    if letter.topic not in topics:
        return Refusal.FOREIGN
    if letter.code == DeadLetter.TOO_LARGE:
        return Refusal.TOO_LARGE
    return Refusal.MAX_CYCLES if letter.cycles >= max_cycles else None


def put_back(source: str, key: bytes | None, value: bytes | None, headers: Headers | None) -> Output:
    """The record as it was before it became a dead letter, for the topic of this role; its cycles counted one up."""
    own = [(name, header) for name, header in headers or () if not _is_ours(name)]
    return Output(source, key, value, [*own, (CYCLES, b"%d" % (read_letter(headers).cycles + 1))])


def _is_ours(name: str) -> bool:
    return name in (ERROR_CODE, CYCLES) or name.startswith(CONNECT)


def _count(text: str | None) -> int:
    """The cycles in a header; one that no redrive wrote counts for nothing, and is right after the next redrive."""
    return int(text) if text and text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS else 0


Progress: TypeAlias = dict[str, int]
"""How far a partition of the dead-letter topic has been redriven: for each code the next offset to look at."""


def read_progress(offset: int, note: str | None) -> Progress:
    """Progress from a committed offset and its note, which names the codes that are further; one unreadable is ignored."""
    try:
        further = msgspec.json.decode(note or "{}", type=dict[str, int])
    except msgspec.DecodeError:
        further = {}
    return {code.value: max(offset, further.get(code.value, offset)) for code in DeadLetter}


def write_progress(progress: Progress) -> tuple[int, str]:
    """The offset that every code has reached, and the note of those that are further."""
    offset = min(progress.values())
    further = {code: reached for code, reached in sorted(progress.items()) if reached > offset}
    return offset, msgspec.json.encode(further).decode() if further else ""
