"""Lays an answer's tokens along its text: which tokens carry the answer, and how many characters each one begins.

Nearly always the tokens, concatenated, are the text. Where they are not, the text is looked up among their bytes: the
server may have cut off reasoning or end-of-turn tokens, trimmed blanks, split a character over tokens, or given the tokens
as the vocabulary spells them. Where a token's bytes are lost, the others are placed from the text's two ends and, between
lost ones, wherever their bytes stand once only; what lies between is a gap, of which nothing is said.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from featurizers.objects import Span
from featurizers.spelling import SPELLINGS, token_bytes
from featurizers.wire import Token

_TRIMMED = " \t\r\n\ufffd"  # U+FFFD stands for the bytes of a character that max_tokens cut in two
_LOST = "\ufffd".encode()
_MOST_TRAILING = 4  # end-of-turn tokens, and blanks that the server trimmed
_MOST_RUNS = 32
_SHORTEST_RUN = 3  # bytes
_SHORTEST_HEAD = 8  # bytes, for a text that begins behind tokens that are not its own


class Aligned(NamedTuple):
    """`kept` are the indices of the tokens that overlap the text, `lengths` the number of its characters beginning in each.

    `gaps` are characters [start, end) whose tokens are unknown. `whole` says that the kept tokens are known to be the
    text's, all of them and no others; `spelling` reads a token's string.
    """

    kept: list[int]
    lengths: list[int]
    gaps: tuple[Span, ...]
    whole: bool
    spelling: Callable[[str], bytes]


def align(tokens: Sequence[Token], text: str) -> Aligned:
    """Lay the tokens along the text.

    Tokens that emit nothing, such as the end-of-turn token, are left out. If no part of the text can be found, every token
    that emits something is kept and all of the text is a gap: whole-answer statistics stand, nothing can be located.
    """
    best: Aligned | None = None
    for spelling in SPELLINGS:
        pieces = [token_bytes(token, spelling) for token in tokens]
        for target in (text, text.strip(_TRIMMED)):
            found = _overlap(pieces, target)
            if found is not None:
                kept = [i for i, length in enumerate(found) if length is not None]
                counts = [found[i] or 0 for i in kept]
                counts[0] += len(text) - len(text.lstrip(_TRIMMED)) if target != text else 0
                return Aligned(kept, counts, (), True, spelling)
        patched = _Patches(pieces, text).aligned(spelling)
        if best is None or _missing(patched) < _missing(best):
            best = patched
    return best if best is not None else Aligned([], [], (), True, SPELLINGS[0])


def _missing(aligned: Aligned) -> int:
    return sum(end - start for start, end in aligned.gaps)


def _begins(wanted: bytes) -> NDArray[np.int64]:
    """For each offset, how many characters begin before it."""
    return np.cumsum((np.frombuffer(b"\x80" + wanted, dtype=np.uint8) & 0xC0) != 0x80)  # noqa: PLR2004 -- UTF-8


def _overlap(pieces: Sequence[bytes], target: str) -> list[int | None] | None:
    """For each piece, how many of the target's characters begin in it, None if it lies outside; None if not found."""
    wanted = target.encode("utf-8", "surrogatepass")
    joined = b"".join(pieces)
    # The last occurrence, since what precedes an answer may quote it; searched backwards because rfind is quadratic.
    before_end = joined[::-1].find(wanted[::-1]) if wanted else -1
    if before_end < 0:
        return None
    start = len(joined) - before_end - len(wanted)
    begins = _begins(wanted)
    ends = np.cumsum([len(piece) for piece in pieces]) - start
    stops = np.clip(ends, 0, len(wanted))
    starts = np.append(np.clip(-start, 0, len(wanted)), stops[:-1])
    counts = begins[stops] - begins[starts]
    return [int(count) if stop > first else None for count, first, stop in zip(counts, starts, stops, strict=True)]


class _Patches:
    """Places the pieces whose bytes are known. `places[i]` is where piece i begins in the wanted bytes."""

    def __init__(self, pieces: Sequence[bytes], text: str) -> None:
        self._pieces = pieces
        self._wanted = text.encode("utf-8", "surrogatepass")
        self._good = [bool(piece) and _LOST not in piece for piece in pieces]
        self._places: dict[int, int] = {}
        self._first = 0  # the first piece of the text
        self._stop = len(pieces)

    def aligned(self, spelling: Callable[[str], bytes]) -> Aligned:
        """Place what can be placed, and say where the gaps are."""
        last, end = self._from_the_end()
        first, start, headed = self._from_the_start(last, end)
        self._between(first, start, last, end)
        if not self._places:
            self._stop = len(self._pieces)
        kept = [i for i in range(self._first, self._stop) if self._pieces[i]]
        # Without the text's head it is not known which of the tokens in front are the text's own.
        front = kept[: next((n for n, i in enumerate(kept) if i in self._places), len(kept))]
        whole = headed or not self._places or not any(self._good[i] for i in front)
        begins, size = _begins(self._wanted), len(self._wanted)
        starts, gaps = [0] * len(kept), []
        known = [(n, self._places[i]) for n, i in enumerate(kept) if i in self._places]
        ends = {n: place + len(self._pieces[kept[n]]) for n, place in known}
        for (before, _), (after, place) in pairwise([(-1, 0), *known, (len(kept), size)]):
            gap = ends.get(before, 0)
            if gap < place:
                gaps.append((int(begins[gap]), int(begins[place])))
            for n in range(before + 1, after):
                starts[n] = gap if n == before + 1 else place
            if after < len(kept):
                starts[after] = place
        if starts:
            starts[0] = 0
        counts = [int(begins[b] - begins[a]) for a, b in pairwise([*starts, size])]
        return Aligned(kept, counts, tuple(gaps), whole, spelling)

    def _from_the_end(self) -> tuple[int, int]:
        """Place pieces backwards from the text's end; the first one placed, and where it begins."""
        best = (0, len(self._pieces), len(self._wanted), len(self._pieces))
        for stop in range(len(self._pieces), max(len(self._pieces) - _MOST_TRAILING, 0), -1):
            index, end = stop, len(self._wanted)
            while index and self._good[index - 1] and self._wanted.endswith(self._pieces[index - 1], 0, end):
                index -= 1
                end -= len(self._pieces[index])
            best = max(best, (len(self._wanted) - end, index, end, stop), key=lambda found: found[0])
        _, index, end, self._stop = best
        self._place(index, self._stop, end)
        return index, end

    def _from_the_start(self, stop: int, end: int) -> tuple[int, int, bool]:
        """Place pieces forwards from the text's start; the piece and the byte behind, and whether there were any."""
        best, steps = (0, 0, 0), 4 * len(self._pieces) + 1000
        for first in range(stop):
            index, start = first, 0
            while (
                steps > 0
                and index < stop
                and self._good[index]
                and self._wanted.startswith(self._pieces[index], start, end)
            ):
                start += len(self._pieces[index])
                index += 1
                steps -= 1
            if start >= best[0] and start and (not first or start >= _SHORTEST_HEAD):
                best = (start, first, index)
        start, self._first, index = best
        self._place(self._first, index, 0)
        return index, start, start > 0 or not stop

    def _between(self, first: int, start: int, stop: int, end: int) -> None:
        """Place the runs of known pieces that stand once only between what is placed."""
        runs: list[list[int]] = [[]]
        for index in range(first, stop):
            if self._good[index]:
                runs[-1].append(index)
            elif runs[-1]:
                runs.append([])
        texts = [(b"".join(self._pieces[i] for i in run), run[0], run[-1] + 1) for run in runs if run]
        longest = sorted(texts, key=lambda item: -len(item[0]))[:_MOST_RUNS]
        found = []
        for text, begin, behind in longest:
            place = self._wanted.find(text, start, end) if len(text) >= _SHORTEST_RUN else -1
            if place >= 0 and self._wanted.find(text, place + 1, end) < 0:
                found.append((begin, behind, place, place + len(text)))
        found.sort()
        if all(before[3] <= after[2] for before, after in pairwise(found)):
            for begin, behind, place, _ in found:
                self._place(begin, behind, place)

    def _place(self, first: int, stop: int, place: int) -> None:
        for index in range(first, stop):
            self._places[index] = place
            place += len(self._pieces[index])
