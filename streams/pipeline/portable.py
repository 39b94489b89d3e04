"""Requests as any JSON parser of 64 bits reads them. Pure.

JSON bounds neither numbers nor nesting, and lets a string hold half a surrogate pair; parsers do not. A human-review decision carries
its request, so one number of 400 digits would be a decision that its consumer cannot read, and stops at. Here such a number becomes a
string of its digits, and what goes too deep a string of its JSON: nothing of it is lost, and nothing else is changed.

Whoever writes a request may make it as odd as they like, so nothing here goes through it character by character: arrays of its bytes,
regular expressions that never look back, and Python for what is odd alone.
"""

import math
import re
from typing import Final

import numpy as np
import orjson

MOST_LEVELS: Final = 60
"""Arrays and objects in one another, the request itself being the first: with the decision around it, below .NET's default of 64."""
CUT_BELOW: Final = 30
"""The level below which what goes too deep is told as text. Halfway, so that what is cut is long: many short cuts would take long."""
_LONGEST_NUMBER: Final = 64
"""Characters; a float64 needs 24. Jackson reads up to 1,000."""
_LEAST, _MOST = -(2**63), 2**64 - 1

_FLAT: Final = bytes.maketrans(b"123456789E,[}", b"000000000e::]")
_DROPPED: Final = b"+- \t\n\v\f\r"
_MAYBE_LARGE: Final = re.compile(rb":0(?:0{18}|[0.]*+(?:(?<=0)e000|(?<=[0.]{60})))")
"""What a document with such a number holds once it is flat: quick to look for, as it begins with the same two bytes always."""
_LARGE: Final = re.compile(
    rb"[:,\[]\s*+(-?(?:[0-9]{19,}+(?![.eE])|[0-9.]++(?:[eE][+-]?[0-9]{3}|(?<=[0-9.]{60})))[0-9.eE+-]*+)"
)
"""Numbers that may not fit."""
_LONE: Final = re.compile(
    rb"\\(?=u[dD](?:[89abAB]XX(?!\\u[dD][c-fC-F]XX)|[c-fC-F]XX(?<!\\u[dD][89abAB]XX\\u[dD][c-fC-F]XX)))".replace(
        b"X", b"[0-9a-fA-F]"
    )
)
"""The backslash of a single surrogate, where every backslash begins an escape."""
_NOT_JSON: Final = re.compile(rb"[\0-\x08\x0b\x0c\x0e-\x1f]")
"""What stands nowhere in JSON, and would take six bytes each in a string."""
_QUOTE, _OPENING, _CLOSING = b'"{}'
_FOLD: Final = _OPENING - ord("[")


def made_portable(value: bytes) -> bytes | None:
    """A JSON document in UTF-8 with what only some parsers read as strings; None where it is portable as it is.

    Of what is no JSON it may make some, but none that says anything else. It is at most twice as long then.
    """
    new, flat = value, value.translate(_FLAT, _DROPPED)
    if flat.count(b"]") > MOST_LEVELS:
        new = _not_too_deep(new)
    if _MAYBE_LARGE.search(flat):
        new = _numbers_that_fit(new)
    if b"\\" in value and (b"\\ud" in value or b"\\uD" in value) and b"\0" not in value:
        new = _pairs_alone(new)
    return None if new == value else new


def _without_text(value: bytes) -> bytes:
    """The document, as long as it is, with quotation marks for all that its strings hold."""
    chars = np.frombuffer(value.replace(b"\\\\", b"..").replace(b'\\"', b".."), np.uint8)
    inside = np.logical_xor.accumulate(chars == _QUOTE)
    return np.where(inside, np.uint8(_QUOTE), chars).tobytes()


def _not_too_deep(value: bytes) -> bytes:
    folded = np.frombuffer(_without_text(value), np.uint8) | _FOLD
    steps = (folded == _OPENING).view(np.int8) - (folded == _CLOSING).view(np.int8)
    level = np.cumsum(steps, dtype=np.int32)
    if level.max() <= MOST_LEVELS or _NOT_JSON.search(value):
        return value
    deep = np.flatnonzero(level > MOST_LEVELS)
    closed = np.flatnonzero((level == CUT_BELOW) & (steps < 0)) + 1
    opened = np.flatnonzero((level == CUT_BELOW + 1) & (steps > 0))[: len(closed)]  # the last one may never be closed
    cut = np.searchsorted(deep, opened) < np.searchsorted(deep, closed)
    pieces, done = [], 0
    for start, end in zip(opened[cut].tolist(), closed[cut].tolist(), strict=True):
        pieces += [value[done:start], orjson.dumps(value[start:end].decode())]
        done = end
    return b"".join((*pieces, value[done:]))


def _numbers_that_fit(value: bytes) -> bytes:
    large = _LARGE.finditer(_without_text(value))
    edges = [edge for found in large if not _fits(found[1]) for edge in found.span(1)]
    return np.insert(np.frombuffer(value, np.uint8), edges, _QUOTE).tobytes()


def _pairs_alone(value: bytes) -> bytes:
    """Single surrogates as their escapes, to be seen. JSON has no zero bytes: here they stand for backslashes that begin nothing."""
    return _LONE.sub(b"\0\0", value.replace(b"\\\\", b"\0\0")).replace(b"\0", b"\\")


def _fits(number: bytes) -> bool:
    """Whether 64 bits can hold it."""
    if len(number) > _LONGEST_NUMBER:
        return False
    mantissa, _, exponent = number.lower().partition(b"e")
    try:
        if not exponent and b"." not in number:
            return _LEAST <= int(number) <= _MOST
        value = float(number)
    except ValueError:
        return False  # no number in JSON either
    return math.isfinite(value) and (value != 0 or not mantissa.strip(b"-.0"))
