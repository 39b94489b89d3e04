"""The tokens of one answer in compact columns.

A decoded answer of 15 tokens with 10 alternatives each is some 500 Python objects. Keeping a batch of them costs more than
decoding them: each is met again when it has left the processor's caches. So their numbers and strings are packed at once.
"""

import math
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from itertools import accumulate

from msgspec import Struct

from featurizers.align import align
from featurizers.objects import Span
from featurizers.spelling import SPELLINGS, plain
from featurizers.wire import Alternative, Token

_SEPARATOR = "\0"


class Tokens(Struct, gc=False):
    """t tokens that carry the answer, in order.

    `texts` are their strings, `lengths` the number of the answer's characters that begin in each (see `align`), `logprobs`
    in nats or None, `counts` how many alternatives each one has. `alternative_logprobs`, in nats, NaN = missing, are those of
    all tokens' alternatives, one behind the other; `joined_alternatives` the strings of those of the tokens `first` to `stop`.
    `gaps` and `whole` are `align`'s.
    """

    texts: list[str]
    lengths: list[int]
    logprobs: list[float | None]
    counts: list[int]
    alternative_logprobs: "array[float]"
    joined_alternatives: str
    first: int
    stop: int
    gaps: tuple[Span, ...] = ()
    whole: bool = True

    def alternative_texts(self, token: int) -> list[str]:
        """The strings of one token's alternatives; none for a token whose strings were not kept."""
        if not self.first <= token < self.stop:
            return []
        start = sum(self.counts[self.first : token])
        stop = start + self.counts[token]
        return self.joined_alternatives.split(_SEPARATOR, stop)[start:stop]


NO_TOKENS = Tokens([], [], [], [], array("d"), "", 0, 0)


def pack(tokens: Sequence[Token], text: str, label: Span | None) -> Tokens:
    """The tokens that carry the text.

    The strings of alternatives are worth keeping for the tokens of the `label`, characters [start, end), if one is given.
    """
    if not tokens:
        return NO_TOKENS
    texts = [token.token for token in tokens]
    gaps: tuple[Span, ...] = ()
    whole, spelling = True, SPELLINGS[0]
    if "".join(texts) != text:
        kept, lengths, gaps, whole, spelling = align(tokens, text)
        tokens = [tokens[i] for i in kept]
        texts = _spelled([token.token for token in tokens], spelling)
    else:
        if "" in texts:  # an end-of-turn token emits nothing
            tokens = [token for token in tokens if token.token]
            texts = [text for text in texts if text]
        lengths = list(map(len, texts))
    alternatives: list[Sequence[Alternative]] = [token.top_logprobs or () for token in tokens]
    first, stop = (0, len(texts)) if label is None else _overlapping(lengths, label)
    return Tokens(
        texts,
        lengths,
        [token.logprob for token in tokens],
        list(map(len, alternatives)),
        _numbers([item.logprob for items in alternatives for item in items]),
        _joined(_spelled([item.token for items in alternatives[first:stop] for item in items], spelling)),
        first,
        stop,
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


def _numbers(logprobs: list[float | None]) -> "array[float]":
    try:
        return array("d", logprobs)  # type: ignore[arg-type] # nearly never a None
    except TypeError:
        return array("d", [math.nan if logprob is None else logprob for logprob in logprobs])


def _joined(texts: list[str]) -> str:
    joined = _SEPARATOR.join(texts)
    if joined.count(_SEPARATOR) >= max(len(texts), 1):  # a token has one inside; no label does
        joined = _SEPARATOR.join([text.replace(_SEPARATOR, " ") for text in texts])
    return joined
