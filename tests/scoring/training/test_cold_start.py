"""Single-estimator models for the day without labels."""

import numpy as np
import pytest

from featurizers import SCHEMA
from scoring import TrainingError
from scoring.data.dataset import Dataset
from scoring.evaluation.baselines import SINGLE_ESTIMATORS
from scoring.model import ErrorModel
from scoring.training.cold_start import single_estimator_model


@pytest.mark.parametrize("name", SINGLE_ESTIMATORS)
def test_the_model_is_the_baseline_of_the_same_name(name: str, recording: Dataset) -> None:
    """What is served on the first day is what the evaluation compares with, and every answer gets a number."""
    onnx, _ = single_estimator_model(name)
    scores = ErrorModel(onnx).score(recording.values, recording.policies)
    expected = SINGLE_ESTIMATORS[name].score(recording.values)
    assert np.abs(expected - scores.error_probability).max() <= 1e-6
    assert (840, 1) == scores.contributions.shape


def test_it_says_that_it_is_uncalibrated() -> None:
    """The card says so to machines and to people, and names the estimator as its only term."""
    onnx, _ = single_estimator_model("max-softmax")
    card = ErrorModel(onnx).card
    assert (False, ["outcome_max_softmax"], []) == (card["calibrated"], card["terms"], card["policies"])
    assert "Uncalibrated" in card["verdict"]


def test_an_answer_without_the_estimator_is_the_riskiest() -> None:
    """No log-probs, no trust: a missing predictor scores 1."""
    onnx, _ = single_estimator_model("max-softmax")
    scores = ErrorModel(onnx).score(np.full((1, len(SCHEMA.names)), np.nan, np.float32), ["hate"])
    assert [1.0] == scores.error_probability.tolist()


def test_an_unknown_estimator_is_refused_with_the_list() -> None:
    """The error names the estimators there are."""
    with pytest.raises(TrainingError, match="max-softmax, entropy, margin, stated-confidence, mean-logprob"):
        single_estimator_model("magic")


def test_the_same_estimator_gives_the_same_bytes() -> None:
    """Cold-start models are content-addressed like all others."""
    assert single_estimator_model("margin") == single_estimator_model("margin")
