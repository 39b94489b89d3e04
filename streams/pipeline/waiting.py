"""Waiting rooms: the records that wait for their counterpart, by id and by deadline."""

import heapq
from collections.abc import Iterator
from typing import Final

import msgspec

from streams.pipeline.records import Record, size
from streams.pipeline.requests import Kind

_OVERHEAD: Final = 700
"""Bytes that a waiting record takes beyond its key, value and headers (objects, both dicts; measured)."""


class Waiting(msgspec.Struct, frozen=True, gc=False):
    """A record that waits for its counterpart until `deadline` (ms). Its key is its request id.

    `kind` is that of a request that was read as it came, and is portable as it is, shared by all of that kind. None of anything else, and of
    a request that has to be read again.
    """

    deadline: int
    record: Record
    kind: Kind | None = None


class WaitingRoom:
    """One kind of waiting record (requests, or responses) of one partition, by id and by deadline (in buckets of a second)."""

    def __init__(self) -> None:
        self._waiting: dict[str, Waiting] = {}
        self._buckets: dict[int, dict[str, None]] = {}
        self._seconds: list[int] = []
        self._added: dict[str, Waiting] = {}
        self._removed: set[str] = set()
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def __iter__(self) -> Iterator[str]:
        return iter(self._waiting)

    def get(self, request_id: str) -> Waiting | None:
        """The record that waits under this id, or None."""
        return self._waiting.get(request_id)

    def add(self, request_id: str, waiting: Waiting) -> None:
        """Let a record wait; it must not be waiting already."""
        self._let_wait(request_id, waiting)
        self._added[request_id] = waiting

    def restore(self, request_id: str, waiting: Waiting) -> None:
        """Let a record wait that the changelog holds already, perhaps twice."""
        if request_id in self._waiting:
            self.forget(request_id)
        self._let_wait(request_id, waiting)

    def _let_wait(self, request_id: str, waiting: Waiting) -> None:
        self._waiting[request_id] = waiting
        self.bytes += size(waiting.record) + _OVERHEAD
        second = waiting.deadline // 1000
        bucket = self._buckets.get(second)
        if bucket is None:
            bucket = self._buckets[second] = {}
            heapq.heappush(self._seconds, second)
        bucket[request_id] = None

    def forget(self, request_id: str) -> Waiting | None:
        """Take a record out as the changelog says; None when it does not wait."""
        waiting = self._waiting.pop(request_id, None)
        if waiting is not None:
            self.bytes -= size(waiting.record) + _OVERHEAD
            self._buckets[waiting.deadline // 1000].pop(request_id, None)
        return waiting

    def pop(self, request_id: str) -> Waiting | None:
        """Take a record out, or None."""
        waiting = self.forget(request_id)
        if waiting is not None and self._added.pop(request_id, None) is None:
            self._removed.add(request_id)
        return waiting

    @property
    def oldest(self) -> str | None:
        """The id of a record in the second that comes due first, or None."""
        while self._seconds:
            bucket = self._buckets[self._seconds[0]]
            if bucket:
                return next(iter(bucket))
            del self._buckets[heapq.heappop(self._seconds)]
        return None

    @property
    def due(self) -> int | None:
        """When the next record comes due (ms, to the second), or None."""
        return None if self.oldest is None else self._seconds[0] * 1000

    def take_due(self, until: int, limit: int) -> list[tuple[str, Waiting]]:
        """Take out at most `limit` records whose deadline is at or before `until` (ms), oldest second first."""
        due: list[tuple[str, Waiting]] = []
        while self.oldest is not None and self._seconds[0] * 1000 <= until and len(due) < limit:
            before = len(due)
            for request_id in list(self._buckets[self._seconds[0]]):
                waiting = self._waiting[request_id]
                if waiting.deadline <= until:
                    self.pop(request_id)
                    due.append((request_id, waiting))
                    if len(due) == limit:
                        break
            if len(due) == before:
                break
        return due

    def changes(self) -> tuple[list[Waiting], list[str]]:
        """What came and what went since the last call, as a net effect: a record that came and went is neither."""
        came = list(self._added.values())
        gone = [request_id for request_id in self._removed if request_id not in self._added]
        self._added, self._removed = {}, set()
        return came, gone
