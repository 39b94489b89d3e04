"""Counts by time, of the last minutes only: in slots that are dropped as a whole. Pure."""

from collections import Counter
from collections.abc import Hashable
from typing import Generic, TypeVar

_Key = TypeVar("_Key", bound=Hashable)


class Window(Generic[_Key]):
    """Counts of the last `seconds`, in slots of `slot` seconds; older ones are forgotten. Times are seconds of any one clock."""

    def __init__(self, seconds: float, slot: float) -> None:
        self.seconds, self.slot = seconds, slot
        self._slots: dict[int, Counter[_Key]] = {}

    def add(self, at: float, key: _Key, count: int = 1) -> None:
        """Count something at a time."""
        number = int(at // self.slot)
        slot = self._slots.get(number)
        if slot is None:
            slot = self._slots[number] = Counter()
            oldest = max(self._slots) - int(self.seconds // self.slot)
            for old in [one for one in self._slots if one < oldest]:
                del self._slots[old]
        slot[key] += count

    def last(self, now: float, seconds: float | None = None) -> Counter[_Key]:
        """What was counted in the last `seconds` (all that is kept, by default), slots counted whole."""
        first = int((now - (seconds or self.seconds)) // self.slot)
        found: Counter[_Key] = Counter()
        for number, slot in self._slots.items():
            if number > first:
                found.update(slot)
        return found

    def series(self, now: float, slots: int) -> list[tuple[float, Counter[_Key]]]:
        """The last `slots` slots that are over, the oldest first, each with its beginning; empty ones too."""
        newest = int(now // self.slot)
        return [(number * self.slot, self._slots.get(number, Counter())) for number in range(newest - slots, newest)]
