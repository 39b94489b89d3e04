"""What a model or a baseline would do with a set of answers, and what that comes to."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scoring.evaluation import metrics
from scoring.thresholds import ACCOUNTINGS, Accounting

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

HEADLINE: Accounting = "false-discovery"
"""The accounting whose threshold `escalation_rate` and `automated_accuracy` are stated at."""


@dataclass(frozen=True)
class Ruling:
    """A risk score [n], and under each accounting the threshold and what it escalates [n]."""

    scores: Floats
    thresholds: dict[Accounting, float]
    escalated: dict[Accounting, Bools]


def rule_at(scores: Floats, thresholds: dict[Accounting, float]) -> Ruling:
    """Escalate every score at or above its accounting's threshold."""
    return Ruling(scores, thresholds, {name: scores >= threshold for name, threshold in thresholds.items()})


def join(parts: Sequence[tuple[NDArray[np.int64], Ruling]], n: int) -> Ruling:
    """Put rulings on disjoint rows together; thresholds become their means (they differ from fold to fold)."""
    scores = np.empty(n)
    escalated = {name: np.empty(n, dtype=bool) for name in ACCOUNTINGS}
    for rows, part in parts:
        scores[rows] = part.scores
        for name in ACCOUNTINGS:
            escalated[name][rows] = part.escalated[name]
    means = {name: float(np.mean([part.thresholds[name] for _, part in parts])) for name in ACCOUNTINGS}
    return Ruling(scores, means, escalated)


def summarise(ruling: Ruling, errors: Bools, weights: Floats, review: float) -> dict[str, Any]:
    """The metrics of the method, each {value, low, high}; `cost` per accounting in units of c_mis per answer."""

    def stated(values: Floats) -> dict[str, float | None]:
        return metrics.interval(values).as_dict()

    return {
        "auroc": stated(metrics.auroc(ruling.scores, errors, weights)),
        "auprc": stated(metrics.auprc(ruling.scores, errors, weights)),
        "aurc": stated(metrics.aurc(ruling.scores, errors, weights)),
        "cost": {
            name: stated(metrics.cost(ruling.escalated[name], errors, weights, name, review)) for name in ACCOUNTINGS
        },
        "escalation_rate": stated(metrics.escalation_rate(ruling.escalated[HEADLINE], weights)),
        "automated_accuracy": stated(metrics.automated_accuracy(ruling.escalated[HEADLINE], errors, weights)),
        "at": {
            name: {
                "threshold": ruling.thresholds[name] if np.isfinite(ruling.thresholds[name]) else None,
                "escalation_rate": stated(metrics.escalation_rate(ruling.escalated[name], weights)),
                "automated_accuracy": stated(metrics.automated_accuracy(ruling.escalated[name], errors, weights)),
            }
            for name in ACCOUNTINGS
        },
    }


def paired_difference(
    ruling: Ruling, other: Ruling, errors: Bools, weights: Floats, *, accounting: Accounting, review: float
) -> dict[str, float | None]:
    """Cost of `ruling` minus cost of `other` on the same resampled items: {value, low, high, p_value}.

    The two-sided p-value is the bootstrap's: twice the smaller share of replicates on either side of zero, the sample itself
    counted in, so it is never 0.
    """
    difference = metrics.cost(ruling.escalated[accounting], errors, weights, accounting, review) - metrics.cost(
        other.escalated[accounting], errors, weights, accounting, review
    )
    replicates = difference[1:]
    rarer_side = min((replicates <= 0).sum(), (replicates >= 0).sum())
    p_value = min(1.0, 2 * float(rarer_side + 1) / (len(replicates) + 1))
    return {**metrics.interval(difference).as_dict(), "p_value": p_value}
