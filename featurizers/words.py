"""Reads labels that stand outside of JSON: as an answer's first word, or behind a name on a line of its own."""

import re
from collections.abc import Iterable, Iterator, Mapping

from featurizers.caseless import caseless, in_word
from featurizers.objects import Span

Value = tuple[str, Span]

# A label stands for itself only where a line, a sentence or a clause ends behind it: not in "safe to say" or "0.5".
_BEHIND = re.compile(r"""[*_`"'~)\]|\u201d\u2019]*+(?:[^\S\n]*+(?:\n|\Z|[.,:;!\u2013\u2014-]++(?=\s|\Z|[*_`"'])))""")
_ASIDE = re.compile(r"[^\S\n]*+>|[^\n]*\{")
_NUMBER_GOES_ON = "-+.,/"
_LINE = re.compile(r"^[^\S\n]*+[*_#\-]*+[^\S\n]*+([^\n:]++):[ \t*_`\"']*+([^\n]*+)$", re.MULTILINE)
_BESIDE = " \t\r*_`\"'"


class Words:
    """The labels of a spec, to be found as words: by caseless comparison, never inside a longer word."""

    def __init__(self, labels: Iterable[str]) -> None:
        self._labels = set(labels)
        # A label may be longer or shorter than what it is the caseless form of, by the marks that compose and expand.
        self._longest = 3 * max(map(len, self._labels), default=0)
        self._first = {label[0] for label in self._labels}
        self._letters = {label[0] for label in self._labels if not in_word(label[0])}

    def first(self, text: str, start: int, stop: int) -> list[Value]:
        """The label that the text begins with, and every other one that its line goes on with or a later line is."""
        begin = self._begin(text, start, stop)
        if begin is None or _ASIDE.match(text, text.rfind("\n", start, begin) + 1 or start, begin):
            return []
        found = self._at(text, begin, stop)
        if found is None or not self._alone(text, begin, found[1][1], start, stop):
            return []
        values = [found]
        line_end = text.find("\n", found[1][1], stop)
        line_end = stop if line_end < 0 else line_end
        values += self._within(text, found[1][1], line_end)
        for begin in self._line_starts(text, line_end, stop):
            found = self._at(text, begin, stop)
            if found is not None and self._alone(text, begin, found[1][1], begin, stop):
                values.append(found)
        return values

    def _begin(self, text: str, start: int, stop: int) -> int | None:
        """Where the first word begins, behind blanks and decoration."""
        for index in range(start, stop):
            character = text[index]
            if character.isalnum() or character in self._letters:
                return index
        return None

    def _line_starts(self, text: str, start: int, stop: int) -> Iterator[int]:
        while 0 <= start < stop:
            line_end = text.find("\n", start + 1, stop)
            begin = self._begin(text, start, stop if line_end < 0 else line_end)
            if begin is not None:
                yield begin
            start = line_end

    def _within(self, text: str, start: int, stop: int) -> Iterator[Value]:
        for index in range(start, stop):
            if not in_word(text[index - 1]) and caseless(text[index])[:1] in self._first:
                found = self._at(text, index, stop)
                if found is not None:
                    yield found

    def _at(self, text: str, begin: int, stop: int) -> Value | None:
        """The longest label that begins here and ends where a word does."""
        for end in range(min(stop, begin + self._longest), begin, -1):
            if end < stop and in_word(text[end]) and in_word(text[end - 1]):
                continue
            if caseless(text[begin:end]) in self._labels:
                return text[begin:end], (begin, end)
        return None

    def _alone(self, text: str, begin: int, end: int, start: int, stop: int) -> bool:
        goes_on = begin > start and text[begin].isdigit() and text[begin - 1] in _NUMBER_GOES_ON
        return not goes_on and _BEHIND.match(text, end, stop) is not None


def read_lines(text: str, start: int, stop: int, names: Mapping[str, str]) -> dict[str, list[Value]]:
    """The values of the lines `name: value`, by the names' caseless forms; blanks and decoration around a value left off."""
    found: dict[str, list[Value]] = {}
    piece = text[start:stop]
    for match in _LINE.finditer(piece):
        name = names.get(caseless(match[1].strip(_BESIDE)))
        if name is not None:
            value = match[2].rstrip(_BESIDE)
            begin = start + match.start(2)
            found.setdefault(name, []).append((value, (begin, begin + len(value))))
    return found
