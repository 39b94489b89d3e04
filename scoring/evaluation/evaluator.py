"""`secondlook evaluate`: a model and every baseline on the items that no training has seen.

Costs are per answer, in units of c_mis. All choices (thresholds, the best single estimator) are made on the data's training part;
the held-out part only judges them, and certifies risks, which takes labels that chose nothing. Answers without a decision are escalated by everyone and reported apart.
"""

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scoring.data.dataset import Dataset
from scoring.data.traffic import Traffic
from scoring.errors import DataError
from scoring.evaluation import metrics
from scoring.evaluation.baselines import BASELINES, SINGLE_ESTIMATORS, rule
from scoring.evaluation.bootstrap import Figure
from scoring.evaluation.comparing import against as rivals
from scoring.evaluation.diagnostics import (
    calibration_table,
    effects,
    failure_conditions,
    risk_bounds,
    risk_coverage,
    slices,
)
from scoring.evaluation.labels import draws, label_figures, largest_weight
from scoring.evaluation.ruling import Ruling, cost, paired_difference, rule_at, rule_at_cheapest, summarise
from scoring.evaluation.words import conclusions
from scoring.model import ErrorModel
from scoring.thresholds import ACCOUNTINGS, COST_RATIO, Accounting, cost_threshold

COST_BAND = tuple(round(0.4 + 0.05 * i, 2) for i in range(11))
"""The paper's sensitivity range of c_rev / c_mis."""
REPLICATES = 2000
_REPLICATES_OF_CONDITIONS = 1000
SEED = 20261123


@dataclass(frozen=True)
class Trial:
    """Everything that judges: the decided training and held-out rows, and the model's scores on both."""

    train: Dataset
    test: Dataset
    train_scores: NDArray[np.float64]
    test_scores: NDArray[np.float64]
    calibrated: bool

    def model(self, review: float) -> Ruling:
        """The model at the Bayes threshold; an uncalibrated one at the threshold that was cheapest on the training part."""
        if self.calibrated:
            return rule_at(
                self.test_scores, {name: cost_threshold(name, review=review, mistake=1.0) for name in ACCOUNTINGS}
            )
        return rule_at_cheapest(self.test_scores, self.train_scores, self.train.errors, review, self.train.weights)

    def baseline(self, name: str, review: float) -> Ruling:
        """A baseline, its rates and thresholds from the training part."""
        return rule(name, self.train, self.test, review)


def evaluate(
    model: ErrorModel,
    data: Dataset,
    *,
    traffic: Traffic | None = None,
    cost_ratio: float = COST_RATIO,
    replicates: int = REPLICATES,
) -> dict[str, Any]:
    """Judge `model` on the held-out items of `data`; the result is what `--json` writes. Raises DataError, ThresholdError.

    Where rows came to be labelled with unequal chances, each counts by the inverse of its own, so that figures are of the `traffic` and not of
    what happened to be labelled. These weights are not clipped: a clipped figure would be off to one side.
    """
    data = data.in_canonical_order()  # the bootstrap draws rows by their place
    held_out = data.take(data.held_out)
    trial = _trial(model, data, held_out)
    errors, weights, most = trial.test.errors, trial.test.weights, largest_weight(trial.test, traffic)
    rulings = {name: trial.baseline(name, cost_ratio) for name in BASELINES}
    judged = trial.model(cost_ratio)
    figures = {
        **_comparison(model, trial, judged, rulings, cost_ratio),
        "data": _describe(data, held_out, trial),
        "calibration": calibration_table(trial.test_scores, errors, weights),
        "risk_coverage": {
            name: risk_coverage(ruling.scores, errors, weights)
            for name, ruling in {"model": judged, **rulings}.items()
            if name not in ("trust-all", "escalate-all")
        },
        "cost_curve": _cost_curve(trial),
        "risk_bounds": risk_bounds(trial.test_scores, errors, weights, most),
        "slices": slices(judged, rulings, trial.test, cost_ratio),
        "effects": effects(model, trial.test),
        "failure_conditions": failure_conditions(held_out, draws(held_out, traffic, _REPLICATES_OF_CONDITIONS, SEED)),
        "replicates": replicates,
        **label_figures(trial.test, traffic),
    }
    result = draws(trial.test, traffic, replicates, SEED).estimate(figures)
    return {**result, "conclusions": conclusions(result)}


def _comparison(
    model: ErrorModel, trial: Trial, judged: Ruling, rulings: dict[str, Ruling], cost_ratio: float
) -> dict[str, Any]:
    """The figures of the model's ruling and of the baselines', each against the best single estimator."""
    errors, best = trial.test.errors, _best_single(trial, cost_ratio)

    def against(ruling: Ruling, others: dict[Accounting, str]) -> dict[Accounting, Figure]:
        return {
            name: paired_difference(ruling, rulings[other], errors, name, cost_ratio) for name, other in others.items()
        }

    def entry(ruling: Ruling) -> dict[str, Any]:
        return {**summarise(ruling, errors, cost_ratio), "paired_cost_difference": against(ruling, best)}

    stated = {"name": model.name, "sha256": model.sha256, "calibrated": trial.calibrated}
    return {
        "model": {**stated, **entry(judged)},
        "baselines": {name: entry(ruling) for name, ruling in rulings.items()},
        "best_single_estimator": best,
        "cost_ratio": cost_ratio,
        "against_label_and_policy": against(judged, dict.fromkeys(ACCOUNTINGS, "label-and-policy")),
        "against": rivals(judged, rulings, errors, cost_ratio),
    }


def _trial(model: ErrorModel, data: Dataset, held_out: Dataset) -> Trial:
    train, test = (part.take(part.decided) for part in (data.take(data.trains), held_out))
    for part, name in ((train, "training"), (test, "held-out")):
        wrong = int(part.errors.sum())
        if not 0 < wrong < len(part):
            raise DataError(
                f"The {name} part holds {len(part)} verdicts, {wrong} of them wrong: nothing can be judged. Both parts need wrong "
                "and right answers; the split is by a hash of request_id, about 60 to 40."
            )
    return Trial(train, test, risks(model, train), risks(model, test), bool(model.card["calibrated"]))


def risks(model: ErrorModel, data: Dataset) -> NDArray[np.float64]:
    """P(E) [n]; 1 where the model gives no number or the answer lacks what all training answers had: the highest risk."""
    scores = model.score(data.values, data.policies, data.languages)
    usable = scores.supported & ~np.isnan(scores.error_probability)
    return np.where(usable, scores.error_probability, 1.0).astype(np.float64)


def _best_single(trial: Trial, cost_ratio: float) -> dict[Accounting, str]:
    """The single estimator that is cheapest on the training part: the choice that an operator could have made."""
    seen = {name: rule(name, trial.train, trial.train, cost_ratio) for name in SINGLE_ESTIMATORS}
    return {
        accounting: min(
            seen,
            key=lambda name: np.average(
                metrics.item_costs(seen[name].escalated[accounting], trial.train.errors, accounting, cost_ratio),
                weights=trial.train.weights,
            ),
        )
        for accounting in ACCOUNTINGS
    }


def _cost_curve(trial: Trial) -> dict[str, Any]:
    """Cost against c_rev / c_mis over the paper's band, each rule at its own threshold for that ratio."""
    curve: dict[str, Any] = {"ratios": list(COST_BAND), **{accounting: {} for accounting in ACCOUNTINGS}}
    for ratio in COST_BAND:
        rulings = {"model": trial.model(ratio), **{name: trial.baseline(name, ratio) for name in BASELINES}}
        for accounting in ACCOUNTINGS:
            for name, ruling in rulings.items():
                costs = cost(ruling.escalated[accounting], trial.test.errors, accounting, ratio)
                curve[accounting].setdefault(name, []).append(costs)
    return curve


def _describe(data: Dataset, held_out: Dataset, trial: Trial) -> dict[str, Any]:
    return {
        "rows": len(data),
        "training_rows": int(data.trains.sum()),
        "held_out_rows": len(held_out),
        "held_out_decided": len(trial.test),
        "held_out_errors": int(trial.test.errors.sum()),
        "prevalence": float(np.average(trial.test.errors, weights=trial.test.weights)),
        "always_escalated": dict(sorted(Counter(_WHY[int(o)] for o in held_out.outcomes[~held_out.decided]).items())),
        "held_out_sha256": held_out.sha256(),
        "llms": sorted({origin.llm for origin in held_out.origins}),
        **held_out.span,
    }


_WHY = {2: "evidence deficiency", 3: "policy gap", -1: "no outcome"}
