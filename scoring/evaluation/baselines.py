"""What a meta-model must beat: constants, base rates, every single estimator of the method, and what others publish.

UQLM's white-box scorers (Bouchard and Chauhan, arXiv:2504.19254; github.com/cvs-health/uqlm) are confidences in 0..1; here each is the
risk 1 - confidence, under UQLM's name, computed from our predictors:

- `normalized-probability` exp(mean_t l_t) is `mean-logprob`; `min-probability` is min_t p_t.
- `mean-token-negentropy` and `min-token-negentropy`: 1 - H_t / ln k, its mean and its least, H_t the entropy of the k returned
  alternatives, renormalised. k is the same for all answers of an API call with `top_logprobs` = k; ln 20, the most that the APIs
  return, stands for ln k, which changes no order.
- `probability-margin`: mean_t (p_(1) - p_(2)); ours is of the renormalised alternatives.

UCCI (Kotte, arXiv:2605.18796) has u = 1 - mean_t (p_(1) - p_(2)), its equation 4, and maps it to P(E) by isotonic regression: the
same margin, calibrated on the training rows, escalated at the Bayes threshold of the costs.

Each baseline is turned into a `Ruling` on test rows from training rows alone: a risk score, and for each accounting what it would
escalate at the threshold that was cheapest on the training rows. Constants and the oracle have theirs from the start.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.isotonic import IsotonicRegression

from featurizers import SCHEMA
from scoring.data.dataset import Dataset
from scoring.evaluation.ruling import Ruling, rule_at, rule_at_cheapest
from scoring.thresholds import ACCOUNTINGS, cost_threshold

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class SingleEstimator:
    """One predictor x as a risk in 0..1: offset + slope * x, or offset + slope * exp(x). Missing is the highest risk."""

    feature: str
    slope: float
    offset: float
    exponential: bool = False

    def score(self, values: NDArray[np.float32]) -> Floats:
        """Risk [n] of LPP vectors [n, d]."""
        column = values[:, SCHEMA.names.index(self.feature)].astype(np.float64)
        risk = self.offset + self.slope * (np.exp(column) if self.exponential else column)
        return np.where(np.isnan(risk), 1.0, np.clip(risk, 0.0, 1.0))


SINGLE_ESTIMATORS: dict[str, SingleEstimator] = {
    "max-softmax": SingleEstimator("outcome_max_softmax", slope=-1.0, offset=1.0),
    "entropy": SingleEstimator(
        "outcome_entropy", slope=1 / math.log(4), offset=0.0
    ),  # ln 4 is the most four labels have
    "margin": SingleEstimator("outcome_margin", slope=-1.0, offset=1.0),
    "stated-confidence": SingleEstimator("stated_confidence", slope=-1.0, offset=1.0),
    "mean-logprob": SingleEstimator("sequence_logprob_mean", slope=-1.0, offset=1.0, exponential=True),
    "min-probability": SingleEstimator("sequence_logprob_min", slope=-1.0, offset=1.0, exponential=True),
    "mean-token-negentropy": SingleEstimator("sequence_entropy_mean", slope=1 / math.log(20), offset=0.0),
    "min-token-negentropy": SingleEstimator("sequence_entropy_max", slope=1 / math.log(20), offset=0.0),
    "probability-margin": SingleEstimator("sequence_margin_mean", slope=-1.0, offset=1.0),
}
UCCI = "ucci"
LABEL_POLICY_LANGUAGE = "label-policy-language"
BASE_RATES = ("predicted-label-only", "label-and-policy", LABEL_POLICY_LANGUAGE)
BASELINES = ("trust-all", "escalate-all", "oracle", *BASE_RATES, *SINGLE_ESTIMATORS, UCCI)


def rule(name: str, train: Dataset, test: Dataset, review: float) -> Ruling:
    """Apply a baseline to decided `test` rows at c_rev = `review` c_mis; only the oracle sees their labels."""
    if name == "oracle":
        return rule_at(test.errors.astype(float), dict.fromkeys(ACCOUNTINGS, 1.0))
    if name in ("trust-all", "escalate-all"):
        escalate = name == "escalate-all"
        return rule_at(np.full(len(test), float(escalate)), dict.fromkeys(ACCOUNTINGS, 1.0))
    if name == UCCI:
        margin = SINGLE_ESTIMATORS["probability-margin"].score
        fitted = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip")
        fitted.fit(margin(train.values), train.errors, sample_weight=train.weights)
        bayes = {accounting: cost_threshold(accounting, review=review, mistake=1.0) for accounting in ACCOUNTINGS}
        return rule_at(np.asarray(fitted.predict(margin(test.values)), dtype=np.float64), bayes)
    if name in SINGLE_ESTIMATORS:
        seen, scores = (SINGLE_ESTIMATORS[name].score(part.values) for part in (train, test))
    else:
        rates = _ErrorRates(train, depth=1 + BASE_RATES.index(name))
        seen, scores = rates.score(train), rates.score(test)
    return rule_at_cheapest(scores, seen, train.errors, review, train.weights)


class _ErrorRates:
    """Training error rate of outcome, policy and language, of the first `depth` of them; of fewer where training never met all."""

    def __init__(self, train: Dataset, *, depth: int) -> None:
        self._depth = depth
        errors, weights = train.errors, train.weights
        met: dict[tuple[int | str, ...], list[int]] = {(): list(range(len(train)))}
        for row, cell in enumerate(_cells(train)):
            for length in range(1, depth + 1):
                met.setdefault(cell[:length], []).append(row)
        self._rates = {
            cell: float(np.average(errors[rows], weights=None if weights is None else weights[rows]))
            for cell, rows in met.items()
        }

    def score(self, data: Dataset) -> Floats:
        return np.array([self._rate(cell[: self._depth]) for cell in _cells(data)], dtype=np.float64)

    def _rate(self, cell: tuple[int | str, ...]) -> float:
        found = self._rates.get(cell)
        return self._rate(cell[:-1]) if found is None else found


def _cells(data: Dataset) -> Iterator[tuple[int | str, ...]]:
    return zip(data.outcomes.tolist(), data.policies, data.languages, strict=True)
