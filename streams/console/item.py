"""All that the topics hold of one item: looked for by its id, and told in the order of time. What was moderated is told only when asked for."""

import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from typing import Any, Final, NamedTuple

import msgspec
from confluent_kafka import Consumer

from featurizers import SCHEMA, ResponseError, decode
from scoring.human import HumanDecision
from streams.console.decisions import read_decision, without_request
from streams.console.feed import letter_of, place_of
from streams.console.read_model import moment
from streams.kafka.clients import Consumed, legible, reader_config
from streams.kafka.partitioner import home
from streams.kafka.reading import broker_stamp, ends, places_of, read_to_end
from streams.pipeline.reasons import DEAD_LETTERS
from streams.pipeline.records import REQUESTS, RESPONSES
from streams.printable import printable
from streams.settings import Settings

HISTORY: Final = (
    REQUESTS, RESPONSES, "vectors", "auto_action", "human_review", "dead_letter", "human_decisions",
)  # fmt: skip
"""Topics that may hold something of an item, in the order in which it comes about."""
_MOST: Final = 100
_MOST_BYTES: Final = 2**24
"""Records of one item that are told of a topic, and their bytes: an id may be used again and again."""
_MEANINGS: Final[Mapping[str, str]] = {code.value: text for code, text in DEAD_LETTERS.items()}


class Record(NamedTuple):
    """A record of the item, with the role of its topic."""

    role: str
    message: Consumed

    @property
    def at(self) -> int | None:
        """Its time (ms)."""
        return broker_stamp(self.message)

    @property
    def value(self) -> bytes:
        """Its value; empty where it has none."""
        return self.message.value() or b""


class Event(msgspec.Struct, frozen=True):
    """A record in words. `said` is what is to be shown of it, in its order; `content` what was moderated or answered, if that was asked for."""

    role: str
    place: str
    at: str
    what: str
    said: dict[str, Any]
    content: str | None = None


class Item(msgspec.Struct, frozen=True):
    """What was found. `unread` are topics that were not read to their ends: what is not here may stand there."""

    request_id: str
    events: list[Event]
    unread: list[str]


def find_records(
    settings: Settings, request_id: str, roles: Iterable[str] = HISTORY, within: float | None = None
) -> tuple[list[Record], list[str]]:
    """The records of an id, and the topics that were not read to their ends within so many seconds. Raises TopicError, BrokerError.

    Of more records than `_MOST`, or `_MOST_BYTES`, in a partition only the first are read. A partition is read from its beginning: first the one in which the key belongs, the others only where that holds nothing.
    """
    deadline = None if within is None else time.monotonic() + within

    def late() -> bool:
        return deadline is not None and time.monotonic() > deadline

    found: list[Record] = []
    unread: list[str] = []
    key = request_id.encode(errors="surrogateescape")
    for role, (topic, partitions) in places_of(settings, *roles).items():
        first = home(key, len(partitions))
        for numbers in ([first], [one for one in partitions if one != first]):
            here, whole = _read(settings, topic, numbers, _wanted(role, key, request_id), late)
            found += [Record(role, one) for one in here]
            if not whole and topic not in unread:
                unread.append(topic)
            if here or not whole:
                break
    return found, unread


def tell(request_id: str, records: Iterable[Record], unread: list[str], *, content: bool) -> Item:
    """The records in words, in the order of their times; of one time as they come about."""
    order = {role: number for number, role in enumerate(HISTORY)}
    ordered = sorted(records, key=lambda one: (one.at or 0, order[one.role]))
    return Item(request_id, [_event(one, content=content) for one in ordered], unread)


def find_item(settings: Settings, request_id: str, *, content: bool, within: float | None = None) -> Item:
    """All that the topics hold of an id. Raises TopicError, BrokerError."""
    return tell(request_id, *find_records(settings, request_id, within=within), content=content)


def _read(
    settings: Settings, topic: str, numbers: list[int], wanted: Callable[[Consumed], bool], late: Callable[[], bool]
) -> tuple[list[Consumed], bool]:
    if not numbers:
        return [], True
    if late():
        return [], False
    until = ends(settings, topic, numbers)
    found: list[Consumed] = []
    size = 0

    def enough() -> bool:
        return late() or len(found) >= _MOST or size >= _MOST_BYTES

    with closing(Consumer(reader_config(settings))) as consumer:
        for one in read_to_end(consumer, topic, until, stopping=enough):
            if wanted(one) and not enough():
                found.append(legible(one))
                size += len(one.value() or b"")
    return found, not enough()


def _wanted(role: str, key: bytes, request_id: str) -> Callable[[Consumed], bool]:
    """Whether a record is the item's: by its key; a human decision, which a tool may key as it likes, by what it says."""
    if role != "human_decisions":
        return lambda message: message.key() == key
    return lambda message: (one := _human(message.value())) is not None and one.request_id == request_id


def _event(one: Record, *, content: bool) -> Event:
    what, said, shown = _TOLD[one.role](one)
    at = "(no time)" if one.at is None else moment(one.at)
    return Event(one.role, place_of(one.message), at, what, said, shown if content else None)


_Told = tuple[str, dict[str, Any], str | None]


def _request(one: Record) -> _Told:
    document = _document(one.value)
    names = ("policy", "tenant", "language", "created_at")
    said = {name: _brief(document[name]) for name in names if document.get(name) is not None}
    return "the request came", {**said, "bytes": len(one.value)}, _text(one.value)


def _response(one: Record) -> _Told:
    said: dict[str, Any] = {"bytes": len(one.value)}
    try:
        answer = decode(one.value)
        said = {"provider": answer.provider, "llm": answer.llm, **said}
    except ResponseError as problem:
        said["unreadable"] = str(problem)
    return "the LLM's answer came", said, _text(one.value)


def _vector(one: Record) -> _Told:
    document = _document(one.value)
    values, schema = document.get("values"), document.get("schema")
    said: dict[str, Any] = {name: document.get(name) for name in ("schema", "spec", "llm", "stratum")}
    if schema == SCHEMA.id and isinstance(values, list) and len(values) == len(SCHEMA.names):
        said["predictors"] = dict(zip(SCHEMA.names, values, strict=True))
    else:
        said["predictors"] = f"of the feature list {_brief(schema)}, not this version's {SCHEMA.id}"
    return "its predictors were written", said, None


def _decision(one: Record) -> _Told:
    decision = read_decision(one.value)
    if decision is None:
        return "a record that is no decision", {"bytes": len(one.value)}, _text(one.value)
    said = without_request(one.value)
    for name in ("request_id", "route", "action"):
        said.pop(name, None)
    said["meaning"] = decision.meaning
    return f"decided: {decision.route}, {decision.action}, as {decision.reason}", said, None


def _dead_letter(one: Record) -> _Told:
    letter = letter_of(one.message)
    said = {
        "code": letter.code,
        "meaning": _MEANINGS.get(letter.code, ""),
        "message": letter.message,
        "source": letter.source,
        "cycles": letter.cycles,
        "put it back": f"secondlook dead-letters redrive {letter.spot}",
    }
    return "a record of it was set aside", said, _text(one.value)


def _human_decision(one: Record) -> _Told:
    decision = _human(one.value)
    if decision is None:  # it was one a moment ago
        return "a human decision", {}, None
    said = {
        "policy": decision.policy,
        "outcome": decision.outcome,
        "channel": decision.channel,
        "reviewer": decision.reviewer,
        "corrects": decision.corrects,
        "agrees": _agrees(decision),
    }
    return "a human decided", {name: value for name, value in said.items() if value is not None}, decision.reason


_TOLD: Final[Mapping[str, Callable[[Record], _Told]]] = {
    REQUESTS: _request,
    RESPONSES: _response,
    "vectors": _vector,
    "auto_action": _decision,
    "human_review": _decision,
    "dead_letter": _dead_letter,
    "human_decisions": _human_decision,
}

_read_human = msgspec.json.Decoder(HumanDecision).decode


def _human(value: bytes | None) -> HumanDecision | None:
    try:
        return _read_human(value or b"")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _agrees(decision: HumanDecision) -> str | None:
    said = None if decision.llm is None else decision.llm.outcome
    if decision.label is None or said not in (0, 1):
        return None
    return "with the LLM" if decision.label == said else "not with the LLM"


def _document(value: bytes) -> dict[str, Any]:
    try:
        found = msgspec.json.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _text(value: bytes) -> str:
    return value.decode(errors="backslashreplace")


def _brief(value: object) -> str:
    return printable(str(value), 255)
