"""Operating points: where P(the LLM is wrong) becomes reason enough for a human.

Escalate when P(E) >= threshold. Costs are per item, in any one currency. The cost rules follow from Bayes decision
theory and need calibrated probabilities; the others look at scores, so any score that ranks will do.
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from scoring.errors import ThresholdError

Accounting = Literal["false-discovery", "review-charged"]
ACCOUNTINGS: tuple[Accounting, ...] = ("false-discovery", "review-charged")


def cost_threshold(accounting: str, *, review: float, mistake: float) -> float:
    """Bayes threshold for the cost of a review (c_rev) and of a trusted mistake (c_mis).

    `false-discovery` charges reviews of right answers only: c_rev / (c_rev + c_mis).
    `review-charged` (Chow, 1970) charges every review: c_rev / c_mis.
    Raises ThresholdError for an unknown accounting, costs that are not positive, and a review that never pays.
    """
    for name, cost in (("review", review), ("mistake", mistake)):
        if not (math.isfinite(cost) and cost > 0):
            raise ThresholdError(f"The cost of a {name} must be a positive number, not {cost}.")
    if accounting == "false-discovery":
        return review / (review + mistake)
    if accounting == "review-charged":
        if review >= mistake:
            raise ThresholdError(
                f"A review ({review}) costs as much as the mistake it prevents ({mistake}): no threshold makes it pay. "
                "Check the two costs, or use the false-discovery accounting."
            )
        return review / mistake
    raise ThresholdError(f"Unknown accounting {accounting!r}; there are {' and '.join(ACCOUNTINGS)}.")


def cost_thresholds(
    accounting: str, *, review: float, missed_violation: float, wrong_removal: float
) -> dict[int, float]:
    """Bayes threshold per LLM outcome when the two kinds of mistake cost differently.

    A wrong outcome 0 is a missed violation, a wrong outcome 1 a wrong removal. Raises as `cost_threshold`.
    """
    return {
        0: cost_threshold(accounting, review=review, mistake=missed_violation),
        1: cost_threshold(accounting, review=review, mistake=wrong_removal),
    }


def review_budget_threshold(scores: NDArray[np.floating], *, budget: float, always_escalated: int = 0) -> float:
    """Smallest threshold that sends at most `budget` (0..1) of the traffic to humans.

    scores: [n] of the answers that could be automated; `always_escalated` counts those that never can (outcomes 2 and 3,
    unreadable answers), which use up budget first. Raises ThresholdError when they alone exceed it.
    """
    if not 0 <= budget <= 1:
        raise ThresholdError(f"A review budget is a share between 0 and 1, not {budget}.")
    ascending = np.sort(_usable(scores))
    total = len(ascending) + always_escalated
    allowed = math.floor(budget * total + 1e-9) - always_escalated
    if allowed < 0:
        raise ThresholdError(
            f"{always_escalated} of {total} answers must go to humans whatever the threshold "
            f"({always_escalated / total:.1%}); a budget of {budget:.1%} cannot be met."
        )
    if allowed >= len(ascending):
        return 0.0
    # The costliest score that may not be escalated; ties with it may not be either.
    kept = ascending[len(ascending) - allowed - 1]
    return float(np.nextafter(kept, np.inf))


def best_f1_threshold(scores: NDArray[np.floating], errors: NDArray[np.bool_]) -> float:
    """Threshold with the highest F1 of the error class, escalation being the alarm. Raises ThresholdError without errors."""
    scores = _usable(scores)
    if not errors.any():
        raise ThresholdError("There is no wrong answer in the data, so F1 of the error class is undefined.")
    order = np.argsort(-scores, kind="stable")
    last_of_tie = np.append(np.diff(scores[order]) != 0, True)
    alarms = np.arange(1, len(scores) + 1)
    f1 = 2 * np.cumsum(errors[order]) / (alarms + errors.sum())
    best = int(np.argmax(np.where(last_of_tie, f1, -1.0)))
    return float(scores[order][best])


def cheapest_threshold(
    scores: NDArray[np.floating], errors: NDArray[np.bool_], accounting: Accounting, *, review: float, mistake: float
) -> float:
    """Threshold with the lowest cost on these very answers, for scores that are no probabilities.

    Escalating nothing is a candidate too and gives `inf`. Ties go to the higher threshold (fewer reviews).
    """
    scores = _usable(scores)
    order = np.argsort(-scores, kind="stable")
    wrong = errors[order]
    charged = np.cumsum(~wrong) if accounting == "false-discovery" else np.arange(1, len(wrong) + 1)
    costs = np.concatenate(([errors.sum() * mistake], charged * review + (errors.sum() - np.cumsum(wrong)) * mistake))
    possible = np.concatenate(([True], np.append(np.diff(scores[order]) != 0, True)))
    best = int(np.argmin(np.where(possible, costs, np.inf)))
    return math.inf if best == 0 else float(scores[order][best - 1])


@dataclass(frozen=True)
class CertifiedThreshold:
    """A threshold whose risk is bounded: `automated` calibration answers lay below it, `errors` of them wrong."""

    threshold: float
    automated: int
    errors: int
    upper_bound: float


def risk_bound_threshold(
    scores: NDArray[np.floating],
    errors: NDArray[np.bool_],
    *,
    max_risk: float,
    delta: float,
    starts: int = 10,
) -> CertifiedThreshold:
    """Largest threshold whose error rate among automated answers is <= `max_risk` with probability >= 1 - `delta`.

    The probability is over the draw of the calibration answers (i.i.d. with the traffic); it holds for any score and any
    sample size. Clopper-Pearson gives the exact bound for one threshold. Searching many thresholds needs more: multi-start
    fixed-sequence testing (Angelopoulos et al., "Learn then Test", 2021) walks from `starts` coverages upwards, each walk
    at level delta / starts, and stops a walk at its first failure. Coverages are fixed before a label is seen, and
    given the score at a rank, the answers below it are i.i.d., so each step's count of errors is binomial.

    Raises ThresholdError when nothing can be certified, naming the number of error-free answers that it would take.
    """
    for name, value in (("max_risk", max_risk), ("delta", delta)):
        if not 0 < value < 1:
            raise ThresholdError(f"{name} lies strictly between 0 and 1, not at {value}.")
    level = delta / starts
    smallest = math.ceil(math.log(level) / math.log1p(-max_risk))
    order = np.argsort(_usable(scores), kind="stable")
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
    fails = errors_below > _errors_allowed(n, max_risk, level)[automated]
    best = 0
    for start in np.linspace(smallest, n, starts, dtype=int):
        walk = fails[start:]
        best = max(best, start - 1 + (int(np.argmax(walk)) if walk.any() else len(walk))) if not walk[0] else best
    if not best:
        raise ThresholdError(
            f"No threshold keeps the error rate among automated answers below {max_risk:.1%} with {1 - delta:.0%} confidence "
            f"on {n} labelled answers. Allow more risk, label more answers, or escalate everything."
        )
    below, wrong = int(automated[best]), int(errors_below[best])
    return CertifiedThreshold(float(thresholds[best]), below, wrong, clopper_pearson_upper(wrong, below, level))


def clopper_pearson_upper(errors: int, n: int, delta: float) -> float:
    """Exact one-sided upper confidence bound (level 1 - `delta`) of a binomial rate (Clopper and Pearson, 1934)."""
    if errors >= n:
        return 1.0
    low, high = errors / n, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _binomial_cdf(errors, n, middle) > delta else (low, middle)
    return high


@lru_cache(maxsize=8)
def _errors_allowed(n: int, max_risk: float, level: float) -> NDArray[np.int64]:
    """Most errors among 0..n answers, [n + 1], that still put the exact bound at or below `max_risk`; -1: none would."""
    allowed = np.full(n + 1, -1)
    for m in range(1, n + 1):
        # Each further answer allows at most one further error.
        allowed[m] = allowed[m - 1] + (_binomial_cdf(int(allowed[m - 1]) + 1, m, max_risk) <= level)
    return allowed


def _binomial_cdf(k: int, n: int, p: float) -> float:
    i = np.arange(k + 1)
    log_choose = np.concatenate(([0.0], np.cumsum(np.log((n - i[1:] + 1) / i[1:])))) if k else np.zeros(1)
    return float(min(1.0, np.exp(log_choose + i * math.log(p) + (n - i) * math.log1p(-p)).sum()))


def _usable(scores: NDArray[np.floating]) -> NDArray[np.floating]:
    if len(scores) == 0 or np.isnan(scores).any():
        raise ThresholdError("A threshold needs at least one score, and none of them NaN.")
    return scores
