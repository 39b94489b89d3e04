"""Incidents: records on which a stage raised what it should not have, told without a word of their content."""

import traceback
from collections import deque

import msgspec

from streams.pipeline.records import Record


class Incident(msgspec.Struct, frozen=True):
    """Where the record stands (`source` is the topic's role), the stage that failed on it, and how: frames and the error's class.

    An error's message may quote the record, so it is left out.
    """

    source: str
    partition: int
    offset: int
    stage: str
    traceback: str


def incident(record: Record, stage: str, problem: BaseException) -> Incident:
    """What became of one record."""
    frames = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in traceback.extract_tb(problem.__traceback__)]
    kind = type(problem)
    said = " < ".join([f"{kind.__module__}.{kind.__qualname__}", *reversed(frames)])
    return Incident(record.source, record.partition, record.offset, stage, said)


class IncidentBudget:
    """How many incidents within a window are still a matter of single records."""

    def __init__(self, limit: int = 10, window_s: float = 60.0) -> None:
        self.limit, self.window_s = limit, window_s
        self._times: deque[float] = deque()

    def exceeded(self, count: int, now: float) -> bool:
        """Count incidents at `now` (s); whether they have become too many."""
        self._times.extend([now] * count)
        while self._times and self._times[0] <= now - self.window_s:
            self._times.popleft()
        return count > 0 and len(self._times) >= self.limit
