"""Latency from the times of records: a sample of requests and answers, matched with the decisions on them. Pure.

The input topics stamp by the broker's clock, decisions carry that of the worker that wrote them, before their commit: what lies between is
deciding, without the commit, and plus how far the two clocks are apart.
"""

from collections import deque
from typing import Final

from streams.console.state import Latency

_MOST: Final = 20_000
"""Ids remembered on either side."""
_SAMPLE: Final = 2_000
_LATELY: Final = 300_000
"""Milliseconds for which a decision counts."""


class Latencies:
    """One kind: from a record (a request, or an answer) to its decision. Times are in ms."""

    def __init__(self) -> None:
        self._came: dict[str, int] = {}
        self._took: deque[tuple[int, int]] = deque(maxlen=_SAMPLE)

    def came(self, request_id: str, at: int, decided: int | None) -> None:
        """A record of the sample; `decided` is when its decision was made, if that has been seen already."""
        if decided is not None:
            self._took.append((decided, decided - at))
        elif request_id not in self._came:
            self._came[request_id] = at
            if len(self._came) > _MOST:
                del self._came[next(iter(self._came))]

    def decided(self, request_id: str, at: int) -> None:
        """A decision."""
        came = self._came.pop(request_id, None)
        if came is not None:
            self._took.append((at, at - came))

    def lately(self, now: int) -> Latency | None:
        """Of decisions of the last minutes; None where none of the sample is among them."""
        took = sorted(took for at, took in self._took if now - at <= _LATELY)
        if not took:
            return None
        return Latency(
            len(took), *(float(took[min(len(took) - 1, int(share * len(took)))]) for share in (0.5, 0.95, 0.99))
        )


class DecidedIds:
    """When what was decided lately was decided, by id: a sampled record may come after its decision."""

    def __init__(self) -> None:
        self._at: dict[str, int] = {}

    def add(self, request_id: str, at: int) -> None:
        """A decision."""
        self._at[request_id] = at
        if len(self._at) > _MOST:
            del self._at[next(iter(self._at))]

    def get(self, request_id: str) -> int | None:
        """When, if it is remembered."""
        return self._at.get(request_id)
