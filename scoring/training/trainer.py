"""`secondlook train`: from labelled vectors to a model file and its card. Needs the `train` extra.

The same data gives the same bytes: seeds are fixed, rows are put in canonical order, linear algebra runs on one thread.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # comes with scikit-learn

from featurizers import SCHEMA
from scoring.data.dataset import Dataset
from scoring.data.traffic import Traffic
from scoring.data.window import moment
from scoring.errors import ThresholdError
from scoring.evaluation import metrics
from scoring.evaluation.baselines import BASELINES, rule
from scoring.evaluation.bootstrap import Bootstrap, Figure
from scoring.evaluation.ruling import Ruling, auroc, join, rule_at, summarise
from scoring.evaluation.words import learned
from scoring.inputs import Inputs
from scoring.thresholds import (
    ACCOUNTINGS,
    COST_RATIO,
    Accounting,
    best_f1_threshold,
    cost_threshold,
    review_budget_threshold,
)
from scoring.training.calibration import Method
from scoring.training.checks import policies_of_their_own, refuse_leaks, refuse_one_stratum, require_enough
from scoring.training.cross_validation import OUTER_FOLDS, Fitted, Sample, fit_family, nested_predictions, splits
from scoring.training.export import to_onnx
from scoring.training.meta_model import SETTINGS, Family, Linear, MetaModel

SEED = 20261123
REPEATS = 3
"""Rounds of nested cross-validation, each with folds of its own; the first one's figures are in the card."""
REPLICATES = 1000
LIBRARIES = ("numpy", "onnx", "scikit-learn", "skl2onnx")


@dataclass(frozen=True)
class Trained:
    """A finished model: the file's bytes, its card, and the fitted model and input layout it was written from."""

    onnx: bytes
    card: dict[str, Any]
    meta_model: MetaModel
    inputs: Inputs


def train(
    data: Dataset,
    *,
    accounting: Accounting = "false-discovery",
    cost_ratio: float = COST_RATIO,
    families: Sequence[Family] = tuple(SETTINGS),
    traffic: Traffic | None = None,
) -> Trained:
    """Choose by nested cross-validation on expected cost (see `choose`), fit on the items of `data` that are not held out, export.

    `cost_ratio` is c_rev / c_mis. Where rows came to be labelled with unequal chances, each counts by the inverse of its own, clipped (see
    `clip`). Raises TrainingError when there are too few wrong or right answers, when labels stand for a part of `traffic` alone, or when a
    predictor gives the label away; ThresholdError for a ratio that makes no sense.
    """
    bayes = {name: cost_threshold(name, review=cost_ratio, mistake=1.0) for name in ACCOUNTINGS}
    part = data.take(~data.held_out).in_canonical_order()
    decided = part.take(part.decided)
    if traffic is not None:
        refuse_one_stratum(decided, traffic)
    require_enough(decided)
    refuse_leaks(decided)
    inputs = Inputs(policies_of_their_own(decided))
    encoded = inputs.encode(decided.values, decided.policies)
    weights, clipping = clip(decided.weights)
    sample = Sample(encoded, decided.errors, decided.groups, decided.policies, SCHEMA.names, weights)
    with threadpool_limits(1):
        rounds = [nested_predictions(sample, families, SEED + repeat) for repeat in range(REPEATS)]
        candidates = {key: [rule_at(predicted[key], bayes) for predicted in rounds] for key in rounds[0]}
        family, method = choose(candidates, sample.errors, accounting, cost_ratio, weights)
        fitted = fit_family(sample, family, SEED)
        first = {key: rulings[0] for key, rulings in candidates.items()}
        judged = _judged(first, (family, method), sample, decided, cost_ratio)
    model = fitted.model(method)
    card = {
        **_served(f"{family}-{method}", model, inputs, decided),
        "data": {**_describe(part, decided), **clipping, **({} if traffic is None else {"labels": traffic.stated()})},
        "chosen": {
            "family": family,
            "setting": fitted.setting,
            "calibration": method,
            "accounting": accounting,
            "cost_ratio": cost_ratio,
            "outer_folds": OUTER_FOLDS,
            "repeats": REPEATS,
            "seed": SEED,
        },
        "thresholds": {"cost": bayes, "out_of_fold": _thresholds(fitted, method, sample, part)},
        "libraries": {library: version(library) for library in LIBRARIES},
        **judged,
    }
    return Trained(to_onnx(model, card), card, model, inputs)


def _served(name: str, model: MetaModel, inputs: Inputs, decided: Dataset) -> dict[str, Any]:
    """The part of the card that a worker goes by."""
    return {
        "name": name,
        "kind": "meta-model",
        "calibrated": True,
        "schema": {"id": SCHEMA.id, "names": list(SCHEMA.names)},
        "terms": list(model.scorer.expansion.terms) if isinstance(model.scorer.learner, Linear) else [],
        "policies": sorted(set(decided.policies)),
        "inputs": {"policies": list(inputs.policies), "never_missing": _never_missing(decided)},
    }


def _never_missing(decided: Dataset) -> list[str]:
    """Predictors that every training answer had: an answer without one is outside what the model has been tested on."""
    present = np.asarray(~np.isnan(decided.values).any(axis=0))
    return [name for name, always in zip(SCHEMA.names, present.tolist(), strict=True) if always]


def _judged(
    candidates: Mapping[tuple[Family, Method], Ruling],
    chosen: tuple[Family, Method],
    sample: Sample,
    decided: Dataset,
    cost_ratio: float,
) -> dict[str, Any]:
    """Nested cross-validation of every candidate and baseline, and what it says about the chosen one."""
    baselines = {name: _out_of_fold(name, sample, decided, cost_ratio) for name in BASELINES}
    named = {f"{family}-{method}": ruling for (family, method), ruling in candidates.items()} | baselines
    name, ruling, errors = "-".join(chosen), candidates[chosen], sample.errors
    judged = Bootstrap(sample.groups, REPLICATES, SEED, decided.weights).estimate(
        {
            "nested_cv": {key: summarise(one, errors, cost_ratio) for key, one in named.items()},
            "calibration_error": Figure(lambda weights: metrics.calibration_error(ruling.scores, errors, weights)),
            "gain": auroc(ruling, errors).minus(auroc(baselines["label-and-policy"], errors)),
        }
    )
    verdict = learned(judged["nested_cv"][name]["auroc"], judged.pop("gain"))
    return {**judged, "verdict": verdict}


def choose(
    candidates: Mapping[tuple[Family, Method], Sequence[Ruling]],
    errors: NDArray[np.bool_],
    accounting: Accounting,
    cost_ratio: float,
    weights: NDArray[np.float64] | None = None,
) -> tuple[Family, Method]:
    """The first candidate, from simple to complex, that costs at most one standard error more than the cheapest.

    Each answer's cost is its mean over the rounds of cross-validation, because one deal of folds moves the costs by as much as the
    candidates differ. The standard error is that of the paired difference (Breiman et al., 1984): among models that the
    data cannot tell apart, the paper's linear one, whose drivers can be shown, beats one that won by chance.
    """
    costs = {
        key: np.mean(
            [metrics.item_costs(r.escalated[accounting], errors, accounting, cost_ratio) for r in rulings], axis=0
        )
        for key, rulings in candidates.items()
    }
    cheapest = min(costs.values(), key=lambda cost: float(np.average(cost, weights=weights)))
    return next(key for key, cost in costs.items() if _within_noise(cost - cheapest, weights))


def _within_noise(difference: NDArray[np.float64], weights: NDArray[np.float64] | None) -> bool:
    """Whether a mean difference is at most its standard error; with weights that of a ratio (Hajek)."""
    if weights is None:
        return bool(difference.mean() <= difference.std() / np.sqrt(len(difference)))
    mean = float(np.average(difference, weights=weights))
    return bool(mean <= np.sqrt(((weights * (difference - mean)) ** 2).sum()) / weights.sum())


def clip(weights: NDArray[np.float64] | None) -> tuple[NDArray[np.float64] | None, dict[str, Any]]:
    """Weights with none above sqrt(n) times their mean, and what the card says of it.

    A single answer that stands for very many would make the model; the bias of this cap goes with n, as the variance does (Ionides 2008,
    "Truncated importance sampling"). Figures are not clipped.
    """
    if weights is None:
        return None, {}
    cap = float(np.sqrt(len(weights)) * weights.mean())
    kept = np.minimum(weights, cap)
    said = {
        "largest": float(weights.max()),
        "cap": cap,
        "clipped": int((weights > cap).sum()),
        "effective": float(kept.sum() ** 2 / (kept**2).sum()),
    }
    return kept / kept.mean(), {"weights": said}


def _out_of_fold(name: str, sample: Sample, decided: Dataset, cost_ratio: float) -> Ruling:
    """A baseline under the same outer folds as the meta-models."""
    parts = [
        (test, rule(name, decided.take(train), decided.take(test), cost_ratio))
        for train, test in splits(sample, OUTER_FOLDS, SEED)
    ]
    return join(parts, len(decided))


def _thresholds(fitted: Fitted, method: Method, sample: Sample, part: Dataset) -> dict[str, float | str]:
    """Operating points on out-of-fold probabilities; what cannot be met says so in its place."""
    probabilities = fitted.calibrators[method].predict(fitted.out_of_fold)
    points: dict[str, float | str] = {"best-f1": best_f1_threshold(probabilities, sample.errors, sample.weights)}
    never = _undecided(part)
    for budget in (0.1, 0.2, 0.3):
        try:
            points[f"review-budget-{budget:.0%}"] = review_budget_threshold(
                probabilities, budget=budget, always_escalated=never, weights=sample.weights
            )
        except ThresholdError as error:
            points[f"review-budget-{budget:.0%}"] = str(error)
    return points


def _span(part: Dataset) -> dict[str, str]:
    """From when to when the rows were decided, where they say so: a model is judged on what came later."""
    times = sorted(origin.decided_at for origin in part.origins if moment(origin.decided_at) and origin.decided_at)
    return {"since": times[0], "until": times[-1]} if times else {}


def _undecided(part: Dataset) -> float:
    """How many answers without a verdict there are to each with one, times the number of those."""
    if part.weights is None:
        return len(part) - int(part.decided.sum())
    return float(part.weights[~part.decided].sum() / part.weights[part.decided].mean())


def _describe(part: Dataset, decided: Dataset) -> dict[str, Any]:
    return {
        "sha256": part.sha256(),
        "rows": len(part),
        "decided": len(decided),
        "errors": int(decided.errors.sum()),
        "outcomes": {str(outcome): count for outcome, count in sorted(Counter(part.outcomes.tolist()).items())},
        "rows_per_policy": dict(sorted(Counter(part.policies).items())),
        "llms": sorted({origin.llm for origin in part.origins}),
        **_span(part),
    }
