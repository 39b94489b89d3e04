"""The meta-model: predictors -> expanded, standardised columns -> score -> calibrated P(the LLM is wrong).

Needs the `train` extra. Everything but the trees' own sum computes in float64 on float32 inputs, as the exported graph does.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression, Ridge

from scoring.training.calibration import Calibrator

Floats = NDArray[np.float64]
Family = Literal["ridge", "logistic", "boosting"]

CLIP = 5.0
"""Standardised columns are cut here: a linear model must not be driven by a value far outside what it was shown."""

SETTINGS: dict[Family, tuple[dict[str, Any], ...]] = {
    "ridge": ({"alpha": 3.0}, {"alpha": 30.0}, {"alpha": 300.0}),
    "logistic": ({"C": 0.003}, {"C": 0.03}, {"C": 0.3}),
    "boosting": ({"max_leaf_nodes": 4}, {"max_leaf_nodes": 8}),
}
"""Hyperparameters that the inner cross-validation chooses from. Ridge is the paper's learner."""


@dataclass(frozen=True)
class Expansion:
    """Inputs [n, d + policies] -> columns [n, m]: filled inputs, missing indicators, policy x outcome products; standardised.

    A missing predictor becomes its training median (a missing policy the training mean), and where training met it
    missing an indicator says so. `terms` names the groups of columns whose pushes are reported together;
    `term_of_column` is [m].
    """

    fill: Floats
    indicated: NDArray[np.int64]
    outcome_column: int
    policy_columns: NDArray[np.int64]
    terms: tuple[str, ...]
    term_of_column: NDArray[np.int64]
    mean: Floats
    scale: Floats

    def transform(self, inputs: NDArray[np.float32]) -> Floats:
        """Standardised columns, float64 [n, m]."""
        return np.clip((self.expand(inputs) - self.mean) / self.scale, -CLIP, CLIP)

    def expand(self, inputs: NDArray[np.float32]) -> Floats:
        """Columns before standardisation, float64 [n, m]."""
        filled = np.where(np.isnan(inputs), self.fill, inputs.astype(np.float64))
        products = filled[:, [self.outcome_column]] * filled[:, self.policy_columns]
        return np.concatenate((filled, np.isnan(inputs[:, self.indicated]).astype(np.float64), products), axis=1)


def fit_expansion(inputs: NDArray[np.float32], names: Sequence[str], outcome: str) -> Expansion:
    """Learn fills and scales from inputs [n, d + policies]; `names` are the d predictors, `outcome` the hard one of them."""
    d = len(names)
    missing = np.isnan(inputs)
    never_seen = np.asarray(missing.all(axis=0))
    known = np.where(never_seen, 0.0, inputs.astype(np.float64))
    indicated = np.flatnonzero(missing[:, :d].any(axis=0) & ~never_seen[:d])
    policy_columns = np.arange(d, inputs.shape[1])
    policies = len(policy_columns)
    term_of_column = np.concatenate((np.arange(d), np.full(policies, d), indicated, np.full(policies, d + 1)))
    unscaled = Expansion(
        fill=np.concatenate((np.nanmedian(known[:, :d], axis=0), np.nanmean(known[:, d:], axis=0))),
        indicated=indicated,
        outcome_column=list(names).index(outcome),
        policy_columns=policy_columns,
        terms=(*names, *(("policy", "policy x outcome") if policies else ())),
        term_of_column=term_of_column,
        mean=np.zeros(len(term_of_column)),
        scale=np.ones(len(term_of_column)),
    )
    columns = unscaled.expand(inputs)
    mean, spread = columns.mean(axis=0), columns.std(axis=0)
    # float32 noise around a constant is no spread
    return replace(unscaled, mean=mean, scale=np.where(spread <= 1e-6 * np.maximum(1.0, np.abs(mean)), 1.0, spread))


@dataclass(frozen=True)
class Linear:
    """score = columns @ coefficients + intercept."""

    coefficients: Floats
    intercept: float

    def score(self, columns: Floats) -> Floats:
        """Scores [n] of columns [n, m]."""
        return np.asarray(columns @ self.coefficients + self.intercept)


@dataclass(frozen=True)
class Boosted:
    """Gradient-boosted trees; the score is scikit-learn's raw log-odds, rounded to float32 as ONNX's tree operator does."""

    classifier: HistGradientBoostingClassifier

    def score(self, columns: Floats) -> Floats:
        """Scores [n] of columns [n, m]."""
        return np.asarray(self.classifier.decision_function(columns)).astype(np.float32).astype(np.float64)


@dataclass(frozen=True)
class Scorer:
    """Expansion and learner, not calibrated yet."""

    expansion: Expansion
    learner: Linear | Boosted

    def score(self, inputs: NDArray[np.float32]) -> Floats:
        """Scores [n] that rank by risk of error."""
        return self.learner.score(self.expansion.transform(inputs))


@dataclass(frozen=True)
class MetaModel:
    """What is exported: inputs float32 [n, d + policies] -> P(E) [n]."""

    scorer: Scorer
    calibrator: Calibrator

    def predict(self, inputs: NDArray[np.float32]) -> Floats:
        """P(the LLM is wrong), [n]."""
        return self.calibrator.predict(self.scorer.score(inputs))


def balanced(errors: NDArray[np.bool_], seed: int) -> NDArray[np.int64]:
    """Rows left when the larger class is downsampled to the size of the smaller one (the paper's class balancing)."""
    classes = [np.flatnonzero(errors), np.flatnonzero(~errors)]
    size = min(len(rows) for rows in classes)
    rng = np.random.default_rng(seed)
    return np.sort(np.concatenate([rng.choice(rows, size, replace=False) for rows in classes]))


def balanced_weights(errors: NDArray[np.bool_], weights: Floats) -> Floats:
    """The weights, scaled so that wrong and right answers weigh the same: as much as the class that says less has independent labels.

    In place of downsampling, which would throw away the few rows that stand for many.
    """
    sizes = [weights[errors], weights[~errors]]
    effective = min(float(size.sum() ** 2 / (size**2).sum()) for size in sizes)
    wrong, right = (effective / size.sum() for size in sizes)
    return np.asarray(weights * np.where(errors, wrong, right))


def fit_learner(
    family: Family,
    setting: dict[str, Any],
    columns: Floats,
    errors: NDArray[np.bool_],
    seed: int,
    weights: Floats | None = None,
) -> Linear | Boosted:
    """Fit one learner on columns [n, m] and E [n], balanced by downsampling, or by `weights` [n] where rows have them."""
    if weights is not None:
        return _FIT[family](setting, columns, errors, balanced_weights(errors, weights))
    rows = balanced(errors, seed)
    return _FIT[family](setting, columns[rows], errors[rows], None)


def _fit_ridge(setting: dict[str, Any], columns: Floats, errors: NDArray[np.bool_], weights: Floats | None) -> Linear:
    fitted = Ridge(**setting, solver="cholesky").fit(columns, np.where(errors, 1.0, -1.0), sample_weight=weights)
    return Linear(np.asarray(fitted.coef_, dtype=float), float(fitted.intercept_))


def _fit_logistic(
    setting: dict[str, Any], columns: Floats, errors: NDArray[np.bool_], weights: Floats | None
) -> Linear:
    fitted = LogisticRegression(**setting, max_iter=1000).fit(columns, errors, sample_weight=weights)
    return Linear(np.asarray(fitted.coef_[0], dtype=float), float(fitted.intercept_[0]))


def _fit_boosting(
    setting: dict[str, Any], columns: Floats, errors: NDArray[np.bool_], weights: Floats | None
) -> Boosted:
    return Boosted(
        HistGradientBoostingClassifier(
            **setting, learning_rate=0.08, max_iter=40, min_samples_leaf=15, early_stopping=False, random_state=0
        ).fit(columns, errors, sample_weight=weights)
    )


_FIT: dict[Family, Callable[[dict[str, Any], Floats, NDArray[np.bool_], Floats | None], Linear | Boosted]] = {
    "ridge": _fit_ridge,
    "logistic": _fit_logistic,
    "boosting": _fit_boosting,
}
