"""What stands around the objects of a text: whether one is the answer's own, or what the prose quotes, disowns or is about."""

import re
from collections import Counter
from typing import Literal

from featurizers.attribution import ANSWER_TAGS, disowned, named, speaker
from featurizers.caseless import WORD

_INVISIBLE = (
    " \t\u00ad\u061c\u200b\u200c\u200d\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2060\u2066\u2067\u2068\u2069\ufeff"
)
_QUOTING = (
    *"\"'`|\u2018\u2019\u201a\u201c\u201d\u201e\u00ab\u00bb\u2039\u203a\u275b\u275d\u276e\u300a\u300c\u300e\u3010\uff02\uff07",
    *("<!--", "<![CDATA["),
)
_BLOCK_QUOTE = re.compile(r"(?:(?:[-*+|\u2022]|\d+[.)])\s+)*+[>\uff1e]")
_INTRODUCING = re.compile(rf"(?:[:\uff1a=]|[=-]>|<(?:{ANSWER_TAGS})>)\Z", re.IGNORECASE)
_MARKS = re.compile('["\u201c\u201d\u201e\u00ab\u00bb\u300c\u300d\u300e\u300f]')
_SINGLE = str.maketrans("\u2018\u2019\u201a", "'''")
_SINGLES = re.compile(r"(?P<opens>(?<![^\s(\[:=>])'(?=\S))|(?<=\S)'(?!\w)")  # what is between letters is an apostrophe
_FENCE = re.compile(r"[^\S\n]*+(?:```+|~~~+)[^\S\n]*+\w*+[^\S\n]*+")
_FENCE_LINE = re.compile(rf"^{_FENCE.pattern}(?:\n|\Z)", re.MULTILINE)
_LEAD = re.compile(r"\s*+(?:(?:```+|~~~+)[^\S\n]*+\w*+\s*+|`)?+")
_TAIL = re.compile(r"\s*+(?:(?:```+|~~~+|`)\s*+)?+\ufffd?+")  # a character that the end cut in two


Standing = Literal["own", "aside", "foreign", "quoted"]
"""An object in the middle of a sentence stands aside: it may be what the sentence is about. One that is introduced as somebody
else's, or as no verdict, is foreign."""


class Prose:
    """Follows the quotation marks and the headings of a text's prose, piece by piece."""

    def __init__(self, text: str) -> None:
        self.named = True
        """Whether the last piece introduces what follows, and is not just sentences above it."""
        self._text = text
        self._straightened = text if text.isascii() else text.translate(_SINGLE)
        self._seen: Counter[str] = Counter()
        self._single = 0
        self._heading_foreign = False
        self._foreign = False

    def standing(self, start: int, stop: int) -> Standing:
        """How what follows the prose [start, stop) stands in it. Ask once a piece, in order."""
        piece = self._text[start:stop]
        self._seen.update(_MARKS.findall(piece))
        for mark in _SINGLES.finditer(self._straightened, start, stop):
            self._single = max(self._single + (1 if mark["opens"] else -1), 0)
        line = piece[piece.rfind("\n") + 1 :].strip(_INVISIBLE)
        if _FENCE.fullmatch(line):
            line = ""
        begins_line = start == 0 or "\n" in piece
        if self._open() or line.endswith(_QUOTING) or (begins_line and _BLOCK_QUOTE.match(line)):
            return "quoted"
        if quoting(piece):
            return "quoted"
        line = line.rstrip("[ *_")
        goes_on = WORD.search(line) is not None
        if goes_on and not _INTRODUCING.search(line):
            return "aside"
        return "foreign" if self._is_foreign(piece, ended=not goes_on) else "own"

    def _is_foreign(self, piece: str, *, ended: bool) -> bool:
        """What nothing but blanks, marks and fences part from the object before stands as that one does."""
        prose = _FENCE_LINE.sub("", piece)
        if WORD.search(prose):
            told = speaker(prose)
            self.named = named(prose)
            self._heading_foreign = self._heading_foreign if told is None else told
            self._foreign = self._heading_foreign or disowned(prose, ended=ended)
        return self._foreign

    def _open(self) -> bool:
        """Whether some quotation has begun and not ended. The German closing mark is the English opening one."""
        seen = self._seen
        if not seen:
            return self._single > 0
        low, high = seen["\u201e"], seen["\u201c"]
        return (
            self._single > 0
            or seen['"'] % 2 == 1
            or low + high - 2 * min(low, high) > seen["\u201d"]
            or seen["\u00ab"] != seen["\u00bb"]
            or seen["\u300c"] + seen["\u300e"] > seen["\u300d"] + seen["\u300f"]
        )


def quoting(prose: str) -> bool:
    """Whether the prose ends with a mark that opens a quotation, and no word beside it on its line."""
    last = _FENCE_LINE.sub("", prose).rstrip().rpartition("\n")[2].strip(_INVISIBLE)
    return last.endswith(_QUOTING) and not WORD.search(last)


def leads(text: str, start: int, stop: int) -> bool:
    """Whether nothing but blanks and the beginning of a code fence stand in [start, stop)."""
    return _LEAD.fullmatch(text, start, stop) is not None


def trails(text: str, start: int, stop: int) -> bool:
    """Whether nothing but blanks and the end of a code fence stand in [start, stop)."""
    return _TAIL.fullmatch(text, start, stop) is not None
