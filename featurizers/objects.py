"""Reads the JSON objects that stand in a text, each value with its place.

Strings are known from the structure: a string begins only where a key or a value may, and whatever it holds is text. Sloppy
JSON is read as long as its structure is certain: prose and fences around it, comments, trailing commas, single quotes, raw
line breaks in strings, an end that was cut off. Where the structure breaks, reading ends: behind that place nobody can tell a
key from a quotation.
"""

import re
from typing import Literal, NamedTuple

from featurizers.caseless import caseless

Span = tuple[int, int]
End = Literal["complete", "cut", "broken"]


class Member(NamedTuple):
    """A key of an object's top level, caseless, and its value.

    `value` is the string or the bare word, unescaped; None for a list, an object, and a string that was cut off. `span` are
    its characters in the text, without quotes. `bare`: it is a word without quotes, as numbers are.
    """

    key: str
    value: str | None
    span: Span
    bare: bool


class Object(NamedTuple):
    """An object in a text, characters [start, end), and how it ends: cut where the text ends first."""

    start: int
    end: int
    members: list[Member]
    ending: End


_BEGIN = re.compile(r"""\{(?=\s*+(?:["'}]|//|/\*))""")
_STRING = r""""[^"\\]*+(?:\\.[^"\\]*+)*+"|'[^'\\]*+(?:\\.[^'\\]*+)*+'"""
_LEXEME = re.compile(
    rf"(?:\s++|//[^\n]*+|/\*(?:[^*]|\*(?!/))*+\*/)*+"
    rf"(?:(?P<string>{_STRING})|(?P<mark>[{{}}\[\]:,])|(?P<word>[^\s\"'{{}}\[\]:,/]++)|(?P<rest>.)|\Z)",
    re.DOTALL,
)
# A whole member whose value is a scalar, which most are: what the lexemes say one by one, at a third of the price.
_MEMBER = re.compile(
    rf"\s*+(?P<key>{_STRING})\s*+:\s*+(?:(?P<string>{_STRING})|(?P<word>[^\s\"'{{}}\[\]:,/]++))\s*+(?P<mark>[,}}])",
    re.DOTALL,
)
_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|x([0-9a-fA-F]{2})|(.))", re.DOTALL)
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f"}


def read_objects(text: str, start: int, stop: int) -> list[Object]:
    """The objects of a text's characters [start, stop), nested ones left out. Only the last one may be incomplete.

    Takes time linear in the text.
    """
    found: list[Object] = []
    position = start
    while (begin := _BEGIN.search(text, position, stop)) is not None:
        item = _Reader(text, begin.start(), stop).read()
        found.append(item)
        if item.ending != "complete":
            break
        position = item.end
    return found


class _Reader:
    """Reads one object; the stack holds the closing marks that are still to come."""

    def __init__(self, text: str, start: int, stop: int) -> None:
        self._text = text
        self._start = start
        self._stop = stop
        self._stack = ["}"]
        self._expects = "key"
        self._quotes = ""
        self._key = ""
        self._members: list[Member] = []

    def read(self) -> Object:
        """Read it to its end, or to where the text or the structure ends."""
        position = self._start + 1
        while True:
            if self._expects == "key" and (member := _MEMBER.match(self._text, position, self._stop)) is not None:
                position = member.end()
                if not self._take_member(member):
                    return self._object(member.end("key"), "broken")
                if not self._stack:
                    return self._object(position, "complete")
                continue
            lexeme = _LEXEME.match(self._text, position, self._stop)
            if lexeme is None or lexeme.lastgroup is None:
                return self._object(self._stop, "cut")
            kind, place = lexeme.lastgroup, lexeme.start(lexeme.lastgroup)
            position = lexeme.end()
            if kind == "rest":
                return self._opened(place)
            if not self._take(kind, place, position):
                return self._object(place, "broken")
            if not self._stack:
                return self._object(position, "complete")

    def _opened(self, place: int) -> Object:
        """A quote without its partner: a string that was cut off, if a string may begin here. Else, or a comment: broken."""
        if self._text[place] not in "\"'" or self._expects not in {"key", "value"}:
            return self._object(place, "broken")
        if self._expects == "value" and len(self._stack) == 1:
            self._members.append(Member(self._key, None, (place + 1, self._stop), bare=False))
        return self._object(self._stop, "cut")

    def _object(self, end: int, ending: End) -> Object:
        return Object(self._start, end, self._members, ending)

    def _take(self, kind: str, start: int, end: int) -> bool:
        """Take one lexeme; whether it may stand here."""
        if kind == "mark":
            return self._mark(self._text[start], start)
        if self._expects == "key":
            return kind == "string" and self._take_key(start, end)
        if self._expects != "value":
            if kind == "word" and len(self._stack) == 1 and self._members:  # two words: nobody knows which is the value
                self._members[-1] = self._members[-1]._replace(value=None)
            return False
        if kind == "string":
            start, end = start + 1, end - 1
        if len(self._stack) == 1:
            value = self._text[start:end] if kind == "word" else _unescaped(self._text[start:end])
            self._members.append(Member(self._key, value, (start, end), bare=kind == "word"))
        self._expects = "comma"
        return True

    def _take_member(self, member: re.Match[str]) -> bool:
        allowed = self._take_key(*member.span("key"))
        if allowed:
            self._expects = "value"
            kind = "string" if member["string"] is not None else "word"
            self._take(kind, *member.span(kind))
            self._mark(member["mark"], member.start("mark"))
        return allowed

    def _take_key(self, start: int, end: int) -> bool:
        # No writer quotes its keys in two ways: the other way is a quotation that got out of its string.
        quotes = self._text[start]
        self._quotes = self._quotes or quotes
        if len(self._stack) == 1:
            self._key = caseless(_unescaped(self._text[start + 1 : end - 1])).strip()
        self._expects = "colon"
        return quotes == self._quotes

    def _mark(self, mark: str, place: int) -> bool:
        if mark == ":":
            allowed, self._expects = self._expects == "colon", "value"
        elif mark == ",":
            allowed, self._expects = self._expects == "comma", "key" if self._stack[-1] == "}" else "value"
        elif mark in "{[":
            allowed = self._expects == "value"
            if len(self._stack) == 1:
                self._members.append(Member(self._key, None, (place, self._stop), bare=False))
            self._stack.append("}" if mark == "{" else "]")
            self._expects = "key" if mark == "{" else "value"
        else:
            # A comma before the end is let pass, a colon is not.
            inside = {"comma", "key"} if mark == "}" else {"comma", "value"}
            allowed, self._expects = self._stack.pop() == mark and self._expects in inside, "comma"
            if len(self._stack) == 1:
                self._members[-1] = self._members[-1]._replace(span=(self._members[-1].span[0], place + 1))
        return allowed


def _unescaped(string: str) -> str:
    if "\\" not in string:
        return string
    plain = _ESCAPE.sub(_character, string)
    # Two escapes may make one character; half of one cannot be encoded and stays as U+FFFD.
    return plain.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _character(escape: re.Match[str]) -> str:
    digits = escape[1] or escape[2]
    return chr(int(digits, 16)) if digits else _ESCAPES.get(escape[3], escape[3])
