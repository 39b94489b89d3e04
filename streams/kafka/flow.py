"""The order of batches: numbers them, notices one that vanished, and knows when all are settled.

Used from the event loop's thread only.
"""

import asyncio
import time

from streams.errors import DeliveryError
from streams.pipeline.stages import Ticket

_MOST_IN_FLIGHT = 2
"""One batch commits while the next is decoded and scored; more would only wait."""


class Flow:
    """Counts batches out of the source and into the sink."""

    def __init__(self) -> None:
        self._issued = 0
        self._arrived = 0
        self._settled = 0
        self._given_up = False
        self._settling = asyncio.Condition()
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
        """The batch that arrived last is committed, or was let go because its assignment is over."""
        self._settled = self._arrived
        self._progress = time.monotonic()
        async with self._settling:
            self._settling.notify_all()

    async def room(self) -> None:
        """Wait until another batch may be read: while the pipeline is busy, records gather to larger batches in Kafka."""
        async with self._settling:
            await self._settling.wait_for(lambda: self.in_flight < _MOST_IN_FLIGHT)

    async def drained(self) -> None:
        """Wait until no batch is in flight, or until it is known that they will not be settled."""
        async with self._settling:
            await self._settling.wait_for(lambda: self.in_flight == 0 or self._given_up)

    async def give_up(self) -> None:
        """The batches in flight will not be settled: nobody need wait for them."""
        self._given_up = True
        async with self._settling:
            self._settling.notify_all()
