"""All tokens of a batch as flat arrays, and the uncertainty of each token's alternatives."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np

from featurizers.align import align
from featurizers.ragged import Floats, Ints, Spans, clean, reduce_spans
from featurizers.response import Response
from featurizers.wire import Alternative, Token

MIN_ALTERNATIVES = 2  # one alternative alone says nothing about the rest of the distribution


@dataclass(frozen=True)
class TokenTable:
    """The t tokens of n answers, one behind the other; answer i owns those from `offsets[i]` to `offsets[i + 1]`.

    Float64 [t] each, NaN = missing: `logprob` in nats, `entropy` in nats and `margin` p(1) - p(2) of the renormalised
    alternatives. `alternatives[j]` are those of token j. `char_ends[j]` is where token j ends in the batch's joined texts.
    """

    tokens: list[Token]
    alternatives: list[Sequence[Alternative]]
    offsets: Ints
    char_ends: Ints
    logprob: Floats
    entropy: Floats
    margin: Floats

    @property
    def answers(self) -> Spans:
        """The tokens of each answer."""
        return Spans(self.offsets[:-1], self.offsets[1:])

    def char_starts(self) -> Ints:
        """Where each token starts in the batch's joined texts, int64 [t + 1]."""
        return np.append(0, self.char_ends)

    def spans(self, chars: Ints) -> Spans:
        """The tokens that overlap one character range [start, end) of each answer's text, given as int64 [n, 2]."""
        base = self.char_starts()[self.offsets[:-1]]
        starts = np.searchsorted(self.char_ends, base + chars[:, 0], side="right")
        ends = np.searchsorted(self.char_ends, base + chars[:, 1], side="left") + 1
        present = (chars[:, 0] < chars[:, 1]) & (starts >= self.offsets[:-1]) & (ends <= self.offsets[1:])
        return Spans(np.where(present, starts, 0), np.where(present, ends, 0))


def tabulate(responses: Sequence[Response]) -> TokenTable:
    """Flatten a batch."""
    tokens: list[Token] = []
    lengths: list[int] = []
    counts: list[int] = []
    for response in responses:
        own = response.tokens
        texts = [token.token for token in own]
        if "".join(texts) != response.text:
            own, own_lengths = align(own, response.text)
        elif "" in texts:
            own = [token for token in own if token.token]
            own_lengths = [len(text) for text in texts if text]
        else:
            own_lengths = list(map(len, texts))
        tokens += own
        lengths += own_lengths
        counts.append(len(own))
    alternatives: list[Sequence[Alternative]] = [token.top_logprobs or () for token in tokens]
    entropy, margin = distributions(
        np.array([item.logprob for item in chain.from_iterable(alternatives)], dtype=np.float64),
        np.array([len(items) for items in alternatives], dtype=np.int64),
    )
    return TokenTable(
        tokens=tokens,
        alternatives=alternatives,
        offsets=np.cumsum([0, *counts], dtype=np.int64),
        char_ends=np.cumsum(lengths, dtype=np.int64),
        logprob=clean(np.array([token.logprob for token in tokens], dtype=np.float64)),
        entropy=entropy,
        margin=margin,
    )


def distributions(logprobs: Floats, counts: Ints) -> tuple[Floats, Floats]:
    """Entropy in nats and margin p(1) - p(2) of t tokens' alternatives, renormalised, float64 [t] each.

    `logprobs` are the alternatives of all tokens, float64 [sum of counts], in any order within a token.
    """
    logprobs = clean(logprobs)
    ends = np.cumsum(counts)
    starts = ends - counts
    known = ~np.isnan(logprobs)
    enough = reduce_spans(np.add, known.astype(np.float64), starts, ends, 0.0) >= MIN_ALTERNATIVES
    top = reduce_spans(np.fmax, logprobs, starts, ends, -np.inf)
    below = np.where(known, logprobs - np.repeat(top, counts), -np.inf)
    weights = np.exp(below)
    is_top = below == 0.0
    total = reduce_spans(np.add, weights, starts, ends, 0.0)
    weighted = reduce_spans(np.add, weights * np.where(known, below, 0.0), starts, ends, 0.0)
    ties = reduce_spans(np.add, is_top.astype(np.float64), starts, ends, 0.0)
    second = reduce_spans(np.maximum, np.where(is_top, 0.0, weights), starts, ends, 0.0)
    total = np.where(enough, total, np.nan)
    entropy = np.maximum(np.log(total) - weighted / total, 0.0)
    return entropy, np.where(ties > 1, 0.0, 1.0 - second) / total
