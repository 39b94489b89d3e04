"""What the stress test sends, and what must come of it. Pure: everything follows from the seed and an index.

Request number 17 has the id `s0000017`; a stray record that belongs to it has the key `g0000017`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import orjson

from streams.pipeline.pending import CHANGELOG
from streams.pipeline.reasons import DeadLetter, Reason
from streams.pipeline.records import REQUESTS, RESPONSES, Headers

_EARLY_SHARE = 0.1
_EARLIEST, _LATEST, _COPY = 50, 300, 500
"""In places of the order: how far a response may come before and after its request, and a copy after its original."""
FURTHEST = 3 * (_EARLIEST + _LATEST + _COPY)
"""No two records of one request are further apart in the order (it has at most three records a request)."""
_ID_DIGITS = 7
_UNREADABLE = b'{"choices":"upstream timeout"}'
_HUGE = 600_000
"""Characters of a gigantic LLM's name: near what a topic takes by default, with room for the answer itself."""
_ODD_HEADERS: Final[Headers] = [("", b""), ("größe", b"\xff"), ("empty", None)]
_MANY = 3000
_ODD_NAMES: Final = (b"size", b"gr\xf6\xdfe", b"\xff\xfe")


class Fault(IntEnum):
    """What is done to a request's records; each has one end it must come to (see `Plan.expects`).

    From `HUGE_NAME` on they are hostile.
    """

    NONE = 0
    TRUNCATED_RESPONSE = 1
    UNREADABLE_ANSWER = 2
    GARBAGE_REQUEST = 3
    DUPLICATE_REQUEST = 4
    DUPLICATE_RESPONSE = 5
    UNANSWERED = 6
    LATE_RESPONSE = 7
    HUGE_NAME = 8
    MANY_HEADERS = 9
    FOREIGN_RECORD = 10
    TOMBSTONE_REQUEST = 11
    TOMBSTONE_RESPONSE = 12
    KEYLESS_REQUEST = 13
    KEYLESS_RESPONSE = 14
    ODD_NAME_REQUEST = 15
    ODD_NAME_RESPONSE = 16


_DEAD: Final = {
    Fault.TRUNCATED_RESPONSE: DeadLetter.NOT_A_RECORD,
    Fault.GARBAGE_REQUEST: DeadLetter.NOT_A_RECORD,
    Fault.DUPLICATE_REQUEST: DeadLetter.DUPLICATE_REQUEST,
    Fault.DUPLICATE_RESPONSE: DeadLetter.DUPLICATE_RESPONSE,
    Fault.LATE_RESPONSE: DeadLetter.LATE_RESPONSE,
    Fault.TOMBSTONE_REQUEST: DeadLetter.NOT_A_RECORD,
    Fault.TOMBSTONE_RESPONSE: DeadLetter.NOT_A_RECORD,
    Fault.KEYLESS_REQUEST: DeadLetter.MISSING_KEY,
    Fault.KEYLESS_RESPONSE: DeadLetter.MISSING_KEY,
    Fault.ODD_NAME_REQUEST: DeadLetter.UNREADABLE_HEADERS,
    Fault.ODD_NAME_RESPONSE: DeadLetter.UNREADABLE_HEADERS,
}
_OF_RESPONSES: Final = (
    Fault.DUPLICATE_RESPONSE,
    Fault.TOMBSTONE_RESPONSE,
    Fault.KEYLESS_RESPONSE,
    Fault.ODD_NAME_RESPONSE,
)
"""The faults that add a record to a response."""
_EXTRA: Final = (
    *_OF_RESPONSES,
    Fault.GARBAGE_REQUEST,
    Fault.DUPLICATE_REQUEST,
    Fault.FOREIGN_RECORD,
    Fault.TOMBSTONE_REQUEST,
    Fault.KEYLESS_REQUEST,
    Fault.ODD_NAME_REQUEST,
)
_UNANSWERED: Final = (Fault.UNANSWERED, Fault.TRUNCATED_RESPONSE, Fault.LATE_RESPONSE)
_HOSTILE: Final = tuple(fault for fault in Fault if fault >= Fault.HUGE_NAME)


class Kind(IntEnum):
    """Which of an index's records is sent."""

    REQUEST = 0
    RESPONSE = 1
    EXTRA = 2


@dataclass(frozen=True, slots=True)
class Shares:
    """The share of requests (0 to 1) that each group of faults is drawn for."""

    poison: float = 0.0
    duplicates: float = 0.0
    unanswered: float = 0.0
    late: float = 0.0
    hostile: float = 0.0


@dataclass(frozen=True, slots=True)
class Recorded:
    """A recorded answer: the request's JSON before and after its id, the provider's body, and how it must be decided."""

    before_id: bytes
    after_id: bytes
    body: bytes
    reason: str

    @classmethod
    def of(cls, request: dict[str, Any], body: bytes, reason: str) -> "Recorded":
        """Take a request apart at its id."""
        before, after = orjson.dumps({**request, "request_id": "@"}).split(b'"@"', 1)
        return cls(before + b'"', b'"' + after, body, reason)


class Sent(NamedTuple):
    """One record to produce; `topic` is its role. `odd_names` are names of headers that are not UTF-8, beside no others."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Headers | None
    odd_names: tuple[bytes, ...] = ()


class Expected(NamedTuple):
    """What must come of one request: one decision for one of these reasons, and this dead letter or none."""

    reasons: tuple[str, ...]
    dead: str | None


class Plan:
    """`requests` requests, cycled from what was recorded, with faults drawn from the seed.

    `faults` is uint8 [n]. `kinds` (uint8) and `indices` (int32) are the order in which records are sent: most responses
    after their request, some before; late responses are not in it, because their time is the clock's.
    """

    def __init__(self, recorded: Sequence[Recorded], *, requests: int, shares: Shares, seed: int) -> None:
        self._recorded = recorded
        self.requests = requests
        random = np.random.default_rng(seed)
        self.faults = _draw_faults(random, requests, shares)
        self.kinds, self.indices = _draw_order(random, self.faults)
        self._expects = [_expectations(one.reason) for one in recorded]

    @property
    def answered(self) -> npt.NDArray[np.bool_]:
        """The requests that have no timeout to wait for."""
        return ~np.isin(self.faults, _UNANSWERED)

    @property
    def dead_due(self) -> npt.NDArray[np.bool_]:
        """The requests that a dead letter must come of."""
        return np.isin(self.faults, tuple(_DEAD))

    @property
    def foreign(self) -> int:
        """How many records are sent to the changelog that are not its own."""
        return int((self.faults == Fault.FOREIGN_RECORD).sum())

    def send(self, kind: int, index: int) -> Sent:
        """The record of this kind; `Kind.EXTRA` is the one that a fault adds."""
        if kind == Kind.REQUEST:
            return self.request(index)
        if kind == Kind.RESPONSE:
            return self._response(index)
        fault = self.faults[index]
        copy = self._response(index) if fault in _OF_RESPONSES else self.request(index)
        match fault:
            case Fault.TOMBSTONE_REQUEST | Fault.TOMBSTONE_RESPONSE:
                return copy._replace(value=None)
            case Fault.KEYLESS_REQUEST | Fault.KEYLESS_RESPONSE:
                return copy._replace(key=None, headers=trace(index))
            case Fault.ODD_NAME_REQUEST | Fault.ODD_NAME_RESPONSE:
                return copy._replace(headers=None, odd_names=_ODD_NAMES)
            case Fault.FOREIGN_RECORD:
                return Sent(CHANGELOG, stray_key(index), b"no delta", trace(index))
            case Fault.GARBAGE_REQUEST:
                return Sent(REQUESTS, stray_key(index), b"\x00\xffno record: " + key(index), trace(index))
            case _:
                return copy

    def request(self, index: int) -> Sent:
        """The request as sent, its trace in a header that must travel with the decision."""
        one = self._recorded[index % len(self._recorded)]
        name, headers = key(index), trace(index)
        if self.faults[index] == Fault.MANY_HEADERS:
            headers += _ODD_HEADERS + [(f"x-{number}", b"%d" % number) for number in range(_MANY)]
        return Sent(REQUESTS, name, one.before_id + name + one.after_id, headers)

    def is_late(self, index: int) -> bool:
        """Whether this request's response is to be sent after its time."""
        return bool(self.faults[index] == Fault.LATE_RESPONSE)

    def expects(self, index: int) -> Expected:
        """What must come of this request."""
        return self._expects[index % len(self._recorded)][int(self.faults[index])]

    def set_aside(self, index: int) -> Sent:
        """The record that this request's dead letter must hold, byte for byte."""
        fault = self.faults[index]
        kind = Kind.RESPONSE if fault in (Fault.TRUNCATED_RESPONSE, Fault.LATE_RESPONSE) else Kind.EXTRA
        return self.send(kind, index)

    def _response(self, index: int) -> Sent:
        return Sent(RESPONSES, key(index), self._response_value(index), None)

    def _response_value(self, index: int) -> bytes:
        """Every other one in our envelope, the rest the bare provider body, as a gateway would write it."""
        body = self._recorded[index % len(self._recorded)].body
        fault = self.faults[index]
        if fault == Fault.UNREADABLE_ANSWER:
            body = _UNREADABLE
        if fault == Fault.HUGE_NAME:
            body = orjson.dumps({**orjson.loads(body), "model": "m" * _HUGE})
        if index % 2 == 0:
            body = b'{"request_id":"%b","provider":"openai-chat","body":%b}' % (key(index), body)
        return body[: len(body) // 2] if fault == Fault.TRUNCATED_RESPONSE else body


def key(index: int) -> bytes:
    """The request id, which is the record key."""
    return b"s%0*d" % (_ID_DIGITS, index)


def stray_key(index: int) -> bytes:
    """The key of a record that is no request."""
    return b"g%0*d" % (_ID_DIGITS, index)


def index_of(name: bytes | None) -> int | None:
    """The index in a key of ours, or None."""
    if name is None or len(name) < 1 + _ID_DIGITS or name[:1] not in b"sg" or not name[1:].isdigit():
        return None
    return int(name[1:])


def index_in_trace(headers: Headers | None) -> int | None:
    """The index in a request's headers, or None: what a record without a key is known by."""
    value = next((value for name, value in headers or () if name == "traceparent"), None) or b""
    try:
        index = int(value[3:35], 16) - 1
    except ValueError:
        return None
    return index if index >= 0 and value == trace(index)[0][1] else None


def trace(index: int) -> Headers:
    """A request's headers."""
    return [("traceparent", b"00-%032x-%016x-01" % (index + 1, index + 1))]


def _draw_faults(random: np.random.Generator, requests: int, shares: Shares) -> npt.NDArray[np.uint8]:
    third, half = shares.poison / 3, shares.duplicates / 2
    probabilities = [third, third, third, half, half, shares.unanswered, shares.late]
    probabilities += [shares.hostile / len(_HOSTILE)] * len(_HOSTILE)
    bounds = np.cumsum(probabilities)
    drawn = np.searchsorted(bounds, random.random(requests), side="right") + 1
    return np.where(drawn > len(probabilities), Fault.NONE, drawn).astype(np.uint8)


def _draw_order(
    random: np.random.Generator, faults: npt.NDArray[np.uint8]
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int32]]:
    count = len(faults)
    requests = np.arange(count, dtype=np.float64)
    early = random.random(count) < _EARLY_SHARE
    gaps = np.where(early, -_EARLIEST * random.random(count), _LATEST * random.random(count))
    responses = requests + gaps
    copies = np.where(np.isin(faults, _OF_RESPONSES), responses, requests) + _COPY * random.random(count)
    answered = np.flatnonzero((faults != Fault.UNANSWERED) & (faults != Fault.LATE_RESPONSE))
    extra = np.flatnonzero(np.isin(faults, _EXTRA))
    places = np.concatenate([requests, responses[answered], copies[extra]])
    order = np.argsort(places, kind="stable")
    kinds = np.repeat([Kind.REQUEST, Kind.RESPONSE, Kind.EXTRA], [count, len(answered), len(extra)])
    indices = np.concatenate([np.arange(count), answered, extra])
    return kinds[order].astype(np.uint8), indices[order].astype(np.int32)


def _expectations(scored: str) -> list[Expected]:
    """By fault: what must come of a request whose whole answer is decided for the reason `scored`."""
    none = Reason.NO_RESPONSE.value
    reasons: dict[Fault, tuple[str, ...]] = {
        Fault.TRUNCATED_RESPONSE: (none,),
        Fault.UNREADABLE_ANSWER: (Reason.UNREADABLE_ANSWER.value,),
        Fault.UNANSWERED: (none,),
        # A worker that was down while both came finds an answer: then there is nothing to set aside.
        Fault.LATE_RESPONSE: (none, scored),
    }
    return [Expected(reasons.get(fault, (scored,)), _DEAD.get(fault)) for fault in Fault]
