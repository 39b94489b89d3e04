"""`secondlook train`: from labelled vectors to a model file and its card. Needs the `train` extra.

The same data gives the same bytes: seeds are fixed, rows are put in canonical order, linear algebra runs on one thread.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray
from sklearn import config_context
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # comes with scikit-learn

from featurizers import SCHEMA
from scoring.data.dataset import Dataset
from scoring.data.traffic import Traffic
from scoring.errors import ThresholdError, TrainingError
from scoring.evaluation import metrics
from scoring.evaluation.baselines import BASELINES, rule
from scoring.evaluation.bootstrap import Bootstrap, Figure
from scoring.evaluation.comparing import against, simpler
from scoring.evaluation.labels import draws
from scoring.evaluation.ruling import Ruling, join, rule_at, summarise
from scoring.evaluation.words import learned
from scoring.inputs import Inputs
from scoring.reference import reference_of
from scoring.thresholds import (
    ACCOUNTINGS,
    COST_RATIO,
    Accounting,
    best_f1_threshold,
    cost_threshold,
    review_budget_threshold,
)
from scoring.training.checks import (
    languages_of_their_own,
    policies_of_their_own,
    refuse_leaks,
    refuse_one_stratum,
    require_enough,
)
from scoring.training.cross_validation import (
    FOLDS,
    Candidate,
    Sample,
    Trials,
    fit_candidate,
    log_losses,
    splits,
    try_families,
)
from scoring.training.export import to_onnx
from scoring.training.learners import FAMILIES, PREFERRED, Family
from scoring.training.meta_model import MetaModel

SEED = 20261123
DEALS = 3
"""How often the folds are dealt anew to choose the model; one deal moves the costs by as much as the candidates differ."""
NESTED_DEALS = 2
"""The same within each outer fold."""
_SHOWN = 1.645
"""One-sided, 95 %."""
REPLICATES = 1000
LIBRARIES = ("numpy", "onnx", "scikit-learn", "skl2onnx")


@dataclass(frozen=True)
class Trained:
    """A finished model: the file's bytes, its card, and the fitted model and input layout it was written from.

    `nested` is P(E) [n] of the training verdicts in canonical order, each by a model that was chosen and fitted without it.
    """

    onnx: bytes
    card: dict[str, Any]
    meta_model: MetaModel
    inputs: Inputs
    nested: NDArray[np.float64]


def train(
    data: Dataset,
    *,
    accounting: Accounting = "false-discovery",
    cost_ratio: float = COST_RATIO,
    families: Sequence[str] = tuple(FAMILIES),
    traffic: Traffic | None = None,
    replicates: int = REPLICATES,
) -> Trained:
    """Choose by cross-validation (see `choose`), fit on the items of `data` that are not held out, export.

    `cost_ratio` is c_rev / c_mis; `families` are names of `FAMILIES`. Where rows came to be labelled with unequal chances, each counts
    by the inverse of its own, clipped (see `clip`). The card's intervals are of so many `replicates`. Raises TrainingError
    when there are too few wrong or right answers, when labels stand for a part of `traffic` alone, when a predictor gives the label away,
    or for an unknown family; ThresholdError for a ratio that makes no sense.
    """
    wanted = _named(families)
    bayes = {name: cost_threshold(name, review=cost_ratio, mistake=1.0) for name in ACCOUNTINGS}
    part = data.take(data.trains).in_canonical_order()
    decided = part.take(part.decided)
    if traffic is not None:
        refuse_one_stratum(decided, traffic)
    require_enough(decided)
    refuse_leaks(decided)
    inputs = Inputs(policies_of_their_own(decided), languages_of_their_own(decided))
    weights, clipping = clip(decided.weights)
    sample = _sample(decided, inputs, weights)
    with _lean():
        trials = try_families(sample, wanted, [SEED + deal for deal in range(DEALS)])
        chosen = choose(trials.predictions, sample.errors, accounting, cost_ratio, weights)
        model = fit_candidate(sample, wanted, trials, chosen, SEED)
        found = nested(sample, wanted, accounting, cost_ratio)
        sampling = draws(decided, traffic, replicates, SEED)
        judged = _judged("-".join(chosen), rule_at(found, bayes), trials, bayes, sample, decided, cost_ratio, sampling)
    family, method = chosen
    card = {
        **_served("-".join(chosen), model, inputs, decided),
        "data": {
            **_describe(part, decided),
            **_rate(decided),
            **clipping,
            **({} if traffic is None else {"labels": traffic.stated()}),
        },
        "chosen": {
            "family": family,
            "setting": trials.settings[family],
            "calibration": method,
            "accounting": accounting,
            "cost_ratio": cost_ratio,
            "folds": FOLDS,
            "deals": DEALS,
            "seed": SEED,
        },
        "thresholds": {"cost": bayes, "out_of_fold": _thresholds(trials.predictions[chosen][0], sample, part)},
        "reference": msgspec.to_builtins(reference_of(decided.values, decided.policies, found, weights)),
        "libraries": {library: version(library) for library in LIBRARIES},
        **judged,
    }
    return Trained(to_onnx(model, card), card, model, inputs, found)


def fit(
    decided: Dataset, *, accounting: Accounting = "false-discovery", cost_ratio: float = COST_RATIO
) -> tuple[MetaModel, Inputs]:
    """The recipe alone, on all rows given: try, choose, fit. No card, no nested cross-validation, no file."""
    inputs = Inputs(policies_of_their_own(decided), languages_of_their_own(decided))
    sample = _sample(decided, inputs, clip(decided.weights)[0])
    with _lean():
        trials = try_families(sample, FAMILIES, [SEED + deal for deal in range(DEALS)])
        chosen = choose(trials.predictions, sample.errors, accounting, cost_ratio, sample.weights)
        return fit_candidate(sample, FAMILIES, trials, chosen, SEED), inputs


@contextmanager
def _lean() -> Iterator[None]:
    """Linear algebra on one thread, the same sums in the same order; and thousands of small fits without a check of what is finite by construction."""
    with threadpool_limits(1), config_context(assume_finite=True, skip_parameter_validation=True):
        yield


def _named(families: Sequence[str]) -> dict[str, Family]:
    """The families of these names, in their order from simple to complex."""
    unknown = [name for name in families if name not in FAMILIES]
    if unknown or not families:
        raise TrainingError(f"No family {', '.join(unknown) or 'is named'}; there are {', '.join(FAMILIES)}.")
    return {name: family for name, family in FAMILIES.items() if name in families}


def _sample(decided: Dataset, inputs: Inputs, weights: NDArray[np.float64] | None) -> Sample:
    return Sample(
        inputs.encode(decided.values, decided.policies, decided.languages),
        decided.errors,
        decided.groups,
        [f"{policy} {language}" for policy, language in zip(decided.policies, decided.languages, strict=True)],
        SCHEMA.names,
        len(inputs.languages),
        weights,
    )


def nested(
    sample: Sample, families: Mapping[str, Family], accounting: Accounting, cost_ratio: float
) -> NDArray[np.float64]:
    """P(E) of each row, [n], by models that were tried, chosen, fitted and calibrated without its group."""
    found = np.empty(len(sample.errors))
    for rows, unseen in splits(sample, FOLDS, SEED):
        part = sample.take(rows)
        trials = try_families(part, families, [SEED + deal for deal in range(1, 1 + NESTED_DEALS)])
        chosen = choose(trials.predictions, part.errors, accounting, cost_ratio, part.weights)
        found[unseen] = fit_candidate(part, families, trials, chosen, SEED).predict(sample.inputs[unseen])
    return found


def _served(name: str, model: MetaModel, inputs: Inputs, decided: Dataset) -> dict[str, Any]:
    """The part of the card that a worker goes by."""
    return {
        "name": name,
        "kind": "meta-model",
        "calibrated": True,
        "schema": {"id": SCHEMA.id, "names": list(SCHEMA.names)},
        "terms": list(model.scorer.expansion.terms),
        "policies": sorted(set(decided.policies)),
        "languages": sorted(set(decided.languages)),
        "inputs": {
            "policies": list(inputs.policies),
            "languages": list(inputs.languages),
            "never_missing": _never_missing(decided),
        },
    }


def _never_missing(decided: Dataset) -> list[str]:
    """Predictors that every training answer had: an answer without one is outside what the model has been tested on."""
    present = np.asarray(~np.isnan(decided.values).any(axis=0))
    return [name for name, always in zip(SCHEMA.names, present.tolist(), strict=True) if always]


def _judged(
    name: str,
    ruling: Ruling,
    trials: Trials,
    bayes: dict[Accounting, float],
    sample: Sample,
    decided: Dataset,
    cost_ratio: float,
    sampling: Bootstrap,
) -> dict[str, Any]:
    """Nested cross-validation of the model, its choice included, beside every baseline under the same outer folds; all candidates; and what it says."""
    errors = sample.errors
    cut = [(rows, decided.take(seen), decided.take(rows)) for seen, rows in splits(sample, FOLDS, SEED)]
    baselines = {
        key: join([(rows, rule(key, seen, unseen, cost_ratio)) for rows, seen, unseen in cut], len(decided))
        for key in BASELINES
    }
    candidates = {
        "-".join(key): rule_at(predicted[0], bayes)
        for key, predicted in trials.predictions.items()
        if key[1] == "platt"
    }
    judged = sampling.estimate(
        {
            "nested_cv": {key: summarise(one, errors, cost_ratio) for key, one in {name: ruling, **baselines}.items()},
            "candidates": {key: summarise(one, errors, cost_ratio) for key, one in candidates.items()},
            "calibration_error": Figure(lambda weights: metrics.calibration_error(ruling.scores, errors, weights)),
            "against": against(ruling, baselines, errors, cost_ratio),
        }
    )
    verdict = learned(judged["nested_cv"][name]["auroc"], judged["against"], name)
    return {**judged, "verdict": verdict, "simpler": simpler(judged["against"])}


def choose(
    predictions: Mapping[Candidate, NDArray[np.float64]],
    errors: NDArray[np.bool_],
    accounting: Accounting,
    cost_ratio: float,
    weights: NDArray[np.float64] | None = None,
) -> Candidate:
    """The first family, in their order, that is not shown to be worse than the best one, and its calibration.

    A family's calibration is the first that is within one standard error of its best in log loss. Worse is then by more than one
    standard error of the paired difference (Breiman et al., 1984), in log loss or in expected cost; the preferred family gives way
    only where that is shown with 95 % confidence. Log loss judges every probability and so is steadier; cost is what the model is
    for. Where none is good enough in both, log loss decides. Each answer's loss is its mean over the deals, [r, n] to [n].
    """
    threshold = cost_threshold(accounting, review=cost_ratio, mistake=1.0)
    losses = {key: log_losses(found, errors).mean(axis=0) for key, found in predictions.items()}
    calibrated = [
        _not_worse({key: loss for key, loss in losses.items() if key[0] == family}, {}, weights)[0]
        for family in dict.fromkeys(key[0] for key in predictions)
    ]
    costs = {
        key: np.mean(
            [metrics.item_costs(p >= threshold, errors, accounting, cost_ratio) for p in predictions[key]], axis=0
        )
        for key in calibrated
    }
    margins = {key: _SHOWN for key in calibrated if key[0] == PREFERRED}
    by_loss = _not_worse({key: losses[key] for key in calibrated}, margins, weights)
    by_cost = _not_worse(costs, margins, weights)
    return next((key for key in by_loss if key in by_cost), by_loss[0])


def _not_worse(
    losses: Mapping[Candidate, NDArray[np.float64]],
    margins: Mapping[Candidate, float],
    weights: NDArray[np.float64] | None,
) -> list[Candidate]:
    """Those whose mean loss is above the least by no more than so many standard errors, one where no other margin is given."""
    best = min(losses.values(), key=lambda loss: float(np.average(loss, weights=weights)))
    found = []
    for key, loss in losses.items():
        worse, error = _mean_and_error(loss - best, weights)
        if worse <= margins.get(key, 1.0) * error + 1e-12:
            found.append(key)
    return found


def _mean_and_error(difference: NDArray[np.float64], weights: NDArray[np.float64] | None) -> tuple[float, float]:
    """A mean and its standard error; with weights that of a ratio (Hajek)."""
    if weights is None:
        return float(difference.mean()), float(difference.std() / np.sqrt(len(difference)))
    mean = float(np.average(difference, weights=weights))
    return mean, float(np.sqrt(((weights * (difference - mean)) ** 2).sum()) / weights.sum())


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


def _thresholds(probabilities: NDArray[np.float64], sample: Sample, part: Dataset) -> dict[str, float | str]:
    """Operating points on out-of-fold probabilities; what cannot be met says so in its place."""
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


def _undecided(part: Dataset) -> float:
    """How many answers without a verdict there are to each with one, times the number of those."""
    if part.weights is None:
        return len(part) - int(part.decided.sum())
    return float(part.weights[~part.decided].sum() / part.weights[part.decided].mean())


def _rate(decided: Dataset) -> dict[str, float]:
    """The share of errors in all that unequal labels stand for."""
    if decided.weights is None:
        return {}
    return {"error_rate": float(np.average(decided.errors, weights=decided.weights))}


def _describe(part: Dataset, decided: Dataset) -> dict[str, Any]:
    return {
        "sha256": part.sha256(),
        "rows": len(part),
        "decided": len(decided),
        "errors": int(decided.errors.sum()),
        "outcomes": {str(outcome): count for outcome, count in sorted(Counter(part.outcomes.tolist()).items())},
        "rows_per_policy": dict(sorted(Counter(part.policies).items())),
        "llms": sorted({origin.llm for origin in part.origins}),
        **part.span,
    }
