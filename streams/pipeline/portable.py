"""Requests as any JSON parser of 64 bits reads them. Pure.

JSON bounds neither numbers nor nesting, and lets a string hold half a surrogate pair; parsers do not. A human-review decision carries
its request, so one number of 400 digits would be a decision that its consumer cannot read, and stops at. Here such a number becomes a
string of its digits, and what lies too deep a string of its JSON: nothing of it is lost, and nothing else is changed.
"""

import math
import re
from typing import Final

import orjson

MOST_LEVELS: Final = 60
"""Arrays and objects in one another, the request itself being the first: with the decision around it, below .NET's default of 64."""
_LONGEST_NUMBER: Final = 64
"""Characters; a float64 needs 24. Jackson reads up to 1,000."""
_LEAST, _MOST = -(2**63), 2**64 - 1

_FLAT: Final = bytes.maketrans(b"123456789E", b"000000000e")
_LONG, _EXPONENT = b"0" * 19, b"0e000"
"""What a number that does not fit holds, flat and without signs; so do some ids, which are looked at closer."""
_LARGE: Final = re.compile(rb"[:,\[]\s*+-?(?:[0-9.]{19}|[0-9.]+[eE][+-]?[0-9]{3})")
_LONE: Final = re.compile(
    rb"(?:[^\\]++|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|\\(?!u[dD][89a-fA-F]).)*+\\u", re.DOTALL
)
"""All up to a single surrogate."""
_TOKEN: Final = re.compile(
    rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|[\[{\]}]|-?[0-9.]{19}[0-9.eE+-]*|-?[0-9][0-9.]*[eE][0-9.eE+-]+', re.DOTALL
)
"""Strings, what opens and closes, and numbers that may not fit."""
_ESCAPE: Final = re.compile(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|u[dD][89a-fA-F][0-9a-fA-F]{2}|.)", re.DOTALL
)
"""A pair of surrogates, a single one (of 6 bytes, alone of the three), or any other escape."""


def made_portable(value: bytes) -> bytes | None:
    """A JSON document with what only some parsers read as strings; None where it is portable as it is.

    Of what is no JSON it may make some, but none that says anything else.
    It is at most twice as long then. Most documents are told by a few passes at memory's speed; only what looks odd is gone through token by token.
    """
    return _rewritten(value) if _looks_odd(value) else None


def _looks_odd(value: bytes) -> bool:
    flat = value.translate(_FLAT, b"+-")
    if (_LONG in flat or _EXPONENT in flat) and _LARGE.search(value):
        return True
    if value.count(b"[") + value.count(b"{") > MOST_LEVELS:
        return True
    return b"\\" in value and b"\\u" in value and _LONE.match(value) is not None


def _rewritten(value: bytes) -> bytes | None:
    parts: list[bytes] = []
    done = depth = deep_from = 0
    for token in _TOKEN.finditer(value):
        text = token[0]
        start = token.start()
        if text in b"[{":
            depth += 1
            if depth == MOST_LEVELS + 1:
                deep_from = start
            continue
        new: bytes | None = None
        if text in b"]}":
            depth -= 1
            if depth == MOST_LEVELS:
                start = deep_from
                new = orjson.dumps(value[start : token.end()].decode())
        elif depth <= MOST_LEVELS:
            new = _string(text) if text[:1] == b'"' else _number(text)
        if new is not None:
            parts += [value[done:start], new]
            done = token.end()
    return b"".join((*parts, value[done:])) if parts else None


def _string(text: bytes) -> bytes | None:
    """A string whose single surrogates are told by their escapes; None where it has none."""
    if b"\\u" not in text or _LONE.match(text) is None:
        return None
    return _ESCAPE.sub(lambda escape: b"\\" + escape[0] if len(escape[0]) == 6 else escape[0], text)  # noqa: PLR2004 - see there


def _number(text: bytes) -> bytes | None:
    """A string of the digits of a number that 64 bits cannot hold; None where they can."""
    return None if len(text) <= _LONGEST_NUMBER and _fits(text) else b'"%b"' % text


def _fits(text: bytes) -> bool:
    mantissa, _, exponent = text.lower().partition(b"e")
    try:
        if not exponent and b"." not in text:
            return _LEAST <= int(text) <= _MOST
        value = float(text)
    except ValueError:
        return False  # no number in JSON either
    return math.isfinite(value) and (value != 0 or not mantissa.strip(b"-.0"))
