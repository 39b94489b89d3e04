"""The ONNX graph says what scikit-learn says."""

import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from sklearn.ensemble import ExtraTreesClassifier, HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression

from featurizers import SCHEMA
from scoring.data.dataset import Dataset
from scoring.inputs import Inputs
from scoring.model import ErrorModel
from scoring.training import Trained
from scoring.training.calibration import METHODS, Method, Platt, fit_calibrator
from scoring.training.checks import policies_of_their_own
from scoring.training.export import to_onnx
from scoring.training.learners import BOOSTING, FAMILIES, Family, Setting, fit_learner
from scoring.training.meta_model import Expansion, MetaModel, Scorer, Trees, fit_expansion

Models = dict[tuple[str, Method], MetaModel]

NAMES = ("a", "b", "hard", "d")
PARITY = 1e-5
LEARNERS: dict[str, tuple[Family, Setting]] = {
    "single": (replace(FAMILIES["mean-logprob"], terms=("a",)), {}),
    "rates": (
        replace(FAMILIES["label-policy-language"], terms=("hard", "policy", "language x outcome")),
        {"alpha": 3.0},
    ),
    **{name: (FAMILIES[name], FAMILIES[name].settings[-1]) for name in FAMILIES if FAMILIES[name].terms is None},
}
"""Every kind of family, on predictors of our own."""


def _inputs(n: int, seed: int) -> NDArray[np.float32]:
    """Random inputs with a policy and a language: a fifth of all numbers missing, `d` always, outliers far beyond the training range."""
    rng = np.random.default_rng(seed)
    inputs = rng.normal(size=(n, len(NAMES) + 2)).astype(np.float32)
    inputs[:, 2] = inputs[:, 2] > 0
    inputs[:, 4:] = np.eye(2)[rng.integers(0, 2, n)]
    inputs[rng.random(n) < 0.1, 4:] = np.nan
    inputs[rng.random(inputs.shape) < 0.2] = np.nan
    inputs[:, 3] = np.nan
    inputs[::50, 0] = 1e6
    return inputs


@pytest.fixture(scope="module")
def fitted() -> Models:
    """One meta-model of each family and calibration, on noisy data."""
    inputs = _inputs(400, 0)
    errors = np.nan_to_num(inputs[:, 0]).clip(-2, 2) + np.random.default_rng(1).normal(size=400) > 0.3
    models: Models = {}
    for family, (made, setting) in LEARNERS.items():
        expansion = fit_expansion(inputs, NAMES, "hard", languages=1, interactions=made.interactions)
        columns = expansion.transform(inputs)
        scorer = Scorer(expansion, fit_learner(made, setting, expansion, columns, errors, 0))
        for method in METHODS:
            models[family, method] = MetaModel(scorer, fit_calibrator(method, scorer.score(inputs), errors))
    return models


def _run(onnx: bytes, inputs: NDArray[np.float32]) -> dict[str, Any]:
    session = onnxruntime.InferenceSession(onnx, providers=["CPUExecutionProvider"])
    return dict(zip([o.name for o in session.get_outputs()], session.run(None, {"predictors": inputs}), strict=True))


@pytest.mark.parametrize(("family", "method"), list(itertools.product(LEARNERS, METHODS)))
def test_onnx_agrees_with_scikit_learn_on_random_inputs(fitted: Models, family: str, method: Method) -> None:
    """Every family and calibration agrees within 1e-5 on unseen inputs, missing numbers and outliers among them."""
    model, unseen = fitted[family, method], np.concatenate([_inputs(3000, 9), _inputs(400, 0)])
    found = _run(to_onnx(model, {}), unseen)["error_probability"]
    assert np.abs(found - model.predict(unseen)).max() <= PARITY


def test_onnx_agrees_with_scikit_learn_on_every_recorded_answer(recording: Dataset, trained: Trained) -> None:
    """The default model agrees within 1e-5 on all 840 answers, unreadable ones included."""
    expected = trained.meta_model.predict(trained.inputs.encode(recording.values, recording.policies))
    found = ErrorModel(trained.onnx).score(recording.values, recording.policies).error_probability
    assert np.abs(found - expected).max() <= PARITY


@pytest.mark.parametrize("family", LEARNERS)
def test_contributions_add_up_to_the_log_odds(fitted: Models, family: str) -> None:
    """With Platt calibration the log-odds are the sum of the terms' pushes and one constant."""
    outputs = _run(to_onnx(fitted[family, "platt"], {}), _inputs(500, 5))
    p = outputs["error_probability"].astype(float)
    constants = np.log(p / (1 - p)) - outputs["contributions"].sum(axis=1)
    assert (500, len(NAMES) + 4) == outputs["contributions"].shape
    assert pytest.approx(constants[0], abs=1e-3) == constants


def test_the_same_model_gives_the_same_bytes(fitted: Models) -> None:
    """Export has no clock and no counter in it."""
    model = fitted["ridge", "platt"]
    assert to_onnx(model, {"b": "2", "a": "1"}) == to_onnx(model, {"a": "1", "b": "2"})


def test_a_policy_or_language_without_coefficients_is_scored_at_the_average(fitted: Models) -> None:
    """Missing policy and language columns push neither way."""
    unknown = _inputs(50, 3)
    unknown[:, 4:] = np.nan
    model = fitted["ridge", "platt"]
    pushes = _run(to_onnx(model, {}), unknown)["contributions"]
    own = [model.scorer.expansion.terms.index(term) for term in ("policy", "language")]
    assert pytest.approx(0, abs=1e-6) == pushes[:, own]


def test_a_value_outside_the_training_range_pushes_no_further_than_the_clip(fitted: Models) -> None:
    """An outlier counts as five standard deviations, not as a million."""
    expansion: Expansion = fitted["ridge", "platt"].scorer.expansion
    inputs = _inputs(2, 4)
    inputs[:, 0] = [1e9, 1e12]
    columns = expansion.transform(inputs)
    assert columns[0, 0] == columns[1, 0] == min(5.0, columns[:, 0].max())


@pytest.mark.parametrize("family", ["boosting", "forest"])
def test_our_trees_are_scikit_learns(family: str) -> None:
    """What is kept of the grown trees gives the probabilities that the library gives."""
    rng = np.random.default_rng(2)
    columns, unseen = rng.normal(size=(300, 6)), rng.normal(size=(500, 6))
    errors = columns[:, 0] + rng.normal(size=300) > 0
    made = FAMILIES[family]
    setting = made.settings[0]
    trees = made.fit(setting, columns, errors, None)
    assert isinstance(trees, Trees)
    if family == "boosting":
        grown = HistGradientBoostingClassifier(**setting, **BOOSTING).fit(columns, errors)
        expected = grown.decision_function(unseen)
    else:
        forest = ExtraTreesClassifier(setting["trees"], min_samples_leaf=setting["leaf"], random_state=0)
        expected = forest.fit(columns, errors).predict_proba(unseen)[:, 1] - 0.5
    assert np.abs(trees.score(unseen) - expected).max() <= 1e-6


@pytest.mark.parametrize("spread", [1.0, 0.01])
def test_our_logistic_calibration_is_scikit_learns(spread: float) -> None:
    """With weights and without; also where the scores part right from wrong, and nothing but the weak penalty keeps the slope finite."""
    rng = np.random.default_rng(3)
    scores = rng.normal(size=300)
    errors = scores + spread * rng.normal(size=300) > 0.5
    for weights in (None, rng.uniform(0.1, 3, 300)):
        ours = fit_calibrator("platt", scores, errors, weights)
        assert isinstance(ours, Platt)
        theirs = LogisticRegression(C=1e3, tol=1e-9, max_iter=5000).fit(scores[:, None], errors, sample_weight=weights)
        expected = theirs.coef_[0, 0], theirs.intercept_[0]
        assert expected == pytest.approx((ours.slope, ours.intercept), rel=1e-3)
    parted = fit_calibrator("beta", scores, scores > 0.5)
    assert ([0.0, 1.0]) == pytest.approx(parted.predict(np.array([-1.0, 2.0])).tolist(), abs=1e-3)


def test_a_forest_stays_small_enough_for_the_hot_path(recording: Dataset) -> None:
    """All trees of a forest on the recording are some thousands of nodes, below two megabytes of ONNX."""
    decided = recording.take(recording.decided)
    inputs = Inputs(policies_of_their_own(decided)).encode(decided.values, decided.policies)
    expansion = fit_expansion(inputs, SCHEMA.names, "outcome_is_violation")
    made = FAMILIES["forest"]
    learner = fit_learner(made, made.settings[0], expansion, expansion.transform(inputs), decided.errors, 0)
    assert isinstance(learner, Trees)
    model = MetaModel(Scorer(expansion, learner), Platt(1.0, 0.0))
    assert sum(len(tree.left) for tree in learner.grown) < 20_000
    assert len(to_onnx(model, {})) < 2_000_000


def test_a_graph_names_its_operator_sets_in_one_order(trained: Trained) -> None:
    """The converter has them in a set: as it happens to be hashed, the same model would have other bytes, and so another name."""
    domains = [one.domain for one in onnx.load_from_string(trained.onnx).opset_import]
    assert domains == sorted(domains)
    assert len(domains) > 1
