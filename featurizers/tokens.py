"""The tokens of one answer in compact columns.

A decoded answer of 15 tokens with 10 alternatives each is some 500 Python objects. Keeping a batch of them costs more than
decoding them: each is met again when it has left the processor's caches. So their numbers and strings are packed at once:
columns of numbers as bytes in the machine's order, ready to be one numpy array with those of the batch's other answers.
"""

import math
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from itertools import accumulate
from struct import unpack_from
from typing import Any, Final

from msgspec import Struct
from msgspec.structs import replace

from featurizers.align import align
from featurizers.objects import Span
from featurizers.spelling import SPELLINGS, plain
from featurizers.wire import Alternative, Token

INT32: Final = "i"
FLOAT64: Final = "d"
"""The columns' types, as `array`, `memoryview.cast` and numpy call them."""
INT32_BYTES: Final = 4

_SEPARATOR = "\0"


class Tokens(Struct, gc=False):
    """t tokens that carry the answer, in order. Columns are int32 [t] unless it says otherwise.

    `text` are their strings, one behind the other, `sizes` the characters of each; `lengths` are the number of the answer's
    characters that begin in each (see `align`), `logprobs`, float64 [t], in nats, NaN = missing, `counts` how many
    alternatives each one has. `alternative_logprobs`, float64, in nats, NaN = missing, are those of all tokens' alternatives,
    one behind the other; `alternatives` their strings in UTF-8, with a separator behind each, and `alternative_sizes` the bytes
    of each token's: 0 where they were not kept. `gaps` and `whole` are `align`'s.
    """

    text: str
    sizes: bytes
    lengths: bytes
    logprobs: bytes
    counts: bytes
    alternative_logprobs: bytes
    alternatives: bytes
    alternative_sizes: bytes
    gaps: tuple[Span, ...] = ()
    whole: bool = True

    @property
    def count(self) -> int:
        """T."""
        return len(self.sizes) // INT32_BYTES

    def texts(self, first: int, stop: int) -> list[str]:
        """The strings of the tokens `first` to `stop`, in the answer's own spelling."""
        sizes = _head(self.sizes, stop)
        end = sum(sizes[:first])
        return [self.text[end : (end := end + size)] for size in sizes[first:]]

    def alternative_texts(self, token: int) -> list[str]:
        """The strings of one token's alternatives; none for a token whose strings were not kept."""
        sizes = _head(self.alternative_sizes, token + 1)
        stop = sum(sizes)
        return split(self.alternatives[stop - sizes[token] : stop]) if sizes[token] else []

    def for_label(self, label: Span) -> "Tokens":
        """The same with the strings of alternatives of the tokens of a label alone, characters [start, end)."""
        first, stop = _overlapping(memoryview(self.lengths).cast(INT32), label)
        sizes = _head(self.alternative_sizes, self.count)
        begin, end = sum(sizes[:first]), sum(sizes[:stop])
        kept = _placed(sizes[first:stop], first, stop, self.count)
        return replace(self, alternatives=self.alternatives[begin:end], alternative_sizes=_column(kept))


NO_TOKENS = Tokens("", b"", b"", b"", b"", b"", b"", b"")


def split(alternatives: bytes) -> list[str]:
    """The strings of one alternative or more, from where they stand joined."""
    return alternatives[:-1].decode().split(_SEPARATOR)


def pack(tokens: Sequence[Token], text: str, label: Span | None) -> Tokens:
    """The tokens that carry the text.

    The strings of alternatives are worth keeping for the tokens of the `label`, characters [start, end), if one is given.
    """
    if not tokens:
        return NO_TOKENS
    texts = [token.token for token in tokens]
    spelled = "".join(texts)
    gaps: tuple[Span, ...] = ()
    whole, spelling = True, SPELLINGS[0]
    if spelled != text:
        kept, lengths, gaps, whole, spelling = align(tokens, text)
        tokens = [tokens[i] for i in kept]
        texts = _spelled([token.token for token in tokens], spelling)
        spelled, sizes = "".join(texts), list(map(len, texts))
    else:
        if "" in texts:  # an end-of-turn token emits nothing
            tokens = [token for token in tokens if token.token]
            texts = [text for text in texts if text]
        sizes = lengths = list(map(len, texts))
    alternatives: list[Sequence[Alternative]] = [token.top_logprobs or () for token in tokens]
    first, stop = (0, len(texts)) if label is None else _overlapping(lengths, label)
    strings, string_sizes = _joined(alternatives[first:stop], spelling)
    return Tokens(
        spelled,
        _column(sizes),
        _column(lengths),
        _numbers([token.logprob for token in tokens]),
        _column(list(map(len, alternatives))),
        _numbers([item.logprob for items in alternatives for item in items]),
        strings,
        _column(_placed(string_sizes, first, stop, len(texts))),
        gaps,
        whole,
    )


def _spelled(texts: list[str], spelling: Callable[[str], bytes]) -> list[str]:
    """The tokens' strings without their vocabulary's spelling."""
    return texts if spelling is plain else [spelling(text).decode(errors="replace") for text in texts]


def _overlapping(lengths: Sequence[int], label: Span) -> tuple[int, int]:
    """The tokens that overlap a character range, [first, stop)."""
    ends = list(accumulate(lengths))
    return bisect_right(ends, label[0]), bisect_left(ends, label[1]) + 1


def _placed(numbers: Sequence[int], first: int, stop: int, count: int) -> list[int]:
    """A column of a length with these numbers in place of [first, stop), and else noughts."""
    column = [0] * count
    column[first:stop] = numbers
    return column


def _head(column: bytes, count: int) -> tuple[int, ...]:
    """The first numbers of a column."""
    return unpack_from(f"{count}{INT32}", column)


def _column(numbers: list[int]) -> bytes:
    return array(INT32, numbers).tobytes()


def _numbers(logprobs: list[Any]) -> bytes:
    try:
        return array(FLOAT64, logprobs).tobytes()  # nearly never a None
    except TypeError:
        return array(FLOAT64, [math.nan if logprob is None else logprob for logprob in logprobs]).tobytes()


def _joined(alternatives: Sequence[Sequence[Alternative]], spelling: Callable[[str], bytes]) -> tuple[bytes, list[int]]:
    """The strings of tokens' alternatives in UTF-8, a separator behind each, and the bytes of each token's."""
    strings = [
        (_SEPARATOR.join([one.token for one in items]) + _SEPARATOR).encode() if items else b""
        for items in alternatives
    ]
    joined = b"".join(strings)
    if spelling is not plain or joined.count(_SEPARATOR.encode()) > sum(map(len, alternatives)):
        spelled = [_spelled([one.token for one in items], spelling) for items in alternatives]
        strings = [b"".join([_separated(text) for text in texts]) for texts in spelled]
        joined = b"".join(strings)
    return joined, list(map(len, strings))


def _separated(text: str) -> bytes:
    """A string with its separator, and none inside: no label has one."""
    return (text.replace(_SEPARATOR, " ") + _SEPARATOR).encode()
