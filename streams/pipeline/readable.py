"""Records of a topic that anybody may write to: those that are what they should be; the rest is passed by."""

from collections.abc import Iterable, Iterator
from typing import TypeVar

import msgspec

_T = TypeVar("_T")


def readable(values: Iterable[bytes], kind: type[_T]) -> Iterator[_T]:
    """The values that are JSON of this kind, read."""
    decode = msgspec.json.Decoder(kind).decode
    for value in values:
        try:
            one = decode(value)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            continue
        yield one
