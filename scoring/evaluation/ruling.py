"""What a model or a baseline would do with a set of answers, and what that comes to."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scoring.evaluation import metrics
from scoring.evaluation.bootstrap import Figure, mean_of
from scoring.thresholds import ACCOUNTINGS, Accounting, cheapest_threshold

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


def rule_at_cheapest(
    scores: Floats, seen: Floats, errors: Bools, review: float, weights: Floats | None = None
) -> Ruling:
    """Escalate at the thresholds that are cheapest on training answers: their scores `seen`, E, and weights where they are unequal."""
    return rule_at(
        scores,
        {
            name: cheapest_threshold(seen, errors, name, review=review, mistake=1.0, weights=weights)
            for name in ACCOUNTINGS
        },
    )


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


def summarise(ruling: Ruling, errors: Bools, review: float) -> dict[str, Any]:
    """The metrics of the method, to be estimated; `cost` per accounting in units of c_mis per answer."""

    def at(accounting: Accounting) -> dict[str, Any]:
        escalated = ruling.escalated[accounting]
        return {"escalation_rate": mean_of(escalated), "automated_accuracy": mean_of(~errors, ~escalated)}

    points = {name: at(name) for name in ACCOUNTINGS}
    thresholds = {name: value if np.isfinite(value) else None for name, value in ruling.thresholds.items()}
    return {
        "auroc": auroc(ruling, errors),
        "auprc": Figure(lambda weights: metrics.auprc(ruling.scores, errors, weights)),
        "aurc": Figure(lambda weights: metrics.aurc(ruling.scores, errors, weights)),
        "cost": {name: cost(ruling.escalated[name], errors, name, review) for name in ACCOUNTINGS},
        **points[HEADLINE],
        "at": {name: {"threshold": thresholds[name], **points[name]} for name in ACCOUNTINGS},
    }


def cost(escalated: Bools, errors: Bools, accounting: Accounting, review: float) -> Figure:
    """Expected cost per answer in units of c_mis, at c_rev = `review` c_mis."""
    return mean_of(metrics.item_costs(escalated, errors, accounting, review), high=max(1.0, review))


def auroc(ruling: Ruling, errors: Bools) -> Figure:
    """How well the score ranks errors."""
    return Figure(lambda weights: metrics.auroc(ruling.scores, errors, weights))


def paired_difference(ruling: Ruling, other: Ruling, errors: Bools, accounting: Accounting, review: float) -> Figure:
    """Cost of `ruling` minus cost of `other`, tested against zero."""
    ours, theirs = (
        metrics.item_costs(one.escalated[accounting], errors, accounting, review) for one in (ruling, other)
    )
    return mean_of(ours - theirs, low=-max(1.0, review), high=max(1.0, review), tested=True)
