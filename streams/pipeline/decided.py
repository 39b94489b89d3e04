"""The requests decided lately: what tells a duplicate or a late answer from a new one."""

import heapq
from enum import IntEnum
from typing import Final

import msgspec

_SEGMENT_IDS: Final = 1000


class Decided(IntEnum):
    """How a request came to its decision; tells a late response from a duplicate one."""

    ANSWERED = 0
    TIMED_OUT = 1


class Ids(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Request ids decided in one batch, remembered until `expires` (ms)."""

    expires: int
    how: Decided
    ids: list[str]


class Segment:
    """Ids that are forgotten together."""

    __slots__ = ("expires", "how", "ids")

    def __init__(self, expires: int, how: Decided, ids: list[str]) -> None:
        self.expires, self.how, self.ids = expires, how, ids

    def __lt__(self, other: "Segment") -> bool:
        return self.expires < other.expires


class DecidedLately:
    """The ids decided within the deduplication window, in segments that are forgotten together (of one batch; in the log 1,000 ids at most): a heap.

    About 130 bytes an id of 36 characters.
    """

    def __init__(self, window: int) -> None:
        self._window = window
        self._ids: dict[str, Segment] = {}
        self._segments: list[Segment] = []
        self._new: dict[Decided, Segment] = {}
        self._forgotten_until = 0

    def __len__(self) -> int:
        return len(self._ids)

    @property
    def oldest(self) -> int | None:
        """When the oldest segment was to be forgotten (ms), or None when nothing is remembered."""
        return self._segments[0].expires if self._segments else None

    def reach(self, now: int) -> int:
        """How far back the memory really goes (ms): the window, or less where ids were forgotten early."""
        return min(self._window, now + self._window - self._forgotten_until)

    def get(self, request_id: str) -> Decided | None:
        """How this request was decided, or None when it was not, or not lately."""
        segment = self._ids.get(request_id)
        return None if segment is None else segment.how

    def add(self, request_id: str, how: Decided) -> None:
        """Remember a decision of the current batch."""
        segment = self._new.get(how)
        if segment is None:
            segment = self._new[how] = Segment(0, how, [])
        segment.ids.append(request_id)
        self._ids[request_id] = segment

    def restore(self, ids: Ids) -> None:
        """Remember what the changelog holds, perhaps twice."""
        segment = Segment(ids.expires, ids.how, [one for one in ids.ids if self._is_older(one, ids.expires)])
        if segment.ids:
            self._ids.update(dict.fromkeys(segment.ids, segment))
            heapq.heappush(self._segments, segment)

    def _is_older(self, request_id: str, expires: int) -> bool:
        known = self._ids.get(request_id)
        return known is None or known.expires < expires

    def expire(self, now: int) -> None:
        """Forget the ids whose window has passed."""
        while self._segments and self._segments[0].expires <= now:
            self._forget(heapq.heappop(self._segments))

    def forget_oldest(self) -> None:
        """Forget the oldest segment before its time: there is no room for it."""
        segment = heapq.heappop(self._segments)
        self._forgotten_until = segment.expires
        self._forget(segment)

    def _forget(self, segment: Segment) -> None:
        for request_id in segment.ids:
            if self._ids.get(request_id) is segment:
                del self._ids[request_id]

    def changes(self, now: int) -> list[Ids]:
        """The current batch's ids; what is over is forgotten."""
        came = []
        for segment in self._new.values():
            segment.expires = now + self._window
            heapq.heappush(self._segments, segment)
            came += self._as_written(segment)
        self._new = {}
        self.expire(now)
        return came

    def segments(self) -> list[Segment]:
        """The segments as they stand."""
        return list(self._segments)

    @staticmethod
    def _as_written(segment: Segment) -> list[Ids]:
        return [
            Ids(segment.expires, segment.how, segment.ids[start : start + _SEGMENT_IDS])
            for start in range(0, len(segment.ids), _SEGMENT_IDS)
        ]

    def rewritten(self, segment: Segment, now: int) -> list[Ids]:
        """A segment once more, unless it has been forgotten."""
        if segment.expires <= now or not segment.ids or self._ids.get(segment.ids[0]) is not segment:
            return []
        return self._as_written(segment)
