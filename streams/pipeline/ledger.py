"""The memory ledger: who holds how much, which side is held back when memory is full, and what goes when nothing else helps.

Whatever can free memory keeps being read. A waiting request is freed by its response, a waiting response by its request;
so while memory is full, each partition goes on reading the side of which *fewer* records wait, and both when none do. Reading
the open side also tells how far that side has been read, which is what lets records time out. Should that not be enough, because neither side's
records belong together, memory reaches its hard limit, and the oldest waiting records are decided without their other half.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from streams.pipeline.assignment import Place
from streams.pipeline.pending import PartitionStore
from streams.pipeline.records import REQUESTS, RESPONSES
from streams.pipeline.waiting import WaitingRoom

Stores = Mapping[int, PartitionStore]

_FULL: Final = 0.75
"""The share of `max_pending_bytes` at which reading is held back: the rest is for what is in flight then."""
_OPEN_AGAIN: Final = 0.75
"""The share of that at which it goes on: opening costs the client what it had fetched ahead."""


@dataclass(frozen=True, slots=True)
class Limits:
    """`max_pending` waiting records and three quarters of `max_pending_bytes` hold reading back; no batch leaves more bytes waiting.

    `max_remembered` is the most ids of decided requests that are remembered.
    """

    max_pending: int
    max_pending_bytes: int
    max_remembered: int


@dataclass(frozen=True, slots=True)
class Holdings:
    """What the stores hold."""

    requests: int
    responses: int
    request_bytes: int
    response_bytes: int
    remembered: int

    @property
    def bytes(self) -> int:
        """Bytes of all waiting records, overheads included."""
        return self.request_bytes + self.response_bytes


def holdings(stores: Stores) -> Holdings:
    """Add up what the stores hold."""
    held = stores.values()
    return Holdings(
        sum(len(store.requests) for store in held),
        sum(len(store.responses) for store in held),
        sum(store.requests.bytes for store in held),
        sum(store.responses.bytes for store in held),
        sum(len(store.decided) for store in held),
    )


def first_due(stores: Stores) -> dict[str, int]:
    """By source, when the first of the waiting records comes due (ms, to the second); nothing where none waits."""
    held = stores.values()
    due = {
        REQUESTS: [store.requests.due for store in held],
        RESPONSES: [store.responses.due for store in held],
    }
    return {source: min(known) for source, those in due.items() if (known := [one for one in those if one is not None])}


def closed_sides(stores: Stores, limits: Limits, already: frozenset[Place]) -> frozenset[Place]:
    """Which input partitions to hold back now, `already` being held back. Never both sides of a partition."""
    held, share = holdings(stores), _OPEN_AGAIN if already else 1.0
    full = held.bytes >= limits.max_pending_bytes * _FULL * share
    if not full and held.requests + held.responses < limits.max_pending * share:
        return frozenset()
    closed = set()
    for partition, store in stores.items():
        requests, responses = len(store.requests), len(store.responses)
        if requests != responses:
            closed.add((REQUESTS if requests > responses else RESPONSES, partition))
    return frozenset(closed)


def overfull(stores: Stores, limits: Limits) -> WaitingRoom | None:
    """The waiting room to take the oldest record from, memory being above its hard limit; None when it is not.

    Of all rooms the one that holds most bytes: its records are least likely to be freed by what is read.
    """
    if holdings(stores).bytes <= limits.max_pending_bytes:
        return None
    rooms = [room for store in stores.values() for room in (store.requests, store.responses)]
    return max(rooms, key=lambda room: room.bytes)


def forget_surplus(stores: Stores, limits: Limits) -> None:
    """Forget the oldest decided ids beyond the limit, whichever partition's they are."""
    surplus = sum(len(store.decided) for store in stores.values()) - limits.max_remembered
    while surplus > 0:
        oldest = min(
            (store.decided for store in stores.values() if store.decided.oldest is not None),
            key=lambda decided: decided.oldest or 0,
            default=None,
        )
        if oldest is None:
            return
        before = len(oldest)
        oldest.forget_oldest()
        surplus -= before - len(oldest)
