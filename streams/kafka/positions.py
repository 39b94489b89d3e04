"""How far each input partition has been read, and up to which time nothing in it is left unread."""

import time
from dataclasses import dataclass


@dataclass(slots=True)
class Position:
    """One partition: the next offset, and the time up to which nothing is left unread (`frontier`, ms).

    The frontier moves only on the broker's own word on where the partition ends. What the client remembers of that is not
    enough: behind a lost connection, or after a partition has been with another worker, it is old, and requests would time
    out whose answers are in Kafka already.
    """

    next_offset: int
    frontier: int = 0
    end: int = -1
    read_until: int = 0
    _ended_at: int = 0

    def probed(self, end: int, asked_at: int) -> None:
        """The broker was asked at `asked_at` (ms) and the partition ended at `end`."""
        self.advance()  # the last answer may have been reached since
        self.end, self._ended_at = end, asked_at
        self.advance()

    def advance(self) -> None:
        """Move the frontier if everything has been read that was there when the broker was last asked."""
        if 0 <= self.end <= self.next_offset:
            self.frontier = max(self.frontier, self._ended_at)

    @property
    def behind(self) -> float:
        """Age of the last record read (s), 0 when nothing is left to read."""
        return max(time.time() - self.read_until / 1000, 0.0) if self.lag else 0.0

    @property
    def lag(self) -> int:
        """Records not yet read, as of the last probe."""
        return max(self.end - self.next_offset, 0)
