"""How often the LLM was wrong among answers of which humans have judged only some, each with a known chance. Pure.

Escalated answers are all given to humans; of those that are automated, audits are drawn with the audit rate of their time. Weighted by the
inverse of that chance (Horvitz and Thompson), audits stand for what nobody has seen. The interval needs no large numbers. Where all had the
same chance it is Clopper's and Pearson's, exact for draws with replacement and wider than needed without. Else it is by this

Theorem. Let y_1..y_N in [0, 1] be fixed with mean m, and each be seen with chance c / w_i, where the weights w_i <= 1 are known
up to a constant, and so c need not be known. Those that may be seen together (of one request, say) form groups of at most k, and different
groups are drawn independently. For a bet a in [0, 1], K_a = product over groups of 1 + a/k sum over those seen of w_i (y_i / m - 1), which is
never negative, has E K_a = product over groups of 1 + a c/k sum over all in it of (y_i / m - 1) <= 1: the sums have the mean 0, and the
geometric mean is at most the arithmetic one. The mean K of K_a over bets fixed beforehand has E K <= 1 too, so K >= 1 / q with a chance of at
most q (Markov). K falls as m rises: the m at which it reaches 1 / q is a lower bound with confidence 1 - q, at any N. The upper one is that of
1 - y. The same holds of answers that come independently from one source, with m the mean of what it sends. (Betting on a bounded mean:
Waudby-Smith and Ramdas 2024, doi:10.1093/jrsssb/qkad009; bets that do not depend on what was seen need neither equal means nor an order.)
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

NOTHING_AUTOMATED: Final = "none automated"
NO_AUDITS: Final = "no audits"
NO_AUDITS_JUDGED: Final = "no audits judged"
NO_REVIEWS_JUDGED: Final = "no reviews judged"
"""Why an error cannot be known."""

MISSED: Final = 0.05
"""How often an interval may miss what it is about."""
BETS: Final = np.array([1.0, 0.9, 0.75, 0.55, 0.35, 0.2, 0.1, 0.05, 0.02, 0.01])
"""Large ones for few errors, small ones for many answers."""
_STEPS: Final = 40


@dataclass(frozen=True, slots=True)
class Measured:
    """The share of wrong answers among `of`, with its interval. `rate` is None where it cannot be known: `problem` says why.

    `judged` and `errors` are counts, `audits` those judged that were drawn for audit. `unseen` answers had no chance of being
    audited, their decision was not found, or they were escalated and none such is judged yet: the rate says nothing of them.
    """

    of: int
    unseen: int
    judged: int
    audits: int
    errors: int
    rate: float | None = None
    low: float | None = None
    high: float | None = None
    problem: str | None = None


def measure(chance: Floats, judged: Bools, wrong: Bools) -> Measured:
    """Of n answers: the chance with which each came to a human (NaN: unknown), and which of them were so judged, and found wrong.

    Assumed: whether a human has got to an answer by now has nothing to do with whether it is wrong.
    """
    certain, drawn = chance >= 1, (chance > 0) & (chance < 1)
    # Audits are what speaks for the rest, so without any nothing is known; what was escalated speaks for itself alone.
    parts = [part for part in (drawn, certain) if (judged & part).any() or (part is drawn and part.any())]
    seen = np.logical_or.reduce(parts) if parts else np.zeros(len(chance), dtype=bool)
    of, counted = int(seen.sum()), judged & seen
    known = Measured(
        of=of,
        unseen=len(chance) - of,
        judged=int(counted.sum()),
        audits=int((judged & drawn).sum()),
        errors=int((counted & wrong).sum()),
    )
    if not len(chance):
        return replace(known, problem=NOTHING_AUTOMATED)
    if not of:
        return replace(known, problem=NO_REVIEWS_JUDGED if certain.any() else NO_AUDITS)
    if drawn.any() and not known.audits:
        return replace(known, problem=NO_AUDITS_JUDGED)
    found = [_part(chance[part], judged[part], wrong[part], MISSED / len(parts)) for part in parts]
    shares = np.array([part.sum() / of for part in parts])
    rate, low, high = (float(value) for value in shares @ np.array(found))
    return replace(known, rate=rate, low=low, high=high)


def _part(chance: Floats, judged: Bools, wrong: Bools, missed: float) -> tuple[float, float, float]:
    """The rate in one part of the answers, and its interval; what is judged is known whatever the rest is."""
    errors, count = wrong[judged], len(chance)
    # By the chances of all: those of the few that are judged may happen to be equal.
    weights = chance.min() / chance
    low, high = interval(errors, weights[judged], missed, equal=bool((weights == 1).all()))
    return (
        float(np.average(errors, weights=weights[judged])),
        max(low, errors.sum() / count),
        min(high, 1 - (~errors).sum() / count),
    )


def interval(
    values: Bools | Floats,
    weights: Floats,
    missed: float = MISSED,
    *,
    equal: bool = False,
    groups: Ints | None = None,
    largest: int = 1,
) -> tuple[float, float]:
    """The interval of the mean of what k answers were drawn from; misses it at most so often. Their `values` [k] lie in 0 to 1.

    `weights` [k] are inverse to the chances, at most 1 for any that could have been drawn; `equal`: they are so for all of these, and the values
    are errors. `groups` [k] numbers what may have been drawn together; without them each answer was drawn by itself. `largest`: so many answers
    may a group have had, drawn or not: the theorem wants its k fixed beforehand, and the draws may have passed by the largest group.
    """
    if equal:
        wrong, count = int(values.sum()), len(values)
        return _lower_of_equals(wrong, count, missed / 2), 1 - _lower_of_equals(count - wrong, count, missed / 2)
    values = values.astype(np.float64)
    low, rest = (_lower(each, weights, missed / 2, groups, largest) for each in (values, 1 - values))
    return low, 1 - rest


def upper(values: Bools, weights: Floats, missed: float) -> float:
    """The upper bound alone, of values drawn each by itself."""
    return 1 - _lower(1 - values.astype(np.float64), weights, missed)


def log_wealth(values: Floats, weights: Floats, mean: float) -> Floats:
    """log of the theorem's factors, [bets, k], for values [k] drawn each by itself, were `mean` theirs."""
    with np.errstate(divide="ignore"):  # a bet may lose everything
        return np.asarray(np.log1p(BETS[:, None] * (weights * (values / mean - 1))))


def _lower(values: Floats, weights: Floats, missed: float, groups: Ints | None = None, largest: int = 1) -> float:
    """The lower bound of the theorem. Equal groups are counted instead of multiplied one by one."""
    sums = np.stack([weights, weights * values])
    if groups is not None:
        most = max(largest, int(np.bincount(groups).max(initial=1)))
        sums = np.stack([np.bincount(groups, one) for one in sums]) / most
    (staked, won), counts = np.unique(np.round(sums, 12), axis=1, return_counts=True)

    def surely_more(mean: float) -> bool:
        with np.errstate(divide="ignore"):  # a bet may lose everything
            logs = np.log1p(np.maximum(BETS[:, None] * (won / mean - staked), -1.0)) @ counts
        return bool(np.logaddexp.reduce(logs) - np.log(len(BETS)) >= -np.log(missed))

    return _highest(surely_more)


def _lower_of_equals(errors: int, count: int, missed: float) -> float:
    """The largest p with a chance of at most `missed` that `count` draws give so many errors or more (Clopper and Pearson)."""
    logs = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, count + 1)))])
    k = np.arange(errors, count + 1)
    ways = logs[count] - logs[k] - logs[count - k]

    def surely_more(p: float) -> bool:
        return bool(np.logaddexp.reduce(ways + k * np.log(p) + (count - k) * np.log1p(-p)) <= np.log(missed))

    return _highest(surely_more) if errors else 0.0


def _highest(holds: Callable[[float], bool]) -> float:
    """Where in 0 to 1 it begins not to hold."""
    low, high = 0.0, 1.0
    for _ in range(_STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low
