"""All tokens of a batch as flat arrays, and the uncertainty of each token's alternatives."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featurizers.ragged import Floats, Ints, Spans, clean, reduce_segments
from featurizers.tokens import FLOAT64, INT32, Tokens

MIN_ALTERNATIVES = 2  # one alternative alone says nothing about the rest of the distribution


@dataclass(frozen=True)
class TokenTable:
    """The t tokens of n answers, one behind the other; answer i owns those from `offsets[i]` to `offsets[i + 1]`.

    Float64 [t], NaN = missing: `logprob` in nats, `entropy` in nats and `margin` p(1) - p(2) of the renormalised
    alternatives. `alternatives` are the log-probabilities of all tokens' alternatives; token j owns those from
    `alternative_offsets[j]` to `alternative_offsets[j + 1]`. `char_offsets[j]` is where token j starts in the batch's joined
    texts, `string_offsets[j]` in its tokens' joined strings, which may differ from them (see `align`), and
    `alternative_string_offsets[j]` where its alternatives' do in those of all, in bytes.
    """

    offsets: Ints
    char_offsets: Ints
    string_offsets: Ints
    alternative_string_offsets: Ints
    logprob: Floats
    alternatives: Floats
    alternative_offsets: Ints

    @cached_property
    def _distributions(self) -> tuple[Floats, Floats]:
        return distributions(self.alternatives, self.alternative_offsets)

    @property
    def entropy(self) -> Floats:
        """Float64 [t]."""
        return self._distributions[0]

    @property
    def margin(self) -> Floats:
        """Float64 [t]."""
        return self._distributions[1]

    @property
    def answers(self) -> Spans:
        """The tokens of each answer."""
        return Spans(self.offsets[:-1], self.offsets[1:])

    def spans(self, chars: Ints) -> Spans:
        """The tokens that overlap one character range [start, end) of each answer's text, given as int64 [n, 2]."""
        ends = self.char_offsets[1:]
        base = self.char_offsets[self.offsets[:-1]]
        first = np.searchsorted(ends, base + chars[:, 0], side="right")
        stop = np.searchsorted(ends, base + chars[:, 1], side="left") + 1
        present = (chars[:, 0] < chars[:, 1]) & (first >= self.offsets[:-1]) & (stop <= self.offsets[1:])
        return Spans(np.where(present, first, 0), np.where(present, stop, 0))


def tabulate(answers: Sequence[Tokens]) -> TokenTable:
    """Flatten a batch."""
    return TokenTable(
        offsets=_offsets(np.array([tokens.count for tokens in answers], np.int64)),
        char_offsets=_offsets(_joined([tokens.lengths for tokens in answers], INT32)),
        string_offsets=_offsets(_joined([tokens.sizes for tokens in answers], INT32)),
        alternative_string_offsets=_offsets(_joined([tokens.alternative_sizes for tokens in answers], INT32)),
        logprob=clean(_joined([tokens.logprobs for tokens in answers], FLOAT64)),
        alternatives=clean(_joined([tokens.alternative_logprobs for tokens in answers], FLOAT64)),
        alternative_offsets=_offsets(_joined([tokens.counts for tokens in answers], INT32)),
    )


def _joined(columns: list[bytes], type_: str) -> NDArray[Any]:
    return np.frombuffer(b"".join(columns), type_)


def _offsets(sizes: NDArray[Any]) -> Ints:
    offsets = np.zeros(len(sizes) + 1, np.int64)
    np.cumsum(sizes, out=offsets[1:])
    return offsets


def distributions(logprobs: Floats, offsets: Ints) -> tuple[Floats, Floats]:
    """Entropy in nats and margin p(1) - p(2) of t tokens' alternatives, renormalised, float64 [t] each.

    `logprobs` are the alternatives of all tokens, in any order within a token, NaN = missing; `offsets` int64 [t + 1].
    """
    sizes = offsets[1:] - offsets[:-1]
    unknown = np.isnan(logprobs)
    if unknown.any():
        enough = reduce_segments(np.add, (~unknown).astype(np.float64), offsets, 0.0) >= MIN_ALTERNATIVES
        logprobs = np.where(unknown, -np.inf, logprobs)
    else:
        enough = sizes >= MIN_ALTERNATIVES
    top = reduce_segments(np.maximum, logprobs, offsets, 0.0)
    below = np.repeat(np.where(np.isinf(top), 0.0, top), sizes)
    np.subtract(logprobs, below, out=below)
    weights = np.exp(below)
    below[unknown] = 0.0  # where the weight is 0
    total = np.where(enough, reduce_segments(np.add, weights, offsets, 1.0), np.nan)
    np.multiply(weights, below, out=below)
    entropy = np.log(total) - reduce_segments(np.add, below, offsets, 0.0) / total
    # Of several that share the top, only the first is set aside: the second probability is then the same.
    tops = np.flatnonzero(weights == 1.0)
    weights[tops[np.searchsorted(tops, offsets[:-1][enough])]] = 0.0
    second = reduce_segments(np.maximum, weights, offsets, 0.0)
    return np.maximum(entropy, 0.0), (1.0 - second) / total
