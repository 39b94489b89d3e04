"""What the stress test sends, and what must come of it. Pure: everything follows from the seed and an index.

Request number 17 has the id `s0000017`; a stray record that belongs to it has the key `g0000017`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import orjson

from streams.pipeline.reasons import DeadLetter, Reason
from streams.pipeline.records import REQUESTS, RESPONSES, Headers

_EARLY_SHARE = 0.1
_EARLIEST, _LATEST, _COPY = 50, 300, 500
"""In places of the order: how far a response may come before and after its request, and a copy after its original."""
FURTHEST = 3 * (_EARLIEST + _LATEST + _COPY)
"""No two records of one request are further apart in the order (it has at most three records a request)."""
_ID_DIGITS = 7
_UNREADABLE = b'{"choices":"upstream timeout"}'


class Fault(IntEnum):
    """What is done to a request's records; each has one end it must come to (see `Plan.expects`)."""

    NONE = 0
    TRUNCATED_RESPONSE = 1
    UNREADABLE_ANSWER = 2
    GARBAGE_REQUEST = 3
    DUPLICATE_REQUEST = 4
    DUPLICATE_RESPONSE = 5
    UNANSWERED = 6
    LATE_RESPONSE = 7


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
    """One record to produce; `topic` is its role."""

    topic: str
    key: bytes
    value: bytes
    headers: Headers | None


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

    def send(self, kind: int, index: int) -> Sent:
        """The record of this kind; `Kind.EXTRA` is the one that a fault adds."""
        if kind == Kind.REQUEST:
            return self.request(index)
        if kind == Kind.RESPONSE:
            return Sent(RESPONSES, key(index), self._response_value(index), None)
        fault = self.faults[index]
        if fault == Fault.DUPLICATE_REQUEST:
            return self.request(index)
        if fault == Fault.DUPLICATE_RESPONSE:
            return Sent(RESPONSES, key(index), self._response_value(index), None)
        return Sent(REQUESTS, stray_key(index), b"\x00\xffno record: " + key(index), trace(index))

    def request(self, index: int) -> Sent:
        """The request as sent, its trace in a header that must travel with the decision."""
        one = self._recorded[index % len(self._recorded)]
        name = key(index)
        return Sent(REQUESTS, name, one.before_id + name + one.after_id, trace(index))

    def is_late(self, index: int) -> bool:
        """Whether this request's response is to be sent after its time."""
        return bool(self.faults[index] == Fault.LATE_RESPONSE)

    def expects(self, index: int) -> Expected:
        """What must come of this request."""
        return self._expects[index % len(self._recorded)][int(self.faults[index])]

    def dead_value(self, index: int) -> bytes:
        """The value that this request's dead letter must have, byte for byte."""
        fault = self.faults[index]
        kind = Kind.RESPONSE if fault in (Fault.TRUNCATED_RESPONSE, Fault.LATE_RESPONSE) else Kind.EXTRA
        return self.send(kind, index).value

    def _response_value(self, index: int) -> bytes:
        """Every other one in our envelope, the rest the bare provider body, as a gateway would write it."""
        body = self._recorded[index % len(self._recorded)].body
        fault = self.faults[index]
        if fault == Fault.UNREADABLE_ANSWER:
            body = _UNREADABLE
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


def trace(index: int) -> Headers:
    """A request's headers."""
    return [("traceparent", b"00-%032x-%016x-01" % (index + 1, index + 1))]


def _draw_faults(random: np.random.Generator, requests: int, shares: Shares) -> npt.NDArray[np.uint8]:
    third, half = shares.poison / 3, shares.duplicates / 2
    probabilities = [third, third, third, half, half, shares.unanswered, shares.late]
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
    copies = np.where(faults == Fault.DUPLICATE_RESPONSE, responses, requests) + _COPY * random.random(count)
    answered = np.flatnonzero((faults != Fault.UNANSWERED) & (faults != Fault.LATE_RESPONSE))
    extra = np.flatnonzero(np.isin(faults, (Fault.GARBAGE_REQUEST, Fault.DUPLICATE_REQUEST, Fault.DUPLICATE_RESPONSE)))
    places = np.concatenate([requests, responses[answered], copies[extra]])
    order = np.argsort(places, kind="stable")
    kinds = np.repeat([Kind.REQUEST, Kind.RESPONSE, Kind.EXTRA], [count, len(answered), len(extra)])
    indices = np.concatenate([np.arange(count), answered, extra])
    return kinds[order].astype(np.uint8), indices[order].astype(np.int32)


def _expectations(scored: str) -> list[Expected]:
    """By fault: what must come of a request whose whole answer is decided for the reason `scored`."""
    none = Reason.NO_RESPONSE.value
    table = {
        Fault.NONE: Expected((scored,), None),
        Fault.TRUNCATED_RESPONSE: Expected((none,), DeadLetter.NOT_A_RECORD.value),
        Fault.UNREADABLE_ANSWER: Expected((Reason.UNREADABLE_ANSWER.value,), None),
        Fault.GARBAGE_REQUEST: Expected((scored,), DeadLetter.NOT_A_RECORD.value),
        Fault.DUPLICATE_REQUEST: Expected((scored,), DeadLetter.DUPLICATE_REQUEST.value),
        Fault.DUPLICATE_RESPONSE: Expected((scored,), DeadLetter.DUPLICATE_RESPONSE.value),
        Fault.UNANSWERED: Expected((none,), None),
        # A worker that was down while both came finds an answer: then there is nothing to set aside.
        Fault.LATE_RESPONSE: Expected((none, scored), DeadLetter.LATE_RESPONSE.value),
    }
    return [table[fault] for fault in Fault]
