"""What a meta-model must beat: constants, base rates, and every single estimator of the method.

Each baseline is turned into a `Ruling` on test rows from training rows alone: a risk score, and for each accounting what it would
escalate at the threshold that was cheapest on the training rows. Constants and the oracle have theirs from the start.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from featurizers import SCHEMA
from scoring.data.dataset import Dataset
from scoring.evaluation.ruling import Ruling, rule_at, rule_at_cheapest
from scoring.thresholds import ACCOUNTINGS

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
}
BASE_RATES = ("predicted-label-only", "label-and-policy")
BASELINES = ("trust-all", "escalate-all", "oracle", *BASE_RATES, *SINGLE_ESTIMATORS)


def rule(name: str, train: Dataset, test: Dataset, review: float) -> Ruling:
    """Apply a baseline to decided `test` rows at c_rev = `review` c_mis; only the oracle sees their labels."""
    if name == "oracle":
        return rule_at(test.errors.astype(float), dict.fromkeys(ACCOUNTINGS, 1.0))
    if name in ("trust-all", "escalate-all"):
        escalate = name == "escalate-all"
        return rule_at(np.full(len(test), float(escalate)), dict.fromkeys(ACCOUNTINGS, 1.0))
    score = SINGLE_ESTIMATORS[name].score if name in SINGLE_ESTIMATORS else None
    if score:
        seen, scores = score(train.values), score(test.values)
    else:
        rates = _ErrorRates(train, by_policy=name == "label-and-policy")
        seen, scores = rates.score(train), rates.score(test)
    return rule_at_cheapest(scores, seen, train.errors, review, train.weights)


class _ErrorRates:
    """Training error rate of an outcome, under its policy where training met that pair."""

    def __init__(self, train: Dataset, *, by_policy: bool) -> None:
        self._by_policy = by_policy
        weights = train.weights
        self._overall = float(np.average(train.errors, weights=weights))
        self._rates: dict[tuple[int, str | None], float] = {}
        for outcome in (0, 1):
            rows = train.outcomes == outcome
            if rows.any():
                self._rates[outcome, None] = _rate(train.errors, rows, weights)
        for outcome, policy in set(zip(train.outcomes.tolist(), train.policies, strict=True)):
            rows = (train.outcomes == outcome) & (np.array(train.policies) == policy)
            self._rates[outcome, policy] = _rate(train.errors, rows, weights)

    def score(self, data: Dataset) -> Floats:
        return np.array(
            [self._rate(int(o), p) for o, p in zip(data.outcomes, data.policies, strict=True)], dtype=np.float64
        )

    def _rate(self, outcome: int, policy: str) -> float:
        pooled = self._rates.get((outcome, None), self._overall)
        return self._rates.get((outcome, policy), pooled) if self._by_policy else pooled


def _rate(errors: NDArray[np.bool_], rows: NDArray[np.bool_], weights: Floats | None) -> float:
    return float(np.average(errors[rows], weights=None if weights is None else weights[rows]))
