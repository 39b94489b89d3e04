"""Counts by time: in single periods for the latest, and in ever longer blocks before. Pure.

Which block a count is in hangs on its period and the newest one alone, so the order in which counts come does not matter, and there are few
blocks (`_SPLIT` of each length) however long it goes on.
"""

from collections import Counter
from collections.abc import Iterable
from typing import Final, NamedTuple, TypeAlias

import msgspec

_SPLIT: Final = 4
"""Blocks of one length, before two become one."""


class Cell(NamedTuple):
    """What is counted, with up to two numbers that it is counted by."""

    what: str
    first: int = 0
    second: int = 0


Counts: TypeAlias = Counter[Cell]


class BlocksState(msgspec.Struct, frozen=True, array_like=True):
    """`Blocks` to be stored: of each block its length, place and counts."""

    newest: int
    first: int
    blocks: list[tuple[int, int, list[tuple[str, int, int, int]]]]


class Blocks:
    """Counts by period, a number that rises with time. What is taken back must be taken from the period that it was added to."""

    def __init__(self) -> None:
        self.newest = self.first = -1
        self._blocks: dict[tuple[int, int], Counts] = {}

    def add(self, period: int, counts: Iterable[tuple[Cell, int]]) -> None:
        """Add counts, or take them back where they are below 0."""
        self.first = period if self.first < 0 else min(self.first, period)
        if period > self.newest:
            self._advance(period)
        place = self._place(period)
        block = self._blocks.get(place)
        if block is None:
            block = self._blocks[place] = Counter()
        for cell, count in counts:
            now = block.get(cell, 0) + count
            if now:
                block[cell] = now
            else:
                block.pop(cell, None)

    def by_time(self) -> list[tuple[int, Counts]]:
        """The counts of each block, with the number of the period it begins at, counted from the earliest one: no two have the same."""
        found = ((max(0, (index << level) - self.first), counts) for (level, index), counts in self._blocks.items())
        return sorted(found, key=lambda one: one[0])

    def by_period(self) -> list[tuple[int, Counts]]:
        """The counts of each block, with the period it begins at."""
        return [(index << level, counts) for (level, index), counts in self._blocks.items()]

    def total(self) -> Counts:
        """All counts."""
        every: Counts = Counter()
        for counts in self._blocks.values():
            every.update(counts)
        return every

    def state(self) -> BlocksState:
        """To be stored."""
        blocks = [
            (level, index, [(*cell, count) for cell, count in counts.items()])
            for (level, index), counts in self._blocks.items()
        ]
        return BlocksState(self.newest, self.first, blocks)

    @classmethod
    def of(cls, state: BlocksState) -> "Blocks":
        """As it was stored."""
        made = cls()
        made.newest, made.first = state.newest, state.first
        for level, index, cells in state.blocks:
            made._blocks[level, index] = Counter({Cell(what, one, two): count for what, one, two, count in cells})
        return made

    def _place(self, period: int) -> tuple[int, int]:
        level = 0
        while (self.newest >> level) - (period >> level) >= _SPLIT:
            level += 1
        return level, period >> level

    def _advance(self, period: int) -> None:
        self.newest = period
        before, self._blocks = self._blocks, {}
        for (level, index), counts in before.items():
            self._blocks.setdefault(self._place(index << level), Counter()).update(counts)
