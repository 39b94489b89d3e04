"""How well a score finds the LLM's errors, vectorised over bootstrap replicates.

Figures take scores or escalations [n], errors bool [n] and weights [B, n] (how often each item was drawn), and give [B].
Higher scores mean riskier. Tied scores count as if ordered at random, in `auprc` as one step: a constant score gets what chance gives.
"""

import numpy as np
from numpy.typing import NDArray

from scoring.thresholds import Accounting

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


def auroc(scores: Floats, errors: Bools, weights: Floats) -> Floats:
    """P(a wrong answer scores higher than a right one), ties counting half; NaN without both kinds."""
    wrong, right = _per_score(scores, errors, weights)
    right_below = np.cumsum(right, axis=1) - right
    pairs = wrong.sum(axis=1) * right.sum(axis=1)
    return _ratio((wrong * (right_below + right / 2)).sum(axis=1), pairs)


def auprc(scores: Floats, errors: Bools, weights: Floats) -> Floats:
    """Average precision of finding errors; NaN without errors."""
    wrong, right = (side[:, ::-1] for side in _per_score(scores, errors, weights))
    found, alarms = np.cumsum(wrong, axis=1), np.cumsum(wrong + right, axis=1)
    return _ratio((wrong * _ratio(found, alarms, empty=0.0)).sum(axis=1), wrong.sum(axis=1))


def aurc(scores: Floats, errors: Bools, weights: Floats) -> Floats:
    """Mean error rate among the automated, over all coverages (Geifman and El-Yaniv, 2017); lower is better."""
    order, group = _ranked(scores)
    wrong, right = _per_score(scores, errors, weights)
    rate = _ratio(wrong, wrong + right, empty=0.0)[:, group]
    drawn = weights[:, order]
    risk = _ratio(np.cumsum(drawn * rate, axis=1), np.cumsum(drawn, axis=1), empty=0.0)
    return _ratio((drawn * risk).sum(axis=1), drawn.sum(axis=1))


def weighted_mean(values: Floats, weights: Floats) -> Floats:
    """Mean of values [n] in each replicate; NaN where nothing was drawn."""
    return _ratio(weights @ values, weights.sum(axis=1))


def item_costs(escalated: Bools, errors: Bools, accounting: Accounting, review: float) -> Floats:
    """Cost of each answer [n] in units of c_mis, at c_rev = `review` c_mis."""
    charged = escalated & ~errors if accounting == "false-discovery" else escalated
    return np.asarray((~escalated & errors) + charged * review)


def calibration_error(probabilities: Floats, errors: Bools, weights: Floats, bins: int = 10) -> Floats:
    """ECE over bins of equal count: mean |observed - predicted| error rate, weighted by the bins' sizes."""
    total = np.zeros(len(weights))
    for members in equal_count_bins(probabilities, bins):
        drawn = weights[:, members]
        total += np.abs((drawn * (errors[members] - probabilities[members])).sum(axis=1))
    return _ratio(total, weights.sum(axis=1))


def equal_count_bins(probabilities: Floats, bins: int = 10) -> list[NDArray[np.int64]]:
    """Indices of each bin, by rising probability. Equal ones are not parted: they lie where the middle of them does."""
    n = len(probabilities)
    order, group = _ranked(probabilities)
    ends = np.cumsum([len(part) for part in np.array_split(np.arange(n), bins)])
    counts = np.bincount(group)
    middle = np.cumsum(counts) - (counts + 1) // 2
    bin_of = np.searchsorted(ends, middle, side="right")[group]
    return [order[bin_of == number] for number in range(bins) if (bin_of == number).any()]


def _ranked(scores: Floats) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Ascending order [n] and, in that order, the index of each distinct score [n]."""
    order = np.argsort(scores, kind="stable")
    return order, np.concatenate(([0], np.cumsum(np.diff(scores[order]) != 0)))


def _per_score(scores: Floats, errors: Bools, weights: Floats) -> tuple[Floats, Floats]:
    """Weight of wrong and of right answers at each distinct score, ascending: [B, s] each."""
    order, group = _ranked(scores)
    starts = np.concatenate(([0], np.flatnonzero(np.diff(group)) + 1))
    drawn, wrong = weights[:, order], errors[order]
    if len(starts) == len(order):
        return drawn * wrong, drawn * ~wrong
    return np.add.reduceat(drawn * wrong, starts, axis=1), np.add.reduceat(drawn * ~wrong, starts, axis=1)


def _ratio(above: Floats, below: Floats, empty: float = np.nan) -> Floats:
    return np.asarray(np.divide(above, below, out=np.full(np.shape(above), empty), where=below > 0))
