"""Probability mass of each outcome code at the outcome token(s).

m_j = sum of p over the alternatives that spell a label of code j, once blanks and punctuation around it are gone. A label
of several tokens takes the product along its chain, for only the emitted tokens' continuations are known.
"""

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from featurizers.locate import Located
from featurizers.ragged import Floats, Ints, clean
from featurizers.spec import CODES, OutcomeSpec
from featurizers.tokens import MIN_ALTERNATIVES, TokenTable
from featurizers.wire import Alternative, Token

# An alternative may begin a label whose further tokens nobody sampled. Its mass belongs to an unknown label: below this
# share it is left out, which moves no q by more than the share; above it, the masses are missing.
MAX_UNRESOLVED = 0.01

_AROUND = " \t\r\n\"'`:=,.;!?{}[]()<>*_#|/\\-\u2581\u0120\u010a"
_BEGINS, _OTHER = CODES, CODES + 1
_CACHE_SIZE = 65_536
Flags = NDArray[np.bool_]


class Vocabulary(dict[str, int]):
    """Token string -> code of the label that it spells, or `_BEGINS` for a label's beginning, or `_OTHER`. Caches."""

    def __init__(self, spec: OutcomeSpec) -> None:
        super().__init__()
        self._codes = {label.casefold(): code for code, labels in enumerate(spec.labels) for label in labels}
        self._beginnings = {word[:end] for word in self._codes for end in range(1, len(word))}
        self._around = "".join(set(_AROUND) - {end for word in self._codes for end in (word[0], word[-1])})

    def __missing__(self, token: str) -> int:
        code = self.spells(token.lstrip(self._around))
        if len(self) < _CACHE_SIZE:
            self[token] = code
        return code

    def spells(self, word: str) -> int:
        """What a word is that starts where the label does."""
        word = word.casefold()
        code = self._codes.get(word.rstrip(self._around))
        if code is not None:
            return code
        return _BEGINS if word in self._beginnings else _OTHER

    def bare(self, token: str) -> str:
        """The token without what stands before a label."""
        return token.lstrip(self._around)


@lru_cache(maxsize=64)
def vocabulary(spec: OutcomeSpec) -> Vocabulary:
    """The spec's labels, ready for look-up."""
    return Vocabulary(spec)


def label_masses(table: TokenTable, located: Sequence[Located], starts: Ints, ends: Ints, spec: OutcomeSpec) -> Floats:
    """m_j for codes 0..3 of n answers, float64 [n, 4]; NaN rows where no label is located or its masses are not known.

    `starts`, `ends` are the outcome label's tokens, int64 [n] each.
    """
    known_labels = vocabulary(spec)
    char_starts = table.char_starts()
    masses = np.full((len(located), CODES), np.nan)
    rows: list[int] = []
    candidates: list[Sequence[Alternative]] = []
    for row in np.flatnonzero(starts < ends).tolist():
        start, end = int(starts[row]), int(ends[row])
        token = table.tokens[start]
        if end == start + 1 and known_labels[token.token] == located[row].outcome:
            rows.append(row)
            candidates.append(_with_emitted(token, table.alternatives[start]))
        else:
            base = char_starts[table.offsets[row]] + located[row].outcome_span[0]
            lead = table.tokens[start].token[: max(int(base - char_starts[start]), 0)]
            chain = [(table.tokens[i], table.alternatives[i]) for i in range(start, end)]
            masses[row] = _chain_masses(chain, lead, located[row].outcome, known_labels)
    if rows:
        masses[rows] = _single_masses(candidates, known_labels)
    return masses


def _with_emitted(token: Token, alternatives: Sequence[Alternative]) -> Sequence[Alternative]:
    """The alternatives, joined by the emitted token where the provider left it out; none where it gave none."""
    if not alternatives or alternatives[0].token == token.token or any(a.token == token.token for a in alternatives):
        return alternatives
    return [*alternatives, Alternative(token.token, token.logprob)]


def _single_masses(candidates: Sequence[Sequence[Alternative]], known_labels: Vocabulary) -> Floats:
    """The masses of answers whose label is one token, float64 [r, 4]."""
    counts = [len(items) for items in candidates]
    flat = [item for items in candidates for item in items]
    logprobs = clean(np.array([item.logprob for item in flat], dtype=np.float64))
    known = ~np.isnan(logprobs)
    probabilities = np.where(known, np.exp(logprobs), 0.0)
    codes = np.fromiter((known_labels[item.token] for item in flat), dtype=np.int64, count=len(flat))
    row = np.repeat(np.arange(len(counts)), counts)
    bins = CODES + 2
    flat_sums: Floats = np.bincount(row * bins + codes, probabilities, minlength=len(counts) * bins).astype(np.float64)
    sums = flat_sums.reshape(-1, bins)
    enough: Flags = np.bincount(row, known, minlength=len(counts)) >= MIN_ALTERNATIVES
    return _resolved(sums[:, :CODES], sums[:, _BEGINS], enough)


def _resolved(masses: Floats, unresolved: Floats, enough: Flags) -> Floats:
    total: Floats = masses.sum(axis=1)
    usable = enough & (total > 0) & (unresolved <= MAX_UNRESOLVED * (total + unresolved))
    return np.where(usable[:, None], masses, np.nan)


def _chain_masses(
    chain: Sequence[tuple[Token, Sequence[Alternative]]], lead: str, outcome: int, known_labels: Vocabulary
) -> Floats:
    """The masses of one answer whose label is split over tokens or glued to its neighbours, float64 [4]."""
    masses = np.zeros(CODES)
    unresolved, reached, spelled = 0.0, 1.0, ""
    missing = np.full(CODES, np.nan)
    for position, (token, alternatives) in enumerate(chain):
        last = position == len(chain) - 1
        known = 0
        emitted_seen = False
        for item in _with_emitted(token, alternatives):
            probability = _probability(item.logprob)
            if probability is None:
                continue
            known += 1
            if item.token == token.token and not emitted_seen:
                emitted_seen = True
                if last:
                    masses[outcome] += reached * probability
                continue
            piece = item.token.removeprefix(lead) if position == 0 else item.token
            code = known_labels.spells(spelled + (known_labels.bare(piece) if position == 0 else piece))
            if code < CODES:
                masses[code] += reached * probability
            elif code == _BEGINS:
                unresolved += reached * probability
        probability = _probability(token.logprob)
        if known < MIN_ALTERNATIVES or probability is None:
            return missing
        piece = token.token.removeprefix(lead) if position == 0 else token.token
        spelled += known_labels.bare(piece) if position == 0 else piece
        reached *= probability
    resolved = _resolved(masses[None], np.array([unresolved]), np.array([True]))
    return resolved.reshape(CODES)


def _probability(logprob: float | None) -> float | None:
    if logprob is None:
        return None
    value = float(clean(np.array([logprob]))[0])
    return None if math.isnan(value) else math.exp(value)
