"""The order of batches: numbers them, notices one that vanished, and knows when all are settled.

Used from the event loop's thread only.
"""

import asyncio
import time

from streams.errors import DeliveryError
from streams.pipeline.stages import Ticket

_MOST_UNROUTED = 3
"""One batch is matched and scored while the answers of the next are read, and a third one is fetched: their records are what takes memory."""
_MOST_IN_FLIGHT = 40
"""What is decided while a commit is under way gathers, and is committed together: the slower commits are, the larger they get."""
_MOST_UNCOMMITTED = 12 * 2**20
"""Bytes that decided batches may be waiting to write while another one is read."""
_ENOUGH_TO_COMMIT = _MOST_UNCOMMITTED // 2
"""Bytes, likewise, that wait for no further batch: as much again may gather while they are committed."""


class Flow:
    """Counts batches out of the source and into the sink. `commit_linger` is in seconds (see `streams.settings`)."""

    def __init__(self, commit_linger: float = 0.0) -> None:
        self._commit_linger = commit_linger
        self._issued = 0
        self._routed = 0
        self._arrived = 0
        self._settled = 0
        self._uncommitted: list[int] = []
        self._given_up = False
        self._moved = asyncio.Condition()
        self._progress = time.monotonic()

    @property
    def in_flight(self) -> int:
        """Batches issued and not yet settled."""
        return self._issued - self._settled

    @property
    def stuck_for(self) -> float:
        """Seconds since a batch in flight last moved on; 0 when none is in flight."""
        return time.monotonic() - self._progress if self.in_flight else 0.0

    def next_sequence(self) -> int:
        """The number of a batch that leaves the source."""
        if not self.in_flight:
            self._progress = time.monotonic()
        self._issued += 1
        return self._issued

    async def routed(self, size: int) -> None:
        """A batch is decided: of its records, only what it writes is kept, which is so many bytes."""
        self._routed += 1
        self._uncommitted.append(size)
        await self._tell()

    def arrive(self, ticket: Ticket) -> bool:
        """A batch has reached the sink: whether it may be committed (False: its assignment is over).

        Raises DeliveryError when a batch before it never arrived, because committing this one would pass it by.
        """
        if ticket.sequence != self._arrived + 1:
            raise DeliveryError(
                f"batch {self._arrived + 1} vanished between source and sink (batch {ticket.sequence} came instead): "
                "nothing is committed past it; restart the worker to redo it"
            )
        self._arrived += 1
        return not ticket.assignment.over

    async def settle(self) -> None:
        """The batches that have arrived are committed, or were let go because their assignment is over."""
        del self._uncommitted[: self._arrived - self._settled]
        self._settled = self._arrived
        self._progress = time.monotonic()
        await self._tell()

    def patience(self, first: Ticket, last: Ticket) -> float:
        """Seconds that the commit of decided batches, `first` to `last`, may wait for the one behind them; 0 where it may not.

        It waits only while reading can't keep up: a transaction costs the broker much the same whatever it holds.
        """
        if not last.is_full or last.assignment.over or not self._holds_more(_ENOUGH_TO_COMMIT):
            return 0.0
        return max(0.0, first.polled_at + self._commit_linger - time.monotonic())

    async def room(self) -> None:
        """Wait until another batch may be read: while the pipeline is busy, records gather to larger batches in Kafka."""
        async with self._moved:
            await self._moved.wait_for(
                lambda: self._issued - self._routed < _MOST_UNROUTED and self._holds_more(_MOST_UNCOMMITTED)
            )

    def _holds_more(self, most: int) -> bool:
        """Whether what waits for its commit is little enough for another batch beside it."""
        return self.in_flight < _MOST_IN_FLIGHT and sum(self._uncommitted) < most

    async def drained(self) -> None:
        """Wait until no batch is in flight, or until it is known that they will not be settled."""
        async with self._moved:
            await self._moved.wait_for(lambda: self.in_flight == 0 or self._given_up)

    async def give_up(self) -> None:
        """The batches in flight will not be settled: nobody need wait for them."""
        self._given_up = True
        await self._tell()

    async def _tell(self) -> None:
        async with self._moved:
            self._moved.notify_all()
