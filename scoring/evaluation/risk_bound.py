"""The threshold below which the error rate is certified, by exact binomial statistics on held-out labels."""

import math
from bisect import bisect_left
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from scoring import sampled_error
from scoring.errors import ThresholdError
from scoring.thresholds import usable

_THOUSANDTHS = range(1, 1000)


@dataclass(frozen=True)
class CertifiedThreshold:
    """A threshold whose risk is bounded: `automated` calibration answers lay below it, `errors` of them wrong."""

    threshold: float
    automated: int
    errors: int
    upper_bound: float


def clopper_pearson(errors: int, count: int, confidence: float = 0.95) -> tuple[float, float]:
    """Exact interval of an error rate of which `errors` in `count` were seen (Clopper and Pearson, 1934)."""
    level = (1 - confidence) / 2
    return 1 - clopper_pearson_upper(count - errors, count, level), clopper_pearson_upper(errors, count, level)


def risk_bound_threshold(
    scores: NDArray[np.floating],
    errors: NDArray[np.bool_],
    *,
    max_risk: float,
    delta: float,
    starts: int = 10,
    weights: NDArray[np.floating] | None = None,
    most: float = 0.0,
) -> CertifiedThreshold:
    """Largest threshold whose error rate among automated answers is <= `max_risk` with probability >= 1 - `delta`.

    The probability is over the draw of the calibration answers (i.i.d. with the traffic); it holds for any score and any
    sample size. Clopper-Pearson gives the exact bound for one threshold. Searching many thresholds needs more: multi-start
    fixed-sequence testing (Angelopoulos et al., "Learn then Test", 2021) walks from `starts` coverages upwards, each walk
    at level delta / starts, and stops a walk at its first failure. Coverages are fixed before a label is seen, and
    given the score at a rank, the answers below it are i.i.d., so each step's count of errors is binomial.

    Answers that came with unequal chances have `weights` [n], inverse to these; none could have had one above `most`. Then each step tests by
    the theorem of `scoring.sampled_error` instead: the same argument, with a bet in place of the count. It takes more labels, and does not
    promise more than the labels' chances: of what could not be drawn it says nothing.

    Raises ThresholdError when nothing can be certified; of too few answers it says how many it takes, all of them right.
    """
    for name, value in (("max_risk", max_risk), ("delta", delta)):
        if not 0 < value < 1:
            raise ThresholdError(f"{name} lies strictly between 0 and 1, not at {value}.")
    level = delta / starts
    smallest = math.ceil(math.log(level) / math.log1p(-max_risk))
    order = np.argsort(usable(scores), kind="stable")
    n = len(order)
    if n < smallest:
        raise ThresholdError(
            f"{n} labelled answers are too few: certifying a risk of {max_risk:.1%} at {1 - delta:.0%} takes at least "
            f"{smallest}, all of them right."
        )
    # Rank r stands for the threshold at the r-th lowest score; the last one, infinity, automates everything.
    thresholds = np.append(scores[order].astype(float), math.inf)
    automated = np.searchsorted(thresholds[:n], thresholds, side="left")
    errors_below = np.concatenate(([0], np.cumsum(errors[order])))[automated]
    stakes = None if weights is None else weights / max(weights.max(), most)
    if stakes is None:
        fails = errors_below > _errors_allowed(n, max_risk, level)[automated]
    else:
        fails = ~_proved(errors[order], stakes[order], max_risk, level)[automated]
    # What is labelled lies mostly where humans had to look; what stands for much of the traffic is few, at the lowest scores.
    begin = (np.linspace if weights is None else np.geomspace)(smallest, n, starts).astype(int)
    best = max(_walked(fails, start) for start in begin.tolist())
    if not best:
        raise ThresholdError(
            f"No threshold keeps the error rate among automated answers below {max_risk:.1%} with {1 - delta:.0%} confidence "
            f"on {n} labelled answers. Allow more risk, label more answers, or escalate everything."
        )
    below, wrong = int(automated[best]), int(errors_below[best])
    if stakes is None:
        bound = clopper_pearson_upper(wrong, below, level)
    else:
        bound = sampled_error.upper(errors[order][:below], stakes[order][:below], level)
    return CertifiedThreshold(float(thresholds[best]), below, wrong, bound)


def _walked(fails: NDArray[np.bool_], start: int) -> int:
    """The last rank before the first failure from `start` on; 0 where the start itself fails."""
    walk = fails[start:]
    if walk[0]:
        return 0
    return start - 1 + (int(np.argmax(walk)) if walk.any() else len(walk))


def smallest_risk(scores: NDArray[np.floating], errors: NDArray[np.bool_], *, delta: float) -> float | None:
    """About the smallest risk, in thousandths, that these answers could certify; None where they certify nothing.

    For orientation alone: a target that is chosen by looking at the labels is no longer promised by them.
    """

    def certifies(thousandths: int) -> bool:
        try:
            risk_bound_threshold(scores, errors, max_risk=thousandths / 1000, delta=delta)
        except ThresholdError:
            return False
        return True

    found = bisect_left(_THOUSANDTHS, True, key=certifies)
    return _THOUSANDTHS[found] / 1000 if found < len(_THOUSANDTHS) else None


def clopper_pearson_upper(errors: int, n: int, delta: float) -> float:
    """Exact one-sided upper confidence bound (level 1 - `delta`) of a binomial rate (Clopper and Pearson, 1934)."""
    return 1.0 if errors >= n else float(stats.beta.ppf(1 - delta, errors + 1, n - errors))


def _proved(
    errors: NDArray[np.bool_], stakes: NDArray[np.floating], max_risk: float, level: float
) -> NDArray[np.bool_]:
    """Whether the first 0..n answers, [n + 1], prove at `level` that no more than `max_risk` of what they were drawn from is wrong."""
    steps = sampled_error.log_wealth(1 - errors.astype(np.float64), stakes.astype(np.float64), 1 - max_risk)
    wealth = np.concatenate((np.zeros((len(steps), 1)), np.cumsum(steps, axis=1)), axis=1)
    return np.asarray(np.logaddexp.reduce(wealth, axis=0) - math.log(len(wealth)) >= -math.log(level))


def _errors_allowed(n: int, max_risk: float, level: float) -> NDArray[np.int64]:
    """Most errors among 0..n answers, [n + 1], that still put the exact bound at or below `max_risk`; -1: none would."""
    answers = np.arange(n + 1)
    enough = stats.binom.ppf(level, answers, max_risk)  # the fewest errors that are seen with probability `level`
    allowed: NDArray[np.int64] = (enough - (stats.binom.cdf(enough, answers, max_risk) > level)).astype(np.int64)
    return allowed
