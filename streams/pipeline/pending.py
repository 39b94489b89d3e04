"""The pending store: what one partition still waits for, and which requests it has decided lately.

Everything here can be rebuilt from the changelog topic, which is a log of *deltas*: one record for each batch and partition,
with the net effect of the batch and the input positions that it reaches. State and positions are so one truth.

The log stays as short as what waits: once it holds far more entries than are still alive, the next batches write the live
ones anew, a few at a time (a *rewrite*), and when all of them stand behind the log's end as it was at the rewrite's start,
everything before that end can be deleted. Nothing here knows Kafka.
"""

from typing import Final, TypeAlias

import msgspec

from streams.errors import ChangelogError
from streams.pipeline.decided import DecidedLately, Ids
from streams.pipeline.records import Output, Record, size
from streams.pipeline.waiting import Waiting, WaitingRoom

CHANGELOG = "pending"

_FORMAT: Final = b"secondlook.delta."
_KEY: Final = _FORMAT + b"1"
_DELTA_BYTES: Final = 512 * 1024
"""Bytes of waiting records after which a batch's delta goes on in another record."""
_REWRITE_ENTRIES: Final = 1000
"""Live entries that one batch writes anew, at most."""
_REWRITE_SLACK: Final = 10_000
"""Entries that a log may hold beyond three times the live ones before a rewrite begins: small stores are not worth one."""


class Claim(msgspec.Struct, frozen=True, array_like=True):
    """Whose changelog this is: the consumer group, and the ids of the input topics (empty where the broker tells none).

    `replaces` is the group that a takeover ends; a claim beside another's is void, so that of two the log's first one counts.
    """

    group: str
    requests_topic: str = ""
    responses_topic: str = ""
    replaces: str = ""


_Written: TypeAlias = tuple[int, Record]
"""A waiting record's deadline (ms), and the record."""


class _Delta(msgspec.Struct, array_like=True):
    """What one batch did to one partition. Positions are next offsets; None where the batch read nothing there."""

    requests: list[_Written] = []
    responses: list[_Written] = []
    requests_gone: list[str] = []
    responses_gone: list[str] = []
    decided: list[Ids] = []
    requests_position: int | None = None
    responses_position: int | None = None
    claim: Claim | None = None


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Delta).decode


class _Rewrite:
    """A round of writing the live entries anew; `before` is the log's end when it began."""

    __slots__ = ("before", "began_at", "requests", "responses", "segments")

    def __init__(self, store: "PartitionStore") -> None:
        self.before = store.log_end
        self.began_at = store.written
        self.requests = list(store.requests)
        self.responses = list(store.responses)
        self.segments = store.decided.segments()

    @property
    def finished(self) -> bool:
        return not (self.requests or self.responses or self.segments)


class PartitionStore:
    """All that one partition remembers between batches. `dedup_window` is in ms.

    `log_end` is an end of the changelog partition that the broker told some time ago (a later one does no harm less),
    `written` the entries that the log holds, live or not, `foreign` the records in it that are not ours.
    """

    def __init__(self, partition: int, *, dedup_window: int) -> None:
        self.partition = partition
        self.requests = WaitingRoom()
        self.responses = WaitingRoom()
        self.decided = DecidedLately(dedup_window)
        self.requests_position: int | None = None
        self.responses_position: int | None = None
        self.claim: Claim | None = None
        self.foreign = 0
        self.log_end = 0
        self.written = 0
        self.deletable: int | None = None
        self._rewrite: _Rewrite | None = None

    @property
    def live(self) -> int:
        """Entries that a restart must find in the log."""
        return len(self.requests) + len(self.responses) + len(self.decided)

    def changes(self, now: int, requests_position: int | None, responses_position: int | None) -> list[Output]:
        """The changelog records that make a batch's effect on this partition, and how far it read, survive a crash.

        Afterwards `deletable` is the offset before which the log is not needed once this batch is committed, or None.
        """
        requests, requests_gone = self.requests.changes()
        responses, responses_gone = self.responses.changes()
        decided = self.decided.changes(now)
        self.written += len(requests_gone) + len(responses_gone)
        claim = self._write_anew(requests, responses, decided, now)
        moved = requests_position is not None or responses_position is not None
        if not (moved or requests or responses or requests_gone or responses_gone or decided or claim):
            return []
        self.written += len(requests) + len(responses) + sum(len(ids.ids) for ids in decided)
        self._reach(requests_position, responses_position)
        first = _Delta(requests_gone=requests_gone, responses_gone=responses_gone, decided=decided)
        deltas = _deltas(first, requests, responses)
        # Only the last one says how far the batch reached: a crash between two of them must not be believed beyond it.
        deltas[-1].requests_position, deltas[-1].responses_position = self.requests_position, self.responses_position
        deltas[-1].claim = claim
        return [Output(CHANGELOG, _KEY, _encode(delta), None, self.partition) for delta in deltas]

    def claimed(self, claim: Claim, requests_position: int, responses_position: int) -> Output:
        """The changelog record that makes this partition the claim's group's, at these positions."""
        delta = _Delta(requests_position=requests_position, responses_position=responses_position, claim=claim)
        return Output(CHANGELOG, _KEY, _encode(delta), None, self.partition)

    def apply(self, key: bytes | None, value: bytes | None) -> bool:
        """Take in one changelog record; whether it is one of ours.

        Raises ChangelogError on a record of ours that cannot be read: one of another version, or damaged.
        """
        if key is None or not key.startswith(_FORMAT):
            self.foreign += 1
            return False
        if key != _KEY:
            raise ChangelogError(f"format {key.removeprefix(_FORMAT)!r} is another version's")
        try:
            delta = _decode(value or b"")
            self._apply(delta)
        except (msgspec.DecodeError, UnicodeDecodeError, AttributeError) as problem:
            raise ChangelogError(f"damaged: {problem}") from None
        return True

    def _apply(self, delta: _Delta) -> None:
        for came, gone, room in (
            (delta.requests, delta.requests_gone, self.requests),
            (delta.responses, delta.responses_gone, self.responses),
        ):
            for deadline, record in came:
                room.restore((record.key or b"").decode(), Waiting(deadline, record))
            for request_id in gone:
                room.forget(request_id)
        for ids in delta.decided:
            self.decided.restore(ids)
        self._reach(delta.requests_position, delta.responses_position)
        if delta.claim is not None and (self.claim is None or delta.claim.replaces == self.claim.group):
            self.claim = delta.claim
        self.written += len(delta.requests) + len(delta.responses) + sum(len(ids.ids) for ids in delta.decided)
        self.written += len(delta.requests_gone) + len(delta.responses_gone)

    def _reach(self, requests_position: int | None, responses_position: int | None) -> None:
        if requests_position is not None:
            self.requests_position = requests_position
        if responses_position is not None:
            self.responses_position = responses_position

    def restored(self, now: int, log_end: int) -> None:
        """The changelog has been read up to `log_end`; `now` is in ms."""
        self.decided.expire(now)
        self.log_end = log_end

    def _write_anew(
        self, requests: list[Waiting], responses: list[Waiting], decided: list[Ids], now: int
    ) -> Claim | None:
        """Add some of the live entries to a batch's delta when the log has grown too long; the last ones with the claim."""
        self.deletable = None
        rewrite = self._rewrite
        if rewrite is None:
            if self.written <= 3 * self.live + _REWRITE_SLACK or self.log_end == 0:
                return None
            rewrite = self._rewrite = _Rewrite(self)
        room, room_bytes = _REWRITE_ENTRIES, _DELTA_BYTES
        for ids, waiting_room, anew in (
            (rewrite.requests, self.requests, requests),
            (rewrite.responses, self.responses, responses),
        ):
            while ids and room > 0 and room_bytes > 0:
                waiting = waiting_room.get(ids.pop())
                if waiting is not None:
                    anew.append(waiting)
                    room -= 1
                    room_bytes -= size(waiting.record)
        while rewrite.segments and room > 0:
            anew_ids = self.decided.rewritten(rewrite.segments.pop(), now)
            decided.extend(anew_ids)
            room -= sum(len(ids.ids) for ids in anew_ids)
        if not rewrite.finished:
            return None
        self._rewrite = None
        self.deletable = rewrite.before
        self.written -= rewrite.began_at
        claim = self.claim
        return None if claim is None else msgspec.structs.replace(claim, replaces=claim.group)


def _deltas(first: _Delta, requests: list[Waiting], responses: list[Waiting]) -> list[_Delta]:
    """A batch's waiting records in as many deltas as keep each near `_DELTA_BYTES`; the first one brings its own."""
    deltas, room = [first], _DELTA_BYTES
    for is_request, waitings in ((True, requests), (False, responses)):
        for waiting in waitings:
            weight = size(waiting.record)
            if weight > room and room < _DELTA_BYTES:
                deltas.append(_Delta())
                room = _DELTA_BYTES
            room -= weight
            (deltas[-1].requests if is_request else deltas[-1].responses).append((waiting.deadline, waiting.record))
    return deltas
