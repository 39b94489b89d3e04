"""Probability mass of each outcome code at the outcome token(s).

m_j = sum of p over the alternatives that spell a label of code j, once blanks and punctuation around it are gone. A label
of several tokens takes the product along its chain, for only the emitted tokens' continuations are known.
"""

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from featurizers.caseless import caseless
from featurizers.locate import Located
from featurizers.ragged import Floats, Ints, Spans
from featurizers.spec import CODES, OutcomeSpec
from featurizers.table import MIN_ALTERNATIVES, TokenTable
from featurizers.tokens import Tokens, split

# An alternative may begin a label whose further tokens nobody sampled. Its mass belongs to an unknown label: below this
# share it is left out, which moves no q by more than the share; above it, the masses are missing.
MAX_UNRESOLVED = 0.01
SAME = 1e-4  # nats: servers round the emitted token and the alternatives apart

_AROUND = " \t\r\n\"'`:=,.;!?{}[]()<>*_#|/\\-\u2581\u0120\u010a"
_BEGINS, _OTHER = CODES, CODES + 1
_CACHE_SIZE = 65_536
Flags = NDArray[np.bool_]
Bytes = NDArray[np.uint8]
Candidates = tuple[list[str], Floats]  # a token's alternatives: strings and log-probabilities, NaN = missing


class Vocabulary(dict[str, int]):
    """Token string -> code of the label that it spells, or `_BEGINS` for a label's beginning, or `_OTHER`. Caches."""

    def __init__(self, spec: OutcomeSpec) -> None:
        super().__init__()
        self._codes = {caseless(label): code for code, labels in enumerate(spec.labels) for label in labels}
        self._beginnings = {word[:end] for word in self._codes for end in range(1, len(word))}
        self._around = "".join(set(_AROUND) - {end for word in self._codes for end in (word[0], word[-1])})

    def __missing__(self, token: str) -> int:
        code = self.spells(token.lstrip(self._around))
        if len(self) < _CACHE_SIZE:
            self[token] = code
        return code

    def spells(self, word: str) -> int:
        """What a word is that starts where the label does."""
        word = caseless(word)
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


def label_masses(
    table: TokenTable, answers: Sequence[Tokens], located: Sequence[Located], label: Spans, spec: OutcomeSpec
) -> Floats:
    """m_j for codes 0..3 of n answers, float64 [n, 4]; NaN rows where no label is located or its masses are not known.

    `label` are the outcome label's tokens in the table, [n].
    """
    known_labels = vocabulary(spec)
    masses = np.full((len(located), CODES), np.nan)
    sizes = np.where([item.spelled for item in located], label.ends - label.starts, 0)
    rows, strings = np.flatnonzero(sizes == 1), table.alternative_string_offsets
    rows = rows[strings[label.starts[rows]] < strings[label.starts[rows] + 1]]
    if len(rows):
        tokens = label.starts[rows]
        codes, own = _codes(table, answers, located, rows, tokens, known_labels)
        # Where the emitted label's own mass is unknown, its rivals' alone say nothing.
        known = ~np.isnan(table.alternatives[table.alternative_offsets[tokens] + own] + table.logprob[tokens])
        masses[rows] = np.where((known & (own >= 0))[:, None], _single_masses(table, tokens, codes), np.nan)
        sizes[rows[own >= 0]] = 0
    for row in np.flatnonzero(sizes).tolist():
        span = range(int(label.starts[row]), int(label.ends[row]))
        masses[row] = _chain_masses(table, answers[row], located[row], span, int(table.offsets[row]), known_labels)
    return masses


def _codes(
    table: TokenTable,
    answers: Sequence[Tokens],
    located: Sequence[Located],
    rows: Ints,
    tokens: Ints,
    known_labels: Vocabulary,
) -> tuple[Bytes, Ints]:
    """The codes of the alternatives of r answers' label tokens, flat, and which of its own each one is, [r].

    -1 for a token that is none of its own, or spells another label than the answer's.
    """
    bases = table.offsets[rows]
    places = [
        (offsets[ends] - offsets[bases]).tolist()
        for offsets in (table.string_offsets, table.alternative_string_offsets)
        for ends in (tokens, tokens + 1)
    ]
    emitted, strings = [], []
    for row, begin, end, first, last in zip(rows.tolist(), *places, strict=True):
        emitted.append(answers[row].text[begin:end])
        strings.append(answers[row].alternatives[first:last])
    texts = split(b"".join(strings))
    codes = bytes(map(known_labels.__getitem__, texts))
    counts = table.alternative_offsets[tokens + 1] - table.alternative_offsets[tokens]
    own = []
    stop = 0
    for row, text, count in zip(rows.tolist(), emitted, counts.tolist(), strict=True):
        start, stop = stop, stop + count
        among = texts[start:stop]
        place = among.index(text) if text in among else -1
        own.append(place if place >= 0 and codes[start + place] == located[row].outcome else -1)
    return np.frombuffer(codes, np.uint8), np.array(own)


def _single_masses(table: TokenTable, tokens: Ints, codes: Bytes) -> Floats:
    """The masses of r answers whose label is one token: its index in the table, [r]; its alternatives' codes, flat."""
    starts = table.alternative_offsets[tokens]
    counts = table.alternative_offsets[tokens + 1] - starts
    row = np.repeat(np.arange(len(tokens)), counts)
    logprobs = table.alternatives[np.arange(len(codes)) + np.repeat(starts - (np.cumsum(counts) - counts), counts)]
    known = ~np.isnan(logprobs)
    probabilities = np.where(known, np.exp(logprobs), 0.0)
    bins = CODES + 2
    flat_sums: Floats = np.bincount(row * bins + codes, probabilities, minlength=len(tokens) * bins).astype(np.float64)
    sums = flat_sums.reshape(-1, bins)
    enough: Flags = np.bincount(row, known, minlength=len(tokens)) >= MIN_ALTERNATIVES
    return _resolved(sums[:, :CODES], sums[:, _BEGINS], enough)


def _candidates(table: TokenTable, tokens: Tokens, emitted: str, index: int, position: int) -> Candidates:
    """A token's alternatives, joined by the emitted token where the provider left it out; none where it gave none."""
    texts = tokens.alternative_texts(position)
    logprobs = _alternatives(table, index)
    if not texts:
        return [], logprobs[:0]
    if emitted in texts:
        return texts, logprobs
    for alternative, text in enumerate(texts):
        # Some servers trim the alternatives: what is emitted is among them without its blanks, with the same number.
        if text.strip() == emitted.strip() and abs(logprobs[alternative] - table.logprob[index]) <= SAME:
            return [*texts[:alternative], emitted, *texts[alternative + 1 :]], logprobs
    return [*texts, emitted], np.append(logprobs, table.logprob[index])


def _alternatives(table: TokenTable, index: int) -> Floats:
    return table.alternatives[table.alternative_offsets[index] : table.alternative_offsets[index + 1]]


def _resolved(masses: Floats, unresolved: Floats, enough: Flags) -> Floats:
    total: Floats = masses.sum(axis=1)
    usable = enough & (total > 0) & (unresolved <= MAX_UNRESOLVED * (total + unresolved))
    return np.where(usable[:, None], masses, np.nan)


def _chain_masses(
    table: TokenTable, answer: Tokens, located: Located, tokens: range, base: int, known_labels: Vocabulary
) -> Floats:
    """The masses of one answer whose label is split over `tokens` or glued to its neighbours, float64 [4].

    `base` is the answer's first token in the table.
    """
    emitted = answer.texts(tokens.start - base, tokens.stop - base)
    candidates = [
        _candidates(table, answer, text, index, index - base) for index, text in zip(tokens, emitted, strict=True)
    ]
    before = int(table.char_offsets[base]) + located.outcome_span[0]
    lead = emitted[0][: max(before - int(table.char_offsets[tokens.start]), 0)]
    masses = np.zeros(CODES)
    unresolved, reached, spelled = 0.0, 1.0, ""
    for position, (token, (texts, logprobs)) in enumerate(zip(emitted, candidates, strict=True)):
        if np.count_nonzero(~np.isnan(logprobs)) < MIN_ALTERNATIVES:
            return np.full(CODES, np.nan)
        followed = texts.index(token)
        for index, (text, probability) in enumerate(zip(texts, np.exp(logprobs).tolist(), strict=True)):
            if index == followed or math.isnan(probability):
                continue
            piece = known_labels.bare(text.removeprefix(lead)) if position == 0 else text
            code = known_labels.spells(spelled + piece)
            if code < CODES:
                masses[code] += reached * probability
            elif code == _BEGINS:
                unresolved += reached * probability
        reached *= math.exp(logprobs[followed])
        spelled += known_labels.bare(token.removeprefix(lead)) if position == 0 else token
    masses[located.outcome] += reached
    resolved = _resolved(masses[None], np.array([unresolved]), np.array([not math.isnan(reached)]))
    return resolved.reshape(CODES)
