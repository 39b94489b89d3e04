"""Grouped, stratified folds; out-of-fold calibration; and the nested cross-validation that chooses the model."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scoring.training.calibration import METHODS, Calibrator, Method, fit_calibrator
from scoring.training.meta_model import SETTINGS, Family, MetaModel, Scorer, fit_expansion, fit_learner

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

OUTER_FOLDS = INNER_FOLDS = 5
OUTCOME = "outcome_is_violation"


@dataclass(frozen=True)
class Sample:
    """What the folds cut: inputs [n, d + policies], E [n], groups and strata [n]; `names` are the d predictors.

    `weights` [n]: how many each row stands for; None where all stand for as many.
    """

    inputs: NDArray[np.float32]
    errors: Bools
    groups: Sequence[str]
    strata: Sequence[str]
    names: tuple[str, ...]
    weights: Floats | None = None

    def take(self, rows: NDArray[np.int64]) -> "Sample":
        """The given rows."""
        groups, strata = [self.groups[i] for i in rows], [self.strata[i] for i in rows]
        weights = None if self.weights is None else self.weights[rows]
        return Sample(self.inputs[rows], self.errors[rows], groups, strata, self.names, weights)


def folds(sample: Sample, count: int, seed: int) -> NDArray[np.int64]:
    """Fold number of each row, [n]: groups stay together, strata are dealt out evenly, rows' order does not matter.

    A group belongs to the stratum of its first member in sorted order.
    """
    stratum_of: dict[str, tuple[str, bool]] = {}
    for group, stratum, error in sorted(zip(sample.groups, sample.strata, sample.errors.tolist(), strict=True)):
        stratum_of.setdefault(group, (stratum, error))

    def shuffled(group: str) -> bytes:
        return hashlib.sha256(f"{seed}:{group}".encode()).digest()

    dealt = sorted(stratum_of, key=lambda group: (stratum_of[group], shuffled(group)))
    fold_of = {group: i % count for i, group in enumerate(dealt)}
    return np.array([fold_of[group] for group in sample.groups])


def splits(sample: Sample, count: int, seed: int) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Training and test rows of each fold."""
    fold = folds(sample, count, seed)
    for number in range(count):
        yield np.flatnonzero(fold != number), np.flatnonzero(fold == number)


def fit_scorer(sample: Sample, family: Family, setting: dict[str, Any], seed: int) -> Scorer:
    """Expansion on all rows, learner on balanced ones."""
    expansion = fit_expansion(sample.inputs, sample.names, OUTCOME)
    return Scorer(
        expansion, fit_learner(family, setting, expansion.transform(sample.inputs), sample.errors, seed, sample.weights)
    )


def out_of_fold_scores(sample: Sample, family: Family, setting: dict[str, Any], seed: int) -> Floats:
    """Score of each row by a scorer that has not seen its group, [n]."""
    scores = np.empty(len(sample.errors))
    for train, test in splits(sample, INNER_FOLDS, seed):
        scores[test] = fit_scorer(sample.take(train), family, setting, seed).score(sample.inputs[test])
    return scores


@dataclass(frozen=True)
class Fitted:
    """A family fitted on one sample: setting by out-of-fold log loss, one calibrator per method, scorer refit on all rows."""

    family: Family
    setting: dict[str, Any]
    scorer: Scorer
    calibrators: dict[Method, Calibrator]
    out_of_fold: Floats

    def model(self, method: Method) -> MetaModel:
        """The scorer with one of the calibrations."""
        return MetaModel(self.scorer, self.calibrators[method])


def fit_family(sample: Sample, family: Family, seed: int) -> Fitted:
    """Choose the setting and fit; the calibrators see out-of-fold scores at the natural base rate."""
    attempts = [(out_of_fold_scores(sample, family, setting, seed), setting) for setting in SETTINGS[family]]
    losses = [
        _log_loss(
            fit_calibrator("platt", scores, sample.errors, sample.weights).predict(scores),
            sample.errors,
            sample.weights,
        )
        for scores, _ in attempts
    ]
    scores, setting = attempts[int(np.argmin(losses))]
    return Fitted(
        family,
        setting,
        fit_scorer(sample, family, setting, seed),
        {method: fit_calibrator(method, scores, sample.errors, sample.weights) for method in METHODS},
        scores,
    )


def nested_predictions(sample: Sample, families: Sequence[Family], seed: int) -> dict[tuple[Family, Method], Floats]:
    """P(E) of each row, [n], by models chosen, fitted and calibrated without its group, per family and calibration.

    Another seed deals other folds.
    """
    predictions = {(family, method): np.empty(len(sample.errors)) for family in families for method in METHODS}
    for train, test in splits(sample, OUTER_FOLDS, seed):
        for family in families:
            fitted = fit_family(sample.take(train), family, seed + 1)
            for method in METHODS:
                predictions[family, method][test] = fitted.model(method).predict(sample.inputs[test])
    return predictions


def _log_loss(probabilities: Floats, errors: Bools, weights: Floats | None) -> float:
    likelihood = np.where(errors, probabilities, 1 - probabilities)
    return float(-np.average(np.log(np.clip(likelihood, 1e-12, None)), weights=weights))
