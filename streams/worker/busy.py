"""Where a worker's time goes: for which share of the last seconds each stage was at work."""

import time
from collections import defaultdict, deque
from collections.abc import Callable
from typing import Final

_WINDOW: Final = 10.0
_SHORTEST: Final = 2.0
"""Seconds below which a share means nothing."""


class Busy:
    """Counts the seconds that stages work. A batch counts when it leaves a stage. `now` is in seconds of any clock; one thread."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._seconds: defaultdict[str, float] = defaultdict(float)
        self._looks: deque[tuple[float, dict[str, float]]] = deque()

    def add(self, stage: str, seconds: float) -> None:
        """Count what a batch took."""
        self._seconds[stage] += seconds

    def shares(self) -> dict[str, float] | None:
        """By stage, over the last ten seconds or since the first look; None where that is too short. To be asked again and again."""
        now = self._now()
        self._looks.append((now, dict(self._seconds)))
        while now - self._looks[0][0] > _WINDOW:
            self._looks.popleft()
        since, before = self._looks[0]
        if now - since < _SHORTEST:
            return None
        return {
            stage: round(min(1.0, (seconds - before.get(stage, 0.0)) / (now - since)), 3)
            for stage, seconds in self._seconds.items()
        }
