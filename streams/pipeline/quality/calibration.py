"""Whether P(error) is what it says: errors expected against those that humans found, over audits and escalated answers alike. Pure.

Which answers humans see hangs on P(error), on whose answers they are and on chance, never on whether they are wrong. Where P(error) is what it says
for each answer, it is so for any choice made like that, and no weights are needed.

Two tests. Spiegelhalter's z (1986) is about standard normal at one look where all is well; it is a figure. The evidence may be looked at as often
as one likes, as that of `sequence`: gamblers bet, in each bin of P(error), that errors are more frequent than its upper end says, or rarer than
its lower end: the likelihood ratio against that end is a supermartingale wherever the truth lies within the bin, or on the other side of that end.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from scoring.reference import BINS, LOG_ODDS
from streams.pipeline.quality.sequence import log_share

Floats = NDArray[np.float64]

PARTS: Final = 1_000_000
"""Sums of probabilities are kept in whole millionths: they are exact in any order, and can be taken back."""
_SHIFTS: Final = (0.5, 1.0, 2.0)
"""In log-odds, by how much the gamblers hold P(error) to be wrong."""


@dataclass(frozen=True, slots=True)
class Judged:
    """Answers that humans have judged, by bins of P(error) [bins]: how many, the sum of their P(error), and how many were wrong."""

    counts: Floats
    expected: Floats
    wrong: Floats
    numerator: float = 0.0
    variance: float = 0.0

    @property
    def z(self) -> float | None:
        """Spiegelhalter's z; above 0 there are more errors than expected. None where nothing was judged that could have gone either way."""
        return self.numerator / math.sqrt(self.variance) if self.variance > 0 else None

    def bets(self) -> Floats:
        """ln of what the gamblers have made of it [sides x shifts]."""
        right = self.counts - self.wrong
        made: Floats = _WON @ self.wrong + _LOST @ right
        return made


def terms(probability: float, *, wrong: bool) -> tuple[int, int]:
    """What one answer adds to Spiegelhalter's numerator and variance, in millionths."""
    slope = 1 - 2 * probability
    numerator = ((1.0 if wrong else 0.0) - probability) * slope
    return round(PARTS * numerator), round(PARTS * slope * slope * probability * (1 - probability))


def evidence_against(blocks: Iterable[tuple[int, Judged]]) -> float:
    """ln of the evidence that P(error) is not, or ceased to be, what it says: of a calibrated one it ever reaches 1 / q with chance q.

    `blocks` are as those of `sequence.evidence_above`.
    """
    total, made = -math.inf, np.zeros(len(_WON))
    for number, judged in sorted(blocks, key=lambda one: -one[0]):
        made = made + judged.bets()
        mixed = float(np.logaddexp.reduce(made)) - math.log(len(made))
        total = float(np.logaddexp(total, log_share(number) + mixed))
    return total


def _odds() -> tuple[Floats, Floats]:
    """ln of the factors [sides x shifts, bins] at an answer that was wrong, and at one that was right; the outermost bins have one end."""
    won, lost = [], []
    for side, ends in ((1, slice(0, BINS - 1)), (-1, slice(1, BINS))):
        for shift in _SHIFTS:
            factors = np.zeros((2, BINS))
            moved = LOG_ODDS + side * shift
            factors[0, ends] = np.logaddexp(0, -LOG_ODDS) - np.logaddexp(0, -moved)
            factors[1, ends] = np.logaddexp(0, LOG_ODDS) - np.logaddexp(0, moved)
            won.append(factors[0])
            lost.append(factors[1])
    return np.array(won), np.array(lost)


_WON, _LOST = _odds()
