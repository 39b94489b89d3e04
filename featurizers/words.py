"""Reads labels that stand outside of JSON: as an answer's first word, or behind a name on a line of its own."""

import re
from collections.abc import Iterable, Iterator

from featurizers.caseless import caseless, in_word
from featurizers.objects import Span

Value = tuple[str, Span]

# A label stands for itself only where a line, a sentence or a clause ends behind it: not in "safe to say" or "0.5".
_BEHIND = re.compile(r"""[*_`"'~)\]|\u201d\u2019]*+(?:[^\S\n]*+(?:\n|\Z|[.,:;!\u2013\u2014-]++(?=\s|\Z|[*_`"'])))""")
_ASIDE = re.compile(r"[^\S\n]*+>|[^\n]*\{")
_NUMBER_GOES_ON = "-+.,/"
_LIST_NUMBER = re.compile(r"[*_]*+[.)][*_]*+[^\S\n]++\S")
# Labels that prose is full of count behind the first line only where they stand for themselves, as numbers do.
_PROSE_WORDS = frozenset({"a", "i", "no", "o"})
_LINE = re.compile(r"^[^\S\n]*+[*_#\-]*+[^\S\n]*+([^\n:\uff1a]++)[:\uff1a][ \t*_`\"']*+([^\n]*+)$", re.MULTILINE)
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
        """The label that the text begins with, and every other one behind it."""
        begin = self._begin(text, start, stop)
        if begin is None or _ASIDE.match(text, text.rfind("\n", start, begin) + 1 or start, begin):
            return []
        found = self._at(text, begin, stop)
        if found is None or not self._alone(text, begin, found[1][1], start, stop):
            return []
        end = found[1][1]
        line_end = text.find("\n", end, stop)
        line_end = stop if line_end < 0 else line_end
        later = [
            (word, span)
            for word, span in self._within(text, line_end, stop)
            if not (word.isdigit() or caseless(word) in _PROSE_WORDS) or self._alone(text, *span, start, stop)
        ]
        return [found, *self._within(text, end, line_end), *later]

    def _begin(self, text: str, start: int, stop: int) -> int | None:
        """Where the first word begins, behind blanks and decoration."""
        for index in range(start, stop):
            character = text[index]
            if character.isalnum() or character in self._letters:
                return index
        return None

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
        is_number = text[begin].isdigit() and _LIST_NUMBER.match(text, end, stop) is not None
        return not (goes_on or is_number) and _BEHIND.match(text, end, stop) is not None


def read_lines(text: str, start: int, stop: int) -> list[tuple[str, Value]]:
    """The lines `name: value`: the name's caseless form, and the value without blanks and decoration around it."""
    found = []
    for match in _LINE.finditer(text[start:stop]):
        value = match[2].rstrip(_BESIDE)
        begin = start + match.start(2)
        found.append((caseless(match[1].strip(_BESIDE)), (value, (begin, begin + len(value)))))
    return found
