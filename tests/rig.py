"""One partition or more with a matcher, and a log that stands in for the changelog topic."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from streams.pipeline.assignment import Assignment
from streams.pipeline.ledger import Limits
from streams.pipeline.matching import Arrivals, Matched, Matcher
from streams.pipeline.pending import PartitionStore
from streams.pipeline.records import REQUESTS, RESPONSES, Output, Record

TIMEOUT = 10_000
WINDOW = 60_000
NOW = 1_700_000_000_000
ROOMY = Limits(1_000_000, 2**30, 1_000_000)
BODY = {
    "model": "m",
    "choices": [{"message": {"role": "assistant", "content": '{"outcome": 1, "confidence": 90}'}, "logprobs": None}],
}


def request(
    request_id: str = "a", *, offset: int = 0, at: int = NOW, value: bytes | None = None, key: Any = ..., **more: Any
) -> Record:
    """A request in partition 0, stamped by its producer, unless said otherwise."""
    body = json.dumps({"request_id": request_id, "policy": "hate"}).encode() if value is None else value
    more = {"partition": 0, "headers": None, **more}
    return Record(
        REQUESTS, offset=offset, timestamp=at, key=request_id.encode() if key is ... else key, value=body, **more
    )


def response(
    request_id: str = "a", *, offset: int = 0, at: int = NOW, value: bytes | None = None, key: Any = ..., **more: Any
) -> Record:
    """Its answer, likewise."""
    body = json.dumps({"request_id": request_id, "body": BODY}).encode() if value is None else value
    more = {"partition": 0, "headers": None, **more}
    return Record(
        RESPONSES, offset=offset, timestamp=at, key=request_id.encode() if key is ... else key, value=body, **more
    )


def assignment(partitions: Sequence[int] = (0,), *, window: int = WINDOW, **more: Any) -> Assignment:
    """Empty stores, ready."""
    stores = {number: PartitionStore(number, dedup_window=window) for number in partitions}
    notes = dict.fromkeys(partitions, "a note")
    return Assignment(1, frozenset(partitions), "the group", stores=stores, notes=notes, ready=True, **more)


class Desk:
    """A matcher at an assignment, everything read to its end unless said otherwise; keeps what goes to the changelog."""

    def __init__(self, partitions: Sequence[int] = (0,), *, limits: Limits = ROOMY, **options: Any) -> None:
        self.limits = limits
        self.matcher = Matcher(response_timeout=TIMEOUT, limits=limits, **options)
        self.assignment = assignment(partitions)
        self.log: list[Output] = []

    @property
    def store(self) -> PartitionStore:
        """The first partition's."""
        return self.assignment.stores[min(self.assignment.stores)]

    def match(
        self,
        *records: Record,
        now: int = NOW,
        frontiers: Mapping[tuple[str, int], int] | None = None,
        caught_up: bool = False,
    ) -> Matched:
        """One batch."""
        places = [(role, number) for role in (REQUESTS, RESPONSES) for number in self.assignment.stores]
        offsets = {(one.source, one.partition): one.offset + 1 for one in records}
        read = dict.fromkeys(places, now) if frontiers is None else frontiers
        arrivals = Arrivals(list(records), offsets, read, frozenset(places) if caught_up else frozenset())
        matched = self.matcher.match(self.assignment.stores, arrivals, now=now)
        self.log += matched.changes
        return matched

    def restart(self, now: int = NOW) -> None:
        """Everything but the changelog is gone."""
        self.assignment = assignment(sorted(self.assignment.stores))
        for number, store in self.assignment.stores.items():
            for output in self.log:
                if output.partition == number:
                    assert store.apply(output.key, output.value)
            store.restored(now, 0)
