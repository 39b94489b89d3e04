"""Matching requests with responses: either may come first; each request ends in exactly one case.

Records in; cases, dead letters and changelog records out. A request times out only once every answer that was in Kafka at
its deadline has been read (its partition's *frontier*), so a worker that catches up after an outage finds the answers that
are already there instead of timing their requests out.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import repeat
from typing import Final

import msgspec

from featurizers import Response, ResponseError, decode, decode_ahead
from streams.pipeline.assignment import Place
from streams.pipeline.decided import Decided
from streams.pipeline.gate import Gate, Refused
from streams.pipeline.incidents import Incident, incident
from streams.pipeline.ledger import Limits, Stores, forget_surplus, overfull
from streams.pipeline.pending import PartitionStore
from streams.pipeline.portable import made_portable
from streams.pipeline.reasons import DeadLetter, Reason
from streams.pipeline.records import REQUESTS, RESPONSES, Output, Record
from streams.pipeline.requests import Kind, check_key, read_request, short
from streams.pipeline.scope import EVERY
from streams.pipeline.waiting import Waiting, WaitingRoom


class Case(msgspec.Struct, gc=False):
    """One request to decide: with its response, or with the reason why there is nothing to score.

    `response` is decoded; `answer` is the record that it came in: for its headers, and for the log if a stage fails on it.
    `tenant` and `language` are as in `Request`. `portable` is the request as humans are given it, where not every consumer could
    read it as it came.
    """

    request_id: str
    policy: str
    request: Record
    response: Response | None
    reason: Reason | None
    answer: Record | None = None
    tenant: str = EVERY
    language: str | None = None
    portable: bytes | None = None


class Dead(msgspec.Struct, gc=False):
    """One record to set aside, byte-identical, with its reason; only the reason when it cannot be `carried`."""

    record: Record
    code: DeadLetter
    message: str
    carried: bool = True


@dataclass(frozen=True, slots=True)
class Arrivals:
    """One batch of records, and what is known of their partitions.

    `offsets` are the next offsets of the partitions that reading went on in; `frontiers` the times (ms) up to which
    everything in a partition has been read; `caught_up` the partitions that had been read to their end before these came.
    `answers` are what was read of each record's answer on the way here, if anything.
    """

    records: list[Record]
    offsets: Mapping[Place, int]
    frontiers: Mapping[Place, int]
    caught_up: Collection[Place] = frozenset()
    answers: Sequence[Response | None] | None = None


@dataclass(slots=True)
class Matched:
    """What one batch of records came to. `deletable`: the changelog's records before these offsets, once it is committed.

    `old` counts, by source, the records that were older than the response timeout as they came.
    """

    cases: list[Case] = field(default_factory=list)
    dead: list[Dead] = field(default_factory=list)
    changes: list[Output] = field(default_factory=list)
    deletable: dict[int, int] = field(default_factory=dict)
    touched: frozenset[int] = frozenset()
    incidents: list[Incident] = field(default_factory=list)
    old: Counter[str] = field(default_factory=Counter)


_KINDS: Final = 1000
"""Different kinds of requests that are kept within a response timeout: a bound, for names come from outside."""


class Matcher:
    """Matches within a partition. `response_timeout` is in ms, `max_bytes` the largest record that may be written.

    `max_expired` bounds how many waiting records one batch may time out, so that a mass timeout cannot make a batch of
    unbounded size; but it may always time out as many as came in it, so that what waits does not grow while nothing is answered.
    """

    def __init__(
        self, *, response_timeout: int, limits: Limits, max_expired: int = 1000, max_bytes: int = 2**21
    ) -> None:
        self._timeout = response_timeout
        self.limits = limits
        self._max_expired = max_expired
        self._gate = Gate(max_bytes)
        self._kinds: dict[Kind, Kind] = {}
        self._kinds_until = 0
        self._latest_deadline = 0

    def match(self, stores: Stores, arrivals: Arrivals, *, now: int) -> Matched:
        """Match one batch against the stores of its assignment, and change them. `now` is in ms of the broker's clock."""
        matched = Matched()
        for record, answer in zip(arrivals.records, arrivals.answers or repeat(None), strict=False):
            try:
                self._take(stores[record.partition], record, answer, arrivals, matched, now)
            except Refused as problem:
                matched.dead.append(Dead(record, problem.code, problem.message, problem.carried))
            except Exception as problem:  # noqa: BLE001 - whatever it is, it concerns this record: the others go on
                matched.incidents.append(incident(record, "intake", problem))
                matched.dead.append(Dead(record, DeadLetter.INTERNAL_ERROR, "secondlook failed on this record"))
        self._expire(stores, arrivals, now, matched)
        self._make_room(stores, matched)
        forget_surplus(stores, self.limits)
        self._write(stores, arrivals.offsets, now, matched)
        return matched

    def _write(self, stores: Stores, offsets: Mapping[Place, int], now: int, matched: Matched) -> None:
        """The changelog records of the batch, and which partitions it touched."""
        touched = {partition for _, partition in offsets}
        for partition, store in stores.items():
            changes = store.changes(now, offsets.get((REQUESTS, partition)), offsets.get((RESPONSES, partition)))
            if changes:
                touched.add(partition)
                matched.changes += changes
            if store.deletable is not None:
                matched.deletable[partition] = store.deletable
        matched.touched = frozenset(touched)

    def _take(
        self,
        store: PartitionStore,
        record: Record,
        answer: Response | None,
        arrivals: Arrivals,
        matched: Matched,
        now: int,
    ) -> None:
        """Match one record. Stores are changed last, after everything that a record can make fail."""
        self._gate.admit(record)
        if 0 < record.timestamp < now - self._timeout:
            matched.old[record.source] += 1
        if record.source == REQUESTS:
            self._take_request(store, record, arrivals, matched, now)
        else:
            self._take_response(store, record, answer, arrivals, matched, now)

    def _take_request(
        self, store: PartitionStore, record: Record, arrivals: Arrivals, matched: Matched, now: int
    ) -> None:
        request = read_request(record)
        request_id = request.request_id
        if store.decided.get(request_id) is not None:
            raise Refused(DeadLetter.DUPLICATE_REQUEST, f"request {short(request_id)} is already decided")
        if (waiting := store.requests.get(request_id)) is not None:
            if waiting.record.offset == record.offset:
                return  # at least once, a restart may read it again
            raise Refused(DeadLetter.DUPLICATE_REQUEST, f"request {short(request_id)} is already waiting")
        if (portable := made_portable(record.value or b"")) is not None:
            self._gate.admit(record, len(portable) - len(record.value or b""))
        answer = store.responses.get(request_id)
        if answer is None:
            kind = None if portable is not None else self._shared(request.kind, now)
            store.requests.add(request_id, Waiting(self._deadline(record, arrivals, now), record, kind))
            return
        _, response, reason = _read_answer(answer.record, matched)
        store.responses.pop(request_id)
        store.decided.add(request_id, Decided.ANSWERED)
        matched.cases.append(_case(request_id, record, (request.kind, portable), response, reason, answer.record))

    def _take_response(
        self,
        store: PartitionStore,
        record: Record,
        answer: Response | None,
        arrivals: Arrivals,
        matched: Matched,
        now: int,
    ) -> None:
        request_id, response, reason = _read_answer(record, matched, answer)
        waiting = store.requests.get(request_id)
        if waiting is None:
            self._let_wait(store, request_id, record, arrivals, now)
            return
        known = _known(waiting)
        store.requests.pop(request_id)
        store.decided.add(request_id, Decided.ANSWERED)
        matched.cases.append(_case(request_id, waiting.record, known, response, reason, record))

    def _let_wait(self, store: PartitionStore, request_id: str, record: Record, arrivals: Arrivals, now: int) -> None:
        """A response whose request does not wait waits for it, unless it comes too late or twice."""
        decided = store.decided.get(request_id)
        if decided is Decided.TIMED_OUT:
            raise Refused(
                DeadLetter.LATE_RESPONSE, f"request {short(request_id)} was escalated before this response came"
            )
        if decided is Decided.ANSWERED:
            raise Refused(DeadLetter.DUPLICATE_RESPONSE, f"request {short(request_id)} is already decided")
        if (earlier := store.responses.get(request_id)) is not None:
            if earlier.record.offset == record.offset:
                return  # as with requests
            raise Refused(DeadLetter.DUPLICATE_RESPONSE, f"a response to {short(request_id)} is already waiting")
        store.responses.add(request_id, Waiting(self._deadline(record, arrivals, now), record))

    def _shared(self, kind: Kind, now: int) -> Kind | None:
        """One object for all requests of a kind, so that those that wait take no more memory for it; None of one too many.

        Those kept are not given up before most of the requests that share them are gone: what waits for them is in no ledger.
        """
        if (known := self._kinds.get(kind)) is not None:
            return known
        if len(self._kinds) >= _KINDS and now >= self._kinds_until:
            self._kinds.clear()
        if len(self._kinds) >= _KINDS:
            return None
        if not self._kinds:
            self._kinds_until = now + self._timeout
        self._kinds[kind] = kind
        return kind

    def _deadline(self, record: Record, arrivals: Arrivals, now: int) -> int:
        """When a record that waits from now on times out.

        The broker's own stamp holds, so that timeouts survive restarts. A producer's may be wrong, or an event's time, or a
        mirrored topic's: where everything before the record had been read, it came just now, whatever its stamp says.
        """
        known = record.timestamp
        if not record.appended and (record.source, record.partition) in arrivals.caught_up:
            known = now
        deadline = (min(known, now) if known > 0 else now) + self._timeout
        if deadline != self._latest_deadline:
            self._latest_deadline = deadline
        return self._latest_deadline  # one object for all that came in the same millisecond, as many do

    def _expire(self, stores: Stores, arrivals: Arrivals, now: int, matched: Matched) -> None:
        room, frontiers = max(self._max_expired, len(arrivals.records)), arrivals.frontiers
        for partition, store in stores.items():
            until = min(now, frontiers.get((RESPONSES, partition), 0))
            for request_id, waiting in store.requests.take_due(until, room):
                room -= 1
                self._decide_unanswered(store, request_id, waiting, Reason.NO_RESPONSE, matched)
            until = min(now, frontiers.get((REQUESTS, partition), 0))
            for request_id, waiting in store.responses.take_due(until, room):
                room -= 1
                message = f"no request {short(request_id)} arrived within {self._timeout / 1000:g} s of this response"
                matched.dead.append(Dead(waiting.record, DeadLetter.ORPHAN_RESPONSE, message))

    def _make_room(self, stores: Stores, matched: Matched) -> None:
        """Decide the oldest waiting records without their other half while memory is above its hard limit."""
        while (room := overfull(stores, self.limits)) is not None:
            request_id, waiting = _take_oldest(room)
            record = waiting.record
            if record.source == REQUESTS:
                self._decide_unanswered(stores[record.partition], request_id, waiting, Reason.STORE_FULL, matched)
            else:
                message = "the pending store is full (max_pending_bytes), and its request has not come"
                matched.dead.append(Dead(record, DeadLetter.STORE_FULL, message))

    @staticmethod
    def _decide_unanswered(
        store: PartitionStore, request_id: str, waiting: Waiting, reason: Reason, matched: Matched
    ) -> None:
        store.decided.add(request_id, Decided.TIMED_OUT)
        matched.cases.append(_case(request_id, waiting.record, _known(waiting), None, reason))


def _known(waiting: Waiting) -> tuple[Kind, bytes | None]:
    """The kind of a waiting request, and its portable form where it is not portable as it is."""
    if waiting.kind is not None:
        return waiting.kind, None
    return read_request(waiting.record).kind, made_portable(waiting.record.value or b"")


def _case(
    request_id: str,
    record: Record,
    known: tuple[Kind, bytes | None],
    response: Response | None,
    reason: Reason | None,
    answer: Record | None = None,
) -> Case:
    (policy, tenant, language), portable = known
    return Case(request_id, policy, record, response, reason, answer, tenant, language, portable)


def _read_answer(
    record: Record, matched: Matched, answer: Response | None = None
) -> tuple[str, Response | None, Reason | None]:
    """A response record's request id, and its answer (read here, unless it is given) or the reason why there is none to score.

    An answer that secondlook itself fails on is one that can't be scored: its request goes to a human, and the others go on.
    """
    response, request_id, reason = answer, None, None
    try:
        if response is None:
            response = decode(record.value or b"")
        request_id = response.request_id
    except ResponseError as problem:
        if problem.code == "not_a_record":
            raise Refused(DeadLetter.NOT_A_RECORD, str(problem)) from None
        request_id, reason = problem.request_id, Reason.UNREADABLE_ANSWER
    except Exception as problem:  # noqa: BLE001 - whatever it is, it concerns this record
        matched.incidents.append(incident(record, "intake", problem))
        reason = Reason.INTERNAL_ERROR
    return check_key(record, request_id), response, reason


def _take_oldest(room: WaitingRoom) -> tuple[str, Waiting]:
    request_id = room.oldest
    waiting = None if request_id is None else room.pop(request_id)
    if request_id is None or waiting is None:
        raise RuntimeError("a waiting room holds bytes and no record")
    return request_id, waiting


def read_ahead(records: Sequence[Record]) -> list[Response | None]:
    """What the native reader can read of each record's answer; for a thread beside the pipeline's."""
    return decode_ahead([(record.value or b"") if record.source == RESPONSES else b"" for record in records])
