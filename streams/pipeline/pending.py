"""The pending store: what one partition still waits for, and which requests it has decided lately.

Everything here can be rebuilt from the changelog topic, whose records these methods describe; nothing here knows Kafka.
"""

import heapq
from collections import deque
from collections.abc import Iterable, Iterator
from enum import IntEnum

import msgspec

from streams.pipeline.records import Output, Record

CHANGELOG = "pending"

_REQUEST, _RESPONSE, _DECIDED = b"q:", b"a:", b"d:"
_SEGMENT_IDS = 1000
"""Ids in one changelog record: with the longest ids allowed it stays below a topic's usual limit of 1 MB."""


class Decided(IntEnum):
    """How a request came to its decision; tells a late response from a duplicate one."""

    ANSWERED = 0
    TIMED_OUT = 1


class Waiting(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A record that waits for its counterpart until `deadline` (ms)."""

    deadline: int
    record: Record


class _DecidedSegment(msgspec.Struct, frozen=True, array_like=True):
    """The ids one batch decided: one changelog record for all of them, forgotten together at `expires` (ms)."""

    expires: int
    answered: list[str]
    timed_out: list[str]


_encode = msgspec.msgpack.Encoder().encode
_decode_waiting = msgspec.msgpack.Decoder(Waiting).decode
_decode_segment = msgspec.msgpack.Decoder(_DecidedSegment).decode


class WaitingRoom:
    """One kind of waiting record (requests, or responses) of one partition, by id and by deadline.

    Deadlines are kept in buckets of one second, so that a waiting record costs one list slot and not a heap entry.
    """

    def __init__(self, prefix: bytes) -> None:
        self._prefix = prefix
        self._waiting: dict[str, Waiting] = {}
        self._buckets: dict[int, list[str]] = {}
        self._seconds: list[int] = []
        self._added: set[str] = set()
        self._removed: set[str] = set()
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def __contains__(self, request_id: str) -> bool:
        return request_id in self._waiting

    def holds(self, request_id: str, offset: int) -> bool:
        """Whether this very record waits already: at least once, a restart may read it again."""
        waiting = self._waiting.get(request_id)
        return waiting is not None and waiting.record.offset == offset

    def add(self, request_id: str, waiting: Waiting) -> None:
        """Let a record wait; it must not be waiting already."""
        self.restore(request_id, waiting)
        self._added.add(request_id)

    def restore(self, request_id: str, waiting: Waiting) -> None:
        """Let a record wait that the changelog holds already."""
        self._waiting[request_id] = waiting
        self.bytes += len(waiting.record.value or b"")
        second = waiting.deadline // 1000
        if second not in self._buckets:
            self._buckets[second] = []
            heapq.heappush(self._seconds, second)
        self._buckets[second].append(request_id)

    def pop(self, request_id: str) -> Waiting | None:
        """Take a record out, or None. Its place in the deadline bucket is skipped when the bucket comes due."""
        waiting = self._waiting.pop(request_id, None)
        if waiting is not None:
            self.bytes -= len(waiting.record.value or b"")
            if request_id in self._added:
                self._added.discard(request_id)
            else:
                self._removed.add(request_id)
        return waiting

    def take_due(self, until: int, limit: int) -> list[tuple[str, Waiting]]:
        """Take out at most `limit` records whose deadline is at or before `until` (ms), oldest second first."""
        due: list[tuple[str, Waiting]] = []
        while self._seconds and self._seconds[0] * 1000 <= until and len(due) < limit:
            second = self._seconds[0]
            bucket, later = self._buckets[second], []
            while bucket and len(due) < limit:
                request_id = bucket.pop()
                waiting = self._waiting.get(request_id)
                if waiting is None or waiting.deadline // 1000 != second:
                    continue
                if waiting.deadline > until:
                    later.append(request_id)
                else:
                    self.pop(request_id)
                    due.append((request_id, waiting))
            if not bucket and not later:
                del self._buckets[second]
                heapq.heappop(self._seconds)
            bucket.extend(later)
            if later:
                break
        return due

    def changes(self, partition: int) -> Iterator[Output]:
        """What the changelog must be told since the last call: the net effect, so a record that came and went is free."""
        for request_id in self._added:
            yield Output(
                CHANGELOG, self._prefix + request_id.encode(), _encode(self._waiting[request_id]), None, partition
            )
        for request_id in self._removed - self._added:
            yield Output(CHANGELOG, self._prefix + request_id.encode(), None, None, partition)
        self._added.clear()
        self._removed.clear()


class DecidedLately:
    """The ids decided within the deduplication window, in segments of one batch each."""

    def __init__(self, window: int) -> None:
        self._window = window
        self._ids: dict[str, Decided] = {}
        self._segments: deque[tuple[int, bytes, list[str]]] = deque()
        self._answered: list[str] = []
        self._timed_out: list[str] = []

    def __len__(self) -> int:
        return len(self._ids)

    def get(self, request_id: str) -> Decided | None:
        """How this request was decided, or None when it was not, or not lately."""
        return self._ids.get(request_id)

    def add(self, request_id: str, how: Decided) -> None:
        """Remember a decision of the current batch."""
        self._ids[request_id] = how
        (self._answered if how is Decided.ANSWERED else self._timed_out).append(request_id)

    def restore(self, key: bytes, segment: _DecidedSegment) -> None:
        """Remember a segment that the changelog holds already."""
        self._ids.update(dict.fromkeys(segment.answered, Decided.ANSWERED))
        self._ids.update(dict.fromkeys(segment.timed_out, Decided.TIMED_OUT))
        self._segments.append((segment.expires, key, segment.answered + segment.timed_out))

    def changes(self, partition: int, now: int, unique: str) -> Iterator[Output]:
        """The current batch as one changelog record, and tombstones for the segments whose window has passed."""
        ids = [*self._answered, *self._timed_out]
        for start in range(0, len(ids), _SEGMENT_IDS):
            key = _DECIDED + f"{unique}:{start}".encode()
            answered = self._answered[start : start + _SEGMENT_IDS]
            chunk = ids[start : start + _SEGMENT_IDS]
            segment = _DecidedSegment(now + self._window, answered, chunk[len(answered) :])
            self._segments.append((segment.expires, key, chunk))
            yield Output(CHANGELOG, key, _encode(segment), None, partition)
        self._answered, self._timed_out = [], []
        while self._segments and self._segments[0][0] <= now:
            _, key, ids = self._segments.popleft()
            for request_id in ids:
                self._ids.pop(request_id, None)
            yield Output(CHANGELOG, key, None, None, partition)


class PartitionStore:
    """All that one partition remembers between batches."""

    def __init__(self, partition: int, *, dedup_window: int) -> None:
        self.partition = partition
        self.requests = WaitingRoom(_REQUEST)
        self.responses = WaitingRoom(_RESPONSE)
        self.decided = DecidedLately(dedup_window)

    def changes(self, now: int, unique: str) -> Iterable[Output]:
        """The changelog records that make a batch's effect on this partition survive a crash."""
        yield from self.requests.changes(self.partition)
        yield from self.responses.changes(self.partition)
        yield from self.decided.changes(self.partition, now, unique)

    @classmethod
    def restore(cls, partition: int, changelog: dict[bytes, bytes], *, dedup_window: int) -> "PartitionStore":
        """Rebuild from the last value of every changelog key (tombstoned keys left out).

        Raises msgspec.DecodeError on a record that this program did not write.
        """
        store = cls(partition, dedup_window=dedup_window)
        rooms = {_REQUEST: store.requests, _RESPONSE: store.responses}
        segments = []
        for key, value in changelog.items():
            prefix = key[:2]
            if prefix == _DECIDED:
                segments.append((key, _decode_segment(value)))
            else:
                rooms[prefix].restore(key[2:].decode(), _decode_waiting(value))
        for key, segment in sorted(segments, key=lambda entry: entry[1].expires):
            store.decided.restore(key, segment)
        return store
