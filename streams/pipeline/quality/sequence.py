"""How often the automated are wrong, by their audits alone: a confidence sequence, which holds however often it is looked at. Pure.

Each decision below its threshold is audited with a chance p that is known before. Those audited are wrong (y = 1) or not. A gambler who holds
that the error rate is more than m bets at each audit: K = product over the audits of 1 + b w (y / m - 1), with a bet b < 1 fixed beforehand and
a weight w = c / p, where c was fixed before the decision too and w <= 1. So c is one for all that is taken together, whichever decision comes
next: the lowest audit rate that the control log has for any of them (`ruling.lowest_rate`). With c = p for each policy by itself, a bound of all
policies would hold against itself what is audited most.

Theorem. Where the mean of y, over the decisions that could have come next, is at most m at every step, K is a supermartingale: given the past,
E(p * b c / p * (y / m - 1)) = b c E(y / m - 1) <= 0, and 0 < K. So is the mean of such K over bets, and over the times at which gamblers begin,
weighted by shares that add up to one at most. By Ville's inequality it ever reaches 1 / q with a chance of at most q. (Betting on a bounded
mean: Waudby-Smith and Ramdas 2024, doi:10.1093/jrsssb/qkad009; several beginnings find a change: Shin, Ramdas and Rinaldo, arXiv:2203.03532.)

With fixed bets K is a product over counts: of audits by chance, weight and verdict. These are all that is kept. They are exact, need no order,
and a verdict that is taken back is subtracted.

Assumed: whether a human has got to an audit by now has nothing to do with whether it is wrong. Weights are rounded to 0.6 %. Each sequence, of a
policy and LLM or of a bound, errs for itself: of ten that miss with a chance of a tenth each, one may be expected to.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

BETS: Final = np.array([0.95, 0.8, 0.6, 0.4, 0.25, 0.15, 0.08, 0.04, 0.02, 0.01])
"""Large ones for rare errors and few audits, small ones for many audits."""
_STEPS: Final = 30
_PER_OCTAVE: Final = 64
_LEAST_CODE: Final = 20 * _PER_OCTAVE
"""Chances below one in a million count as that."""
_SUM_OF_SHARES: Final = 2.11
"""Above the sum over n >= 2 of 1 / (n ln^2 n)."""


@lru_cache(1024)
def coded(chance: float) -> int:
    """A chance or weight, above 0 and at most 1, as a whole number; `decoded` gives it back to within 0.6 %."""
    return min(max(round(-_PER_OCTAVE * math.log2(chance)), 0), _LEAST_CODE)


def decoded(code: int) -> float:
    """The chance or weight of a code."""
    return math.pow(2.0, -code / _PER_OCTAVE)


class Kind(NamedTuple):
    """What audits have in common: the codes of their chance and of their weight."""

    chance: int
    weight: int


@dataclass(frozen=True, slots=True)
class Audits:
    """Audits that humans have judged, by k kinds: how many were right [k] and wrong [k]."""

    chances: Floats
    weights: Floats
    right: Floats
    wrong: Floats

    @classmethod
    def of(cls, counts: Mapping[Kind, tuple[int, int]]) -> "Audits":
        """From how many were right and wrong, by kind."""
        pairs = np.array(list(counts.values()), dtype=np.float64).reshape(-1, 2)
        chances, weights = (np.array([decoded(kind[part]) for kind in counts]) for part in (0, 1))
        return cls(chances, weights, pairs[:, 0], pairs[:, 1])

    def __len__(self) -> int:
        return int((self.right + self.wrong).sum())

    @property
    def errors(self) -> int:
        """How many were wrong."""
        return int(self.wrong.sum())

    @property
    def rate(self) -> float | None:
        """The share of wrong ones among all that they stand for (Hajek's estimate); None without any."""
        if not len(self):
            return None
        return float((self.wrong / self.chances).sum() / ((self.right + self.wrong) / self.chances).sum())

    def interval(self, missed: float) -> tuple[float, float]:
        """The confidence sequence's interval now: with a chance of at most `missed` does any, ever, not hold the error rate."""
        limit = math.log(2 / missed)
        low = _last(lambda mean: _mixed(self.wealth(mean)) >= limit) if self.errors else 0.0
        turned = Audits(self.chances, self.weights, self.wrong, self.right)
        high = 1 - (_last(lambda mean: _mixed(turned.wealth(mean)) >= limit) if turned.errors else 0.0)
        return low, high

    def wealth(self, mean: float) -> Floats:
        """ln K of each bet [bets] that the error rate is more than `mean`."""
        bets = BETS[:, None] * self.weights
        wealth: Floats = np.log1p(-bets) @ self.right + np.log1p(bets * (1 / mean - 1)) @ self.wrong
        return wealth


def evidence_above(blocks: Iterable[tuple[int, Audits]], mean: float) -> float:
    """ln of the evidence that the error rate is, or came to be, more than `mean`. At most `mean` all along, it ever reaches 1 / q with chance q.

    `blocks` are the audits by time: of each, the number (from 0, rising) of the period at whose beginning a gambler may begin with it.
    """
    total, wealth = -math.inf, np.zeros(len(BETS))
    for number, audits in sorted(blocks, key=lambda one: -one[0]):
        wealth = wealth + audits.wealth(mean)
        total = float(np.logaddexp(total, log_share(number) + _mixed(wealth)))
    return total


def log_share(number: int) -> float:
    """ln of the share of the stake with which a gambler begins at a period: early ones have most, and there is some left at any time."""
    turn = number + 2
    return -math.log(_SUM_OF_SHARES * turn) - 2 * math.log(math.log(turn))


def _mixed(wealth: Floats) -> float:
    """ln of the mean over the bets."""
    return float(np.logaddexp.reduce(wealth)) - math.log(len(wealth))


def _last(holds: Callable[[float], bool]) -> float:
    """Where in 0 to 1 it ceases to hold."""
    low, high = 0.0, 1.0
    for _ in range(_STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low
