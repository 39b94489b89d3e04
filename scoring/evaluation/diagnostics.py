"""Where a model does well and where not: calibration, coverage, slices, effects, and the two failure conditions."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featurizers import SCHEMA
from scoring.data.dataset import UNKNOWN, Dataset
from scoring.errors import ThresholdError
from scoring.evaluation import metrics
from scoring.evaluation.bootstrap import Bootstrap, Figure, mean_of
from scoring.evaluation.risk_bound import risk_bound_threshold
from scoring.evaluation.ruling import HEADLINE, Ruling
from scoring.model import ErrorModel

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

DIMENSIONS = ("policy", "language", "modality", "llm", "length", "functionality")
SMALLEST_SLICE = 20
FEWEST = 5
"""Wrong and right answers, each, below which resampling a slice says nothing of how it is ranked."""
COVERAGES = tuple(round(0.05 * i, 2) for i in range(1, 21))
RISKS = (0.02, 0.05, 0.1, 0.15, 0.2)
DELTA = 0.1
_SHUFFLES = 10
_UNDEFINED = Figure(lambda weights: np.full(len(weights), np.nan))


def calibration_table(probabilities: Floats, errors: Bools, weights: Floats | None = None) -> dict[str, Any]:
    """ECE, and for ten bins of equal count the mean prediction against the observed error rate."""
    return {
        "ece": Figure(lambda weights: metrics.calibration_error(probabilities, errors, weights)),
        "bins": [
            {
                "predicted": float(
                    np.average(probabilities[members], weights=None if weights is None else weights[members])
                ),
                "observed": mean_of(errors, members),
                "count": len(members),
            }
            for members in metrics.equal_count_bins(probabilities)
        ],
    }


def risk_coverage(scores: Floats, errors: Bools, weights: Floats | None = None) -> list[dict[str, Any]]:
    """Error rate among the automated at each coverage, least risky first; ties count by their mean."""
    order = np.argsort(scores, kind="stable")
    _, group = np.unique(scores, return_inverse=True)
    sizes = np.ones(len(scores)) if weights is None else weights
    rate = (np.bincount(group, errors * sizes) / np.bincount(group, sizes))[group]
    reached = np.cumsum(sizes[order]) / sizes.sum()
    ends = {
        one: round(one * len(scores)) if weights is None else int(np.searchsorted(reached, one)) + 1
        for one in COVERAGES
    }
    kept = {coverage: order[: max(1, end)] for coverage, end in ends.items()}
    return [{"coverage": coverage, "risk": mean_of(rate, rows)} for coverage, rows in kept.items()]


def risk_bounds(
    scores: Floats, errors: Bools, weights: Floats | None = None, most: float = 0.0
) -> list[dict[str, Any]]:
    """The largest threshold certified for each risk, or why there is none. The held-out part is the calibration sample."""
    share = None if weights is None else weights / weights.sum()
    rows: list[dict[str, Any]] = []
    for risk in RISKS:
        row: dict[str, Any] = {"max_risk": risk, "confidence": 1 - DELTA}
        try:
            found = risk_bound_threshold(scores, errors, max_risk=risk, delta=DELTA, weights=weights, most=most)
        except ThresholdError as error:
            rows.append({**row, "infeasible": str(error)})
            continue
        rows.append(
            {
                **row,
                "threshold": found.threshold if np.isfinite(found.threshold) else None,
                "automated_share": found.automated / len(scores)
                if share is None
                else float(share[scores < found.threshold].sum()),
                "errors": found.errors,
                "upper_bound": found.upper_bound,
            }
        )
    return rows


def slices(
    model: Ruling, baselines: Mapping[str, Ruling], data: Dataset, review: float
) -> dict[str, dict[str, dict[str, Any]]]:
    """Per value of each dimension: the model and label-and-policy. `rows` and `errors` count labels, each once; under 20 rows there is no more."""
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for dimension, value, rows in _slices(data):
        entry: dict[str, Any] = {"rows": len(rows), "errors": int(data.errors[rows].sum())}
        if len(rows) >= SMALLEST_SLICE:
            entry |= _slice(model, baselines["label-and-policy"], data.errors, rows, review)
        found.setdefault(dimension, {})[value] = entry
    return found


def _slice(model: Ruling, rates: Ruling, errors: Bools, rows: NDArray[np.int64], review: float) -> dict[str, Figure]:
    scores, escalated, wrong = model.scores[rows], model.escalated[HEADLINE], errors[rows]
    costs, theirs = (
        mean_of(metrics.item_costs(one.escalated[HEADLINE], errors, HEADLINE, review), rows, high=max(1.0, review))
        for one in (model, rates)
    )
    enough = min(wrong.sum(), (~wrong).sum()) >= FEWEST
    return {
        "auroc": Figure(lambda weights: metrics.auroc(scores, wrong, weights[:, rows])) if enough else _UNDEFINED,
        "cost": costs,
        "label_and_policy_cost": theirs,
        "escalation_rate": mean_of(escalated, rows),
        "automated_accuracy": mean_of(~errors, rows[~escalated[rows]]),
        "ece": Figure(lambda weights: metrics.calibration_error(scores, wrong, weights[:, rows], bins=5)),
    }


def effects(model: ErrorModel, data: Dataset) -> list[dict[str, Any]]:
    """What each predictor is worth: the loss of AUROC when its column (or the policy, or the language) is shuffled, and its direction.

    `direction` is the correlation of the predictor's ranks with those of P(E), equal values sharing one: positive means that higher values look riskier.
    """
    rng = np.random.default_rng(0)
    one = np.ones((1, len(data))) if data.weights is None else data.weights[None]

    def scored(values: NDArray[np.float32], policies: list[str], languages: list[str]) -> Floats:
        return model.score(values, policies, languages).error_probability.astype(np.float64)

    base = scored(data.values, data.policies, data.languages)
    whole = metrics.auroc(base, data.errors, one)[0]
    orders = [rng.permutation(len(data)) for _ in range(_SHUFFLES)]
    found = []
    for i, name in enumerate((*SCHEMA.names, "policy", "language")):
        losses = []
        for order in orders:
            values, policies, languages = data.values.copy(), data.policies, data.languages
            if name == "policy":
                policies = [policies[j] for j in order]
            elif name == "language":
                languages = [languages[j] for j in order]
            else:
                values[:, i] = values[order, i]
            losses.append(whole - metrics.auroc(scored(values, policies, languages), data.errors, one)[0])
        direction = None if i >= len(SCHEMA.names) else _rank_correlation(data.values[:, i].astype(np.float64), base)
        found.append({"predictor": name, "auroc_loss": float(np.mean(losses)), "direction": direction})
    return sorted(found, key=lambda entry: -float(entry["auroc_loss"] or 0))


def failure_conditions(data: Dataset, draws: Bootstrap) -> dict[str, list[dict[str, Any]]]:
    """Mean probability of outcomes 3 (policy gap, by policy) and 2 (evidence deficiency, by every dimension).

    `excess` is the mean of the slice minus that of all other rows, with its interval; an interval above zero shows the
    condition. All held-out rows count, those with outcomes 2 and 3 above all.
    """
    found: dict[str, list[dict[str, Any]]] = draws.estimate(
        {
            "policy_gap": _excesses(data, "q_policy_gap", 3, ("policy",)),
            "evidence_deficiency": _excesses(data, "q_evidence_deficiency", 2, DIMENSIONS),
        }
    )
    return found


def _excesses(data: Dataset, predictor: str, outcome: int, dimensions: tuple[str, ...]) -> list[dict[str, Any]]:
    soft = data.values[:, SCHEMA.names.index(predictor)].astype(np.float64)
    known = ~np.isnan(soft)
    found = []
    for dimension, value, rows in _slices(data):
        inside = np.zeros(len(data), dtype=bool)
        inside[rows] = True
        rest = ~inside & known
        few = (inside & known).sum() < SMALLEST_SLICE
        if dimension not in dimensions or value == UNKNOWN or few or not rest.any():
            continue
        own = mean_of(soft, inside & known)
        found.append(
            {
                "dimension": dimension,
                "value": value,
                "rows": len(rows),
                "stated": int((data.outcomes[rows] == outcome).sum()),
                "mean_probability": own,
                "excess": own.minus(mean_of(soft, rest)),
            }
        )
    return found


def _slices(data: Dataset) -> Iterator[tuple[str, str, NDArray[np.int64]]]:
    for dimension in DIMENSIONS:
        column = np.array([getattr(origin, dimension) for origin in data.origins])
        for value in sorted(set(column.tolist())):
            yield dimension, value, np.flatnonzero(column == value)


def _rank_correlation(x: Floats, y: Floats) -> float | None:
    known = ~np.isnan(x)
    if known.sum() < SMALLEST_SLICE or np.ptp(x[known]) == 0:
        return None
    x_ranks, y_ranks = (np.unique(column[known], return_inverse=True)[1].astype(np.float64) for column in (x, y))
    return float(np.corrcoef(x_ranks, y_ranks)[0, 1])
