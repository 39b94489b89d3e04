"""Latency from the times of records: a sample of requests and answers, matched with the decisions on them. Pure.

The input topics stamp by the broker's clock, decisions carry that of the worker that wrote them, before their commit: what lies between is
deciding, without the commit, and plus how far the two clocks are apart.
"""

from collections import OrderedDict, deque
from typing import Final

from streams.console.state import Latency

_MOST: Final = 20_000
"""Ids remembered on either side."""
_SAMPLE: Final = 2_000
_LATELY: Final = 300_000
"""Milliseconds for which a decision counts."""


class Latencies:
    """One kind: from a record (a request, or an answer) to its decision. Times are in ms.

    Where little comes, the same records are sampled again and again: each is measured once.
    """

    def __init__(self) -> None:
        self._came = _Remembered()
        self._measured = _Remembered()
        self._took: deque[tuple[int, int]] = deque(maxlen=_SAMPLE)

    def came(self, request_id: str, at: int, decided: int | None) -> None:
        """A record of the sample; `decided` is when its decision was made, if that has been seen already."""
        if request_id in self._measured or request_id in self._came:
            return
        if decided is None:
            self._came.add(request_id, at)
        else:
            self._take(request_id, at, decided)

    def decided(self, request_id: str, at: int) -> None:
        """A decision."""
        came = self._came.pop(request_id, None)
        if came is not None:
            self._take(request_id, came, at)

    def lately(self, now: int) -> Latency | None:
        """Of decisions of the last minutes; None where none of the sample is among them."""
        took = sorted(took for at, took in self._took if now - at <= _LATELY)
        if not took:
            return None
        return Latency(
            len(took), *(float(took[min(len(took) - 1, int(share * len(took)))]) for share in (0.5, 0.95, 0.99))
        )

    def _take(self, request_id: str, came: int, decided: int) -> None:
        self._measured.add(request_id, decided)
        self._took.append((decided, decided - came))


class _Remembered(OrderedDict[str, int]):
    """Times by id, the last so many. (Of a plain dict, finding the first entry takes as long as there are deleted ones before it.)"""

    def add(self, request_id: str, at: int) -> None:
        """Remember one."""
        self[request_id] = at
        if len(self) > _MOST:
            self.popitem(last=False)


class DecidedIds(_Remembered):
    """When what was decided lately was decided, by id: a sampled record may come after its decision."""
