"""The families of models that training chooses from, from simple to complex. Needs the `train` extra.

Each single estimator and the base rates are families like any other: calibrated in the same way and judged on the same folds, so
that nothing more complex is chosen where it was not shown to be better.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.tree import ExtraTreeRegressor
from sklearn.utils import check_random_state

from scoring.evaluation.baselines import LABEL_POLICY_LANGUAGE, SINGLE_ESTIMATORS
from scoring.training.meta_model import Blend, Expansion, Learner, Linear, Tree, Trees

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Setting = dict[str, Any]
BOOSTING: Setting = {
    "learning_rate": 0.08,
    "max_iter": 40,
    "min_samples_leaf": 15,
    "early_stopping": False,
    "random_state": 0,
}
"""What all settings of boosting share."""


@dataclass(frozen=True)
class Family:
    """How to fit one kind of model, and the settings to choose from.

    `terms` are those whose columns it may use (None: all); `interactions`: every predictor's product with the outcome is a column
    too; `balanced`: fitted on classes of equal size, as in the paper.
    """

    fit: Callable[[Setting, Floats, Bools, Floats | None], Learner]
    settings: tuple[Setting, ...] = ({},)
    terms: tuple[str, ...] | None = None
    interactions: bool = False
    balanced: bool = False


def fit_learner(
    family: Family,
    setting: Setting,
    expansion: Expansion,
    columns: Floats,
    errors: Bools,
    seed: int,
    weights: Floats | None = None,
) -> Learner:
    """Fit one learner on columns [n, m] and E [n], which `weights` [n] may weigh; classes are balanced by downsampling, or by weights."""
    rows = np.arange(len(errors))
    if family.balanced and weights is None:
        rows = balanced(errors, seed)
    elif family.balanced and weights is not None:
        weights = balanced_weights(errors, weights)
    used = np.ones(columns.shape[1], dtype=bool) if family.terms is None else expansion.of_terms(family.terms)
    learner = family.fit(setting, columns[rows][:, used], errors[rows], weights)
    if used.all() or not isinstance(learner, Linear):
        return learner
    coefficients = np.zeros(columns.shape[1])
    coefficients[used] = learner.coefficients
    return Linear(coefficients, learner.intercept)


def balanced(errors: Bools, seed: int) -> NDArray[np.int64]:
    """Rows left when the larger class is downsampled to the size of the smaller one (the paper's class balancing)."""
    classes = [np.flatnonzero(errors), np.flatnonzero(~errors)]
    size = min(len(rows) for rows in classes)
    rng = np.random.default_rng(seed)
    return np.sort(np.concatenate([rng.choice(rows, size, replace=False) for rows in classes]))


def balanced_weights(errors: Bools, weights: Floats) -> Floats:
    """The weights, scaled so that wrong and right answers weigh the same: as much as the class that says less has independent labels.

    In place of downsampling, which would throw away the few rows that stand for many.
    """
    sizes = [weights[errors], weights[~errors]]
    effective = min(float(size.sum() ** 2 / (size**2).sum()) for size in sizes)
    wrong, right = (effective / size.sum() for size in sizes)
    return np.asarray(weights * np.where(errors, wrong, right))


def _single(name: str) -> Family:
    """The predictor itself, riskier the way its formula says: nothing is learned but the calibration."""
    estimator = SINGLE_ESTIMATORS[name]
    return Family(
        lambda _setting, columns, _errors, _weights: Linear(np.full(columns.shape[1], np.sign(estimator.slope)), 0.0),
        terms=(estimator.feature,),
    )


def _fit_ridge(setting: Setting, columns: Floats, errors: Bools, weights: Floats | None) -> Linear:
    fitted = Ridge(**setting, solver="cholesky").fit(columns, np.where(errors, 1.0, -1.0), sample_weight=weights)
    return Linear(np.asarray(fitted.coef_, dtype=float), float(fitted.intercept_))


def _fit_logistic(setting: Setting, columns: Floats, errors: Bools, weights: Floats | None) -> Linear:
    fitted = LogisticRegression(**setting, max_iter=1000).fit(columns, errors, sample_weight=weights)
    return Linear(np.asarray(fitted.coef_[0], dtype=float), float(fitted.intercept_[0]))


def _fit_lasso(setting: Setting, columns: Floats, errors: Bools, weights: Floats | None) -> Linear:
    fitted = LogisticRegression(**setting, l1_ratio=1, solver="liblinear", random_state=0, max_iter=1000)
    fitted.fit(columns, errors, sample_weight=weights)
    return Linear(np.asarray(fitted.coef_[0], dtype=float), float(fitted.intercept_[0]))


def _fit_boosting(setting: Setting, columns: Floats, errors: Bools, weights: Floats | None) -> Trees:
    fitted = HistGradientBoostingClassifier(**setting, **BOOSTING).fit(columns, errors, sample_weight=weights)
    base = float(fitted._baseline_prediction[0, 0])  # noqa: SLF001 - no public way to the trees; a test holds the parity
    grown = [_of_boosting(tree.nodes) for (tree,) in fitted._predictors]  # noqa: SLF001 - likewise
    return Trees(tuple(grown), base)


def _of_boosting(nodes: Any) -> Tree:
    is_leaf = nodes["is_leaf"].astype(bool)
    return Tree(
        nodes["feature_idx"].astype(np.int64),
        nodes["num_threshold"].astype(np.float64),
        np.where(is_leaf, -1, nodes["left"].astype(np.int64)),
        nodes["right"].astype(np.int64),
        nodes["value"].astype(np.float64),
        nodes["count"].astype(np.float64),
    )


def _fit_forest(setting: Setting, columns: Floats, errors: Bools, weights: Floats | None) -> Trees:
    """Extremely randomised trees (Geurts et al., 2006); the score is the mean of the leaves' error rates, minus a half."""
    # scikit-learn's forest is the same trees, and spends as much time again on looking at its arguments for each. Least squares of 0 and 1 is Gini's index.
    cast, target = columns.astype(np.float32), errors.astype(np.float64)[:, None]
    seeds = check_random_state(0).randint(np.iinfo(np.int32).max, size=setting["trees"]).tolist()
    made = [
        ExtraTreeRegressor(max_features="sqrt", min_samples_leaf=setting["leaf"], random_state=one) for one in seeds
    ]
    trees = [each.fit(cast, target, sample_weight=weights, check_input=False).tree_ for each in made]
    grown = [
        Tree(
            each.feature.astype(np.int64),
            each.threshold.astype(np.float64),
            each.children_left.astype(np.int64),
            each.children_right.astype(np.int64),
            each.value[:, 0, 0] / len(trees),
            each.weighted_n_node_samples.astype(np.float64),
        )
        for each in trees
    ]
    return Trees(tuple(grown), -0.5, np.float32)  # scikit-learn's forests compare in float32


def _fit_blend(setting: Setting, columns: Floats, errors: Bools, weights: Floats | None) -> Blend:
    """The mean of ridge and forest, both of which estimate 2 P(E) - 1; the forest's score is half of that."""
    ridge = _fit_ridge(setting, columns, errors, weights)
    return Blend(Linear(ridge.coefficients / 2, ridge.intercept / 2), _fit_forest(_TREES, columns, errors, weights))


_CATEGORIES = ("policy", "policy x outcome", "language", "language x outcome")
PREFERRED = "blend"
_TREES: Setting = {"trees": 50, "leaf": 3}
FAMILIES: Mapping[str, Family] = {
    PREFERRED: Family(_fit_blend, ({"alpha": 30.0},), interactions=True),
    **{name: _single(name) for name in SINGLE_ESTIMATORS},
    LABEL_POLICY_LANGUAGE: Family(
        _fit_ridge, ({"alpha": 3.0}, {"alpha": 30.0}), terms=("outcome_is_violation", *_CATEGORIES)
    ),
    "ridge": Family(_fit_ridge, ({"alpha": 3.0}, {"alpha": 30.0}, {"alpha": 300.0}), balanced=True),
    "logistic": Family(_fit_logistic, ({"C": 0.03}, {"C": 0.3})),
    "interactions": Family(
        _fit_ridge, ({"alpha": 10.0}, {"alpha": 30.0}, {"alpha": 100.0}, {"alpha": 300.0}), interactions=True
    ),
    "lasso": Family(_fit_lasso, ({"C": 0.1}, {"C": 0.3}), interactions=True),
    "boosting": Family(_fit_boosting, ({"max_leaf_nodes": 4},)),
    "forest": Family(_fit_forest, (_TREES,)),
}
"""By name, in order of preference. A blend of a ridge in which every predictor has a slope for either outcome (what it says of an error
turns with that) and of a forest comes first: their errors differ, and the penalty takes the one back to little where labels are few. Behind
it the others from simple to complex; ridge on balanced classes is the paper's learner."""
