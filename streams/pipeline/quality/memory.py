"""Answers that went to humans, remembered until somebody speaks of them, in little room: 14 bytes each. Pure.

The latest are in a dict. Every `PAGE` of them become a page: sorted arrays that never change, so a page is stored once, under the digest of its
bytes. What does change, of which of them a human has spoken, is a bit each, and stands beside.
"""

from collections.abc import Collection, Mapping, Sequence
from functools import cached_property
from hashlib import blake2b
from typing import Final, NamedTuple, Self

import msgspec
import numpy as np
from numpy.typing import NDArray

from streams.pipeline.quality.items import Item, Lot

PAGE: Final = 16_384
"""Answers of a page: as bytes it fits into one record, however different they are."""


class _Packed(msgspec.Struct, array_like=True):
    abouts: bytes
    scored: bytes
    lots: bytes
    table: bytes


class Page:
    """n answers, sorted by what they are known by: `abouts` [n], P(error) `scored` [n], and which row of `table` [lots, fields] is the `Lot`."""

    def __init__(
        self, abouts: NDArray[np.uint64], scored: NDArray[np.int32], lots: NDArray[np.uint16], table: NDArray[np.int32]
    ) -> None:
        self.abouts, self.scored, self.lots, self.table = abouts, scored, lots, table
        self.spoken = np.zeros(len(abouts), dtype=bool)
        self._lots: dict[int, Lot] = {}
        """Those that were asked for: one for all answers that have it in common."""

    @classmethod
    def of(cls, items: Mapping[int, Item], spoken: Collection[int]) -> Self:
        """Of answers by what they are known by, and those of them that humans have spoken of."""
        abouts = sorted(items)
        table: dict[Lot, int] = {}
        lots = [table.setdefault(items[about].lot, len(table)) for about in abouts]
        made = cls(
            np.array(abouts, dtype="<u8"),
            np.array([items[about].scored for about in abouts], dtype="<i4"),
            np.array(lots, dtype="<u2"),
            np.array(list(table), dtype="<i4").reshape(-1, len(Lot._fields)),
        )
        made.spoken[:] = [about in spoken for about in abouts]
        return made

    @cached_property
    def name(self) -> str:
        """The digest of its bytes."""
        return blake2b(self.packed(), digest_size=16).hexdigest()

    def packed(self) -> bytes:
        """All but what has been spoken of."""
        return msgspec.msgpack.encode(
            _Packed(*(one.tobytes() for one in (self.abouts, self.scored, self.lots, self.table)))
        )

    @classmethod
    def unpacked(cls, body: bytes, spoken: bytes) -> Self:
        """As it was packed. Raises msgspec.DecodeError or ValueError on what is none."""
        packed = msgspec.msgpack.decode(body, type=_Packed)
        made = cls(
            np.frombuffer(packed.abouts, dtype="<u8"),
            np.frombuffer(packed.scored, dtype="<i4"),
            np.frombuffer(packed.lots, dtype="<u2"),
            np.frombuffer(packed.table, dtype="<i4").reshape(-1, len(Lot._fields)),
        )
        made.spoken[:] = np.unpackbits(np.frombuffer(spoken, dtype=np.uint8), count=len(made.abouts))
        return made

    def rows(self, abouts: NDArray[np.uint64]) -> NDArray[np.int64]:
        """The row of each, -1 of those that are not here."""
        rows = np.searchsorted(self.abouts, abouts).astype(np.int64)
        rows[rows == len(self.abouts)] = 0
        return np.where(self.abouts[rows] == abouts, rows, -1)

    def item(self, row: int) -> Item:
        """The answer of a row."""
        number = int(self.lots[row])
        lot = self._lots.get(number)
        if lot is None:
            lot = self._lots[number] = Lot(*self.table[number].tolist())
        return Item(lot, int(self.scored[row]))


class Found(NamedTuple):
    """An answer that is remembered: of a page the row, None of the latest ones."""

    item: Item
    page: Page | None = None
    row: int = 0


class MemoryState(msgspec.Struct, array_like=True):
    """`Memory` to be stored: its pages by name, and the latest as a page of their own; each with the bits of what has been spoken of."""

    pages: list[tuple[str, bytes]]
    latest: tuple[bytes, bytes]


class Memory:
    """At least the latest `most` answers, by numbers of 64 bits that tell them apart."""

    def __init__(self, most: int) -> None:
        self._most_pages = -(-most // PAGE)
        self.pages: list[Page] = []
        self._latest: dict[int, Item] = {}
        self._spoken: set[int] = set()

    def __len__(self) -> int:
        return len(self._latest) + sum(len(page.abouts) for page in self.pages)

    def find(self, abouts: Sequence[int]) -> dict[int, Found]:
        """Those of them that are remembered."""
        asked = np.array(abouts, dtype=np.uint64)
        found = {about: Found(self._latest[about]) for about in abouts if about in self._latest}
        for page in self.pages:
            rows = page.rows(asked)
            for where in np.flatnonzero(rows >= 0).tolist():
                row = int(rows[where])
                found[abouts[where]] = Found(page.item(row), page, row)
        return found

    def add(self, about: int, item: Item) -> None:
        """Remember one that is not."""
        self._latest[about] = item

    def speak(self, about: int, found: Found) -> bool:
        """Note that a human has spoken of it; whether that is the first time."""
        if found.page is None:
            was_spoken = about in self._spoken
            self._spoken.add(about)
        else:
            was_spoken = bool(found.page.spoken[found.row])
            found.page.spoken[found.row] = True
        return not was_spoken

    def turn(self) -> int:
        """Make a page of the latest where they are enough, and let the oldest go; how many of those nobody had spoken of.

        What was found before must not be used after.
        """
        if len(self._latest) < PAGE:
            return 0
        self.pages.append(Page.of(self._latest, self._spoken))
        self._latest, self._spoken = {}, set()
        gone, self.pages = self.pages[: -self._most_pages], self.pages[-self._most_pages :]
        return sum(int((~page.spoken).sum()) for page in gone)

    def state(self) -> MemoryState:
        """To be stored, beside its pages."""
        latest = Page.of(self._latest, self._spoken)
        pages = [(page.name, np.packbits(page.spoken).tobytes()) for page in self.pages]
        return MemoryState(pages, (latest.packed(), np.packbits(latest.spoken).tobytes()))

    def restore(self, state: MemoryState, pages: Mapping[str, bytes]) -> int:
        """Be as it was stored; how many pages are missing. What they held is forgotten."""
        self.pages = [Page.unpacked(pages[name], spoken) for name, spoken in state.pages if name in pages]
        latest = Page.unpacked(*state.latest)
        abouts = latest.abouts.tolist()
        self._latest = {about: latest.item(row) for row, about in enumerate(abouts)}
        self._spoken = {about for row, about in enumerate(abouts) if latest.spoken[row]}
        return len(state.pages) - len(self.pages)
