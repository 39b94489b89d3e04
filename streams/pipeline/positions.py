"""How far each input partition has been read, and up to which time nothing in it is left unread."""

from dataclasses import dataclass, field
from typing import Final

from streams.pipeline.records import Record

_MOST_MARKERS: Final = 8
"""Offsets in a row that transaction markers may take, and that nobody asks about."""


@dataclass(slots=True)
class Position:
    """One partition: the next offset, and the time up to which nothing is left unread (`frontier`, ms of the broker's clock).

    The frontier moves on two facts only: everything was read that was there when the broker was asked where the partition
    ends, or a record was read that the broker itself stamped as it came, so that nothing older can follow. What the client
    remembers of a partition's end is not enough: behind a lost connection it is old, and requests would time out whose
    answers are in Kafka already. Ends are high watermarks: what an open transaction hides has come too.
    """

    next_offset: int
    frontier: int = 0
    end: int = -1
    read_until: int = 0
    stable: int = -1
    carried: int = field(init=False)
    """How far a batch has carried it: a batch's commit is what a restart knows of."""
    _ended_at: int = 0
    _gaps: list[tuple[int, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.carried = self.next_offset

    def read(self, record: Record) -> None:
        """A record was read."""
        self._reach(record.offset)
        self.next_offset = record.offset + 1
        self.read_until = record.timestamp
        if record.appended:
            self.frontier = max(self.frontier, record.timestamp - 1)

    def ended(self, offset: int) -> None:
        """The client came to the end of what may be read: transaction markers take offsets that no record has."""
        self._reach(offset)
        self.next_offset = max(self.next_offset, offset)

    def taken_gaps(self) -> list[tuple[int, int]]:
        """Each [start, end) that reading has passed by since this was last asked, and that is large enough to wonder."""
        gaps, self._gaps = self._gaps, []
        return gaps

    def _reach(self, offset: int) -> None:
        if offset > self.next_offset + _MOST_MARKERS:
            self._gaps.append((self.next_offset, offset))

    def probed(self, end: int, asked_at: int, stable: int) -> None:
        """The broker was asked at `asked_at` (ms): the partition ended at `end`, and could be read up to `stable`."""
        self.advance()  # the last answer may have been reached since
        self.end, self._ended_at, self.stable = end, asked_at, stable
        self.advance()

    def advance(self) -> None:
        """Move the frontier if everything has been read that was there when the broker was last asked."""
        if self.caught_up:
            self.frontier = max(self.frontier, self._ended_at)

    @property
    def caught_up(self) -> bool:
        """Whether everything has been read that was there when the broker was last asked."""
        return 0 <= self.end <= self.next_offset

    @property
    def lag(self) -> int:
        """Records not yet read, as of the last probe."""
        return max(self.end - self.next_offset, 0)

    @property
    def hidden_lag(self) -> int:
        """Those of them that cannot be read because an open transaction stands before them."""
        return max(self.end - max(self.stable, self.next_offset), 0)

    def behind(self, now: int) -> float:
        """Age of the last record read (s), 0 when nothing is left to read; `now` is in ms."""
        return max(now - self.read_until, 0) / 1000 if self.lag else 0.0
