"""Operating points: where P(the LLM is wrong) becomes reason enough for a human.

Escalate when P(E) >= threshold. Costs are per item, in any one currency. The cost rules follow from Bayes decision
theory and need calibrated probabilities; the others look at scores, so any score that ranks will do.
"""

import math
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from scoring.errors import ThresholdError

Accounting = Literal["false-discovery", "review-charged"]
ACCOUNTINGS: tuple[Accounting, ...] = ("false-discovery", "review-charged")
COST_RATIO = 0.64
"""The paper's c_rev / c_mis."""


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


def review_budget_threshold(
    scores: NDArray[np.floating],
    *,
    budget: float,
    always_escalated: float = 0,
    weights: NDArray[np.floating] | None = None,
) -> float:
    """Smallest threshold that sends at most `budget` (0..1) of the traffic to humans.

    scores: [n] of the answers that could be automated, `weights` [n] how many each stands for; `always_escalated` counts those that never can
    (outcomes 2 and 3, unreadable answers), which use up budget first. Raises ThresholdError when they alone exceed it.
    """
    if not 0 <= budget <= 1:
        raise ThresholdError(f"A review budget is a share between 0 and 1, not {budget}.")
    order = np.argsort(usable(scores), kind="stable")
    ascending = scores[order]
    above = np.cumsum(np.ones(len(scores)) if weights is None else weights[order][::-1])
    total = float(above[-1]) + always_escalated
    allowed = int(np.searchsorted(above, budget * total - always_escalated + 1e-9, side="right"))
    if budget * total + 1e-9 < always_escalated:
        allowed = -1
    if allowed < 0:
        raise ThresholdError(
            f"{always_escalated:g} of {total:g} answers must go to humans whatever the threshold "
            f"({always_escalated / total:.1%}); a budget of {budget:.1%} cannot be met."
        )
    if allowed >= len(ascending):
        return 0.0
    # The costliest score that may not be escalated; ties with it may not be either.
    kept = ascending[len(ascending) - allowed - 1]
    return float(np.nextafter(kept, np.inf))


def best_f1_threshold(
    scores: NDArray[np.floating], errors: NDArray[np.bool_], weights: NDArray[np.floating] | None = None
) -> float:
    """Threshold with the highest F1 of the error class, escalation being the alarm. Raises ThresholdError without errors.

    `weights` [n]: how many each stands for.
    """
    scores = usable(scores)
    if not errors.any():
        raise ThresholdError("There is no wrong answer in the data, so F1 of the error class is undefined.")
    order = np.argsort(-scores, kind="stable")
    last_of_tie = np.append(np.diff(scores[order]) != 0, True)
    sizes = np.ones(len(scores)) if weights is None else weights[order]
    wrong = sizes * errors[order]
    f1 = 2 * np.cumsum(wrong) / (np.cumsum(sizes) + wrong.sum())
    best = int(np.argmax(np.where(last_of_tie, f1, -1.0)))
    return float(scores[order][best])


def cheapest_threshold(
    scores: NDArray[np.floating],
    errors: NDArray[np.bool_],
    accounting: Accounting,
    *,
    review: float,
    mistake: float,
    weights: NDArray[np.floating] | None = None,
) -> float:
    """Threshold with the lowest cost on these very answers, for scores that are no probabilities. `weights` [n]: how many each stands for.

    Escalating nothing is a candidate too and gives `inf`. Ties go to the higher threshold (fewer reviews).
    """
    scores = usable(scores)
    order = np.argsort(-scores, kind="stable")
    sizes = np.ones(len(scores)) if weights is None else weights[order]
    wrong = sizes * errors[order]
    charged = np.cumsum(sizes - wrong if accounting == "false-discovery" else sizes)
    costs = np.concatenate(([wrong.sum() * mistake], charged * review + (wrong.sum() - np.cumsum(wrong)) * mistake))
    possible = np.concatenate(([True], np.append(np.diff(scores[order]) != 0, True)))
    best = int(np.argmin(np.where(possible, costs, np.inf)))
    return math.inf if best == 0 else float(scores[order][best - 1])


def usable(scores: NDArray[np.floating]) -> NDArray[np.floating]:
    """The scores themselves. Raises ThresholdError when there are none, or one of them is NaN."""
    if len(scores) == 0 or np.isnan(scores).any():
        raise ThresholdError("A threshold needs at least one score, and none of them NaN.")
    return scores
