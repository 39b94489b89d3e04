"""Matching requests with responses: either may come first; each request ends in exactly one case.

Pure: records in, cases and dead letters and changelog records out. A request times out only once every answer that was
in Kafka at its deadline has been read (its partition's *frontier*), so a worker that catches up after an outage finds
the answers that are already there instead of timing their requests out.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Annotated

import msgspec

from featurizers import Response, ResponseError, decode
from streams.pipeline.pending import Decided, PartitionStore, Waiting
from streams.pipeline.reasons import DeadLetter, Reason
from streams.pipeline.records import REQUESTS, RESPONSES, Output, Record, size

MAX_ID_LENGTH = 255
ENVELOPE_BYTES = 16 * 1024
"""Room for what we wrap around a record: a decision's own fields, a dead letter's headers, the changelog's framing."""

_SHOWN = 60

_Name = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_ID_LENGTH)]


class Request(msgspec.Struct, gc=False):
    """What the pipeline itself reads of a request; every other field passes through in the verbatim bytes."""

    request_id: _Name
    policy: _Name


class Case(msgspec.Struct, gc=False):
    """One request to decide: with its response, or with the reason why there is nothing to score."""

    request_id: str
    policy: str
    request: Record
    response: Response | None
    reason: Reason | None


class Dead(msgspec.Struct, gc=False):
    """One record to set aside, byte-identical, with its reason."""

    record: Record
    code: DeadLetter
    message: str


class _Unusable(Exception):  # noqa: N818 - a signal inside this module, never seen outside
    def __init__(self, code: DeadLetter, message: str) -> None:
        self.code, self.message = code, message
        super().__init__(message)


@dataclass(slots=True)
class Matched:
    """What one batch of records came to."""

    cases: list[Case] = field(default_factory=list)
    dead: list[Dead] = field(default_factory=list)
    changes: list[Output] = field(default_factory=list)


_decode_request = msgspec.json.Decoder(Request).decode


class Matcher:
    """Matches within a partition; holds the stores of the partitions this worker owns.

    `response_timeout` and `dedup_window` are in ms; `max_bytes` is the largest record that may be written; `max_expired` bounds how many waiting records one batch may time
    out, so that a mass timeout cannot make a batch of unbounded size.
    """

    def __init__(
        self, *, response_timeout: int, dedup_window: int, max_expired: int = 1000, max_bytes: int = 2**20
    ) -> None:
        self._timeout = response_timeout
        self._dedup_window = dedup_window
        self._max_expired = max_expired
        self._max_bytes = max_bytes - ENVELOPE_BYTES
        self.stores: dict[int, PartitionStore] = {}

    def restore(self, partition: int, changelog: dict[bytes, bytes]) -> PartitionStore:
        """Rebuild a partition's store from its changelog; it takes part once it stands in `stores`."""
        return PartitionStore.restore(partition, changelog, dedup_window=self._dedup_window)

    @property
    def waiting_requests(self) -> int:
        """How many requests wait for their response."""
        return sum(len(store.requests) for store in self.stores.values())

    @property
    def waiting_responses(self) -> int:
        """How many responses wait for their request."""
        return sum(len(store.responses) for store in self.stores.values())

    @property
    def waiting_bytes(self) -> int:
        """The values of all waiting records, in bytes."""
        return sum(store.requests.bytes + store.responses.bytes for store in self.stores.values())

    def match(
        self, records: Iterable[Record], frontiers: Mapping[tuple[str, int], int], *, now: int, unique: str
    ) -> Matched:
        """Match one batch. `now` is in ms; `unique` names this batch in the changelog, unlike any other that is still remembered.

        `frontiers` maps (source, partition) to the time (ms) up to which everything in that partition has been read.
        """
        matched = Matched()
        for record in records:
            store = self.stores[record.partition]
            try:
                self._check_size(record)
                if record.source == REQUESTS:
                    self._take_request(store, record, matched, now)
                else:
                    self._take_response(store, record, matched, now)
            except _Unusable as problem:
                matched.dead.append(Dead(record, problem.code, problem.message))
        self._expire(frontiers, now, matched)
        for store in self.stores.values():
            matched.changes.extend(store.changes(now, unique))
        return matched

    def _check_size(self, record: Record) -> None:
        """A record that could be written nowhere would stop its partition for good if it were let in."""
        if size(record) > self._max_bytes:
            message = f"{size(record)} bytes, of which max_record_bytes leaves room for {self._max_bytes}"
            raise _Unusable(DeadLetter.TOO_LARGE, message)

    def _take_request(self, store: PartitionStore, record: Record, matched: Matched, now: int) -> None:
        request = read_request(record)
        request_id = request.request_id
        if store.decided.get(request_id) is not None:
            raise _Unusable(DeadLetter.DUPLICATE_REQUEST, f"request {request_id!r} is already decided")
        if store.requests.holds(request_id, record.offset):
            return
        if request_id in store.requests:
            raise _Unusable(DeadLetter.DUPLICATE_REQUEST, f"request {request_id!r} is already waiting")
        answer = store.responses.pop(request_id)
        if answer is None:
            store.requests.add(request_id, Waiting(self._deadline(record, now), record))
            return
        response, reason = _read_waiting_response(answer.record)
        store.decided.add(request_id, Decided.ANSWERED)
        matched.cases.append(Case(request_id, request.policy, record, response, reason))

    def _take_response(self, store: PartitionStore, record: Record, matched: Matched, now: int) -> None:
        request_id, response, reason = read_response(record)
        decided = store.decided.get(request_id)
        if decided is Decided.TIMED_OUT:
            raise _Unusable(DeadLetter.LATE_RESPONSE, f"request {request_id!r} was escalated before this response came")
        if decided is Decided.ANSWERED:
            raise _Unusable(DeadLetter.DUPLICATE_RESPONSE, f"request {request_id!r} is already decided")
        if store.responses.holds(request_id, record.offset):
            return
        if request_id in store.responses:
            raise _Unusable(DeadLetter.DUPLICATE_RESPONSE, f"a response to {request_id!r} is already waiting")
        waiting = store.requests.pop(request_id)
        if waiting is None:
            store.responses.add(request_id, Waiting(self._deadline(record, now), record))
            return
        store.decided.add(request_id, Decided.ANSWERED)
        policy = read_request(waiting.record).policy
        matched.cases.append(Case(request_id, policy, waiting.record, response, reason))

    def _deadline(self, record: Record, now: int) -> int:
        """Record time, so that timeouts survive restarts; a time that is missing or ahead of ours counts as now."""
        known = record.timestamp if record.timestamp > 0 else now
        return min(known, now) + self._timeout

    def _expire(self, frontiers: Mapping[tuple[str, int], int], now: int, matched: Matched) -> None:
        room = self._max_expired
        for partition, store in self.stores.items():
            until = min(now, frontiers.get((RESPONSES, partition), 0))
            for request_id, waiting in store.requests.take_due(until, room):
                room -= 1
                store.decided.add(request_id, Decided.TIMED_OUT)
                policy = read_request(waiting.record).policy
                matched.cases.append(Case(request_id, policy, waiting.record, None, Reason.NO_RESPONSE))
            until = min(now, frontiers.get((REQUESTS, partition), 0))
            for request_id, waiting in store.responses.take_due(until, room):
                room -= 1
                message = f"no request {request_id!r} arrived within {self._timeout / 1000:g} s of this response"
                matched.dead.append(Dead(waiting.record, DeadLetter.ORPHAN_RESPONSE, message))


def read_request(record: Record) -> Request:
    """The request in a record; raises the module's own signal with a dead-letter code when it breaks the contract."""
    value = record.value or b""
    try:
        value.decode()  # msgspec does not look into strings that no field declares, and they travel on verbatim
        request = _decode_request(value)
    except msgspec.ValidationError as problem:
        code = DeadLetter.INVALID_REQUEST if value.lstrip()[:1] == b"{" else DeadLetter.NOT_A_RECORD
        raise _Unusable(code, f"{problem}: a request needs request_id and policy, non-empty strings") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as problem:
        raise _Unusable(DeadLetter.NOT_A_RECORD, f"not a JSON object in UTF-8: {problem}") from None
    _check_key(record, request.request_id)
    return request


def read_response(record: Record) -> tuple[str, Response | None, Reason | None]:
    """A response record's request id, and its answer or the reason why there is none to score."""
    response, reason = None, None
    try:
        response = decode(record.value or b"")
        request_id = response.request_id
    except ResponseError as problem:
        if problem.code == "not_a_record":
            raise _Unusable(DeadLetter.NOT_A_RECORD, str(problem)) from None
        request_id, reason = problem.request_id, Reason.UNREADABLE_ANSWER
    return _check_key(record, request_id), response, reason


def _read_waiting_response(record: Record) -> tuple[Response | None, Reason | None]:
    _, response, reason = read_response(record)
    return response, reason


def _check_key(record: Record, request_id: str | None) -> str:
    """The record's id: its key, which a `request_id` in the value must repeat."""
    if not record.key:
        raise _Unusable(DeadLetter.MISSING_KEY, "the record has no key: produce it with its request_id as the key")
    try:
        key = record.key.decode()
    except UnicodeDecodeError:
        raise _Unusable(DeadLetter.KEY_MISMATCH, "the record's key is not UTF-8: it must be the request_id") from None
    if request_id is not None and request_id != key:
        message = f"the record's key {_short(key)} is not its request_id {_short(request_id)}"
        raise _Unusable(DeadLetter.KEY_MISMATCH, message)
    if len(key) > MAX_ID_LENGTH:
        raise _Unusable(DeadLetter.KEY_MISMATCH, f"the record's key is longer than {MAX_ID_LENGTH} characters")
    return key


def _short(text: str) -> str:
    return repr(text if len(text) <= _SHOWN else text[:_SHOWN] + "...")
