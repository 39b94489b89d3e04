"""Probability mass of each outcome code at the outcome token."""

from collections.abc import Sequence

import numpy as np

from featurizers.ragged import Floats, Ints, clean
from featurizers.spec import OutcomeSpec
from featurizers.wire import Token

_AROUND = " \t\r\n\"'`:,.;{}[]()*"


def label_masses(tokens: Sequence[Token], starts: Ints, ends: Ints, spec: OutcomeSpec) -> Floats:
    """m_j for the codes j = 0..3, float64 [n, 4]; NaN where the label has no token or no alternatives."""
    masses = np.full((len(starts), 4), np.nan)
    for row, (start, end) in enumerate(zip(starts, ends, strict=True)):
        if end - start != 1:
            continue
        alternatives = tokens[start].top_logprobs or ()
        logprobs = clean(np.array([item.logprob for item in alternatives], dtype=np.float64))
        known = ~np.isnan(logprobs)
        if known.sum() < 2:  # noqa: PLR2004
            continue
        codes = np.array([spec.codes.get(item.token.strip(_AROUND).casefold(), 4) for item in alternatives])
        masses[row] = np.bincount(codes[known], np.exp(logprobs[known]), minlength=5)[:4]
    return masses
