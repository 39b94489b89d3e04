"""A candidate beside the model in force, on answers that neither was trained on: better, worse, or not told apart."""

from collections import Counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scoring.data.dataset import Dataset
from scoring.data.traffic import Traffic
from scoring.data.window import moment
from scoring.errors import DataError
from scoring.evaluation.evaluator import REPLICATES, SEED, risks
from scoring.evaluation.labels import draws
from scoring.evaluation.ruling import HEADLINE, Ruling, auroc, paired_difference, rule_at, rule_at_cheapest, summarise
from scoring.model import ErrorModel
from scoring.thresholds import ACCOUNTINGS, COST_RATIO, cost_threshold


def unseen(data: Dataset, *models: ErrorModel) -> NDArray[np.bool_]:
    """Which rows [n] no model was trained on: decided after all of its training data, or, where either has no time, held out by their ids."""
    fresh = np.ones(len(data), dtype=bool)
    times = [moment(origin.decided_at) for origin in data.origins]
    for model in models:
        until = moment(model.card.get("data", {}).get("until"))
        newer = [
            held_out if until is None or at is None else at > until
            for at, held_out in zip(times, data.held_out.tolist(), strict=True)
        ]
        fresh &= np.array(newer, dtype=bool)
    return fresh


def rivals(
    candidate: ErrorModel,
    in_force: ErrorModel,
    data: Dataset,
    *,
    traffic: Traffic | None = None,
    cost_ratio: float = COST_RATIO,
    replicates: int = REPLICATES,
) -> dict[str, Any]:
    """Both models on the same unseen answers, each at its cost threshold; `verdict` goes by the interval of the paired difference of costs.

    A model that is not calibrated gets the threshold that is cheapest on these very answers: more than is its due, so a candidate that is better
    by that is `flattered`. Raises DataError where there are no wrong or no right ones, or a part of the `traffic` is missing among them.
    """
    part = data.take(unseen(data, candidate, in_force)).in_canonical_order()
    part = part.take(part.decided)
    wrong = int(part.errors.sum())
    if not 0 < wrong < len(part):
        raise DataError(
            f"{len(part)} labelled verdicts, {wrong} of them wrong, are of answers that neither model was trained on: nothing can be compared. Label "
            "answers of after its training data, or train a candidate with --until and compare on what came later. For a first model there is none "
            "yet: where `secondlook evaluate` says that it learned something, promote it with --force."
        )
    missing = [] if traffic is None else traffic.without(Counter(origin.stratum for origin in part.origins))
    if missing:
        raise DataError(
            f"No label of answers that neither model was trained on stands for what is {' and '.join(missing)}: a comparison on the rest says nothing "
            "of the traffic. Audit what is automated (control set-audit-rate), and have both decided."
        )
    errors = part.errors
    new, old = (_ruling(model, part, cost_ratio) for model in (candidate, in_force))
    figures = {
        "candidate": summarise(new, errors, cost_ratio),
        "in_force": summarise(old, errors, cost_ratio),
        "cost_difference": {name: paired_difference(new, old, errors, name, cost_ratio) for name in ACCOUNTINGS},
        "auroc_difference": auroc(new, errors).minus(auroc(old, errors), tested=True),
    }
    found = draws(part, traffic, replicates, SEED).estimate(figures)
    verdict = _verdict(found["cost_difference"][HEADLINE])
    if verdict == "better" and not candidate.card["calibrated"]:
        verdict = "flattered"
    return {**found, "verdicts": len(part), "errors": wrong, "verdict": verdict}


def _ruling(model: ErrorModel, part: Dataset, cost_ratio: float) -> Ruling:
    scores = risks(model, part)
    if not model.card["calibrated"]:
        return rule_at_cheapest(scores, scores, part.errors, cost_ratio, part.weights)
    return rule_at(scores, {name: cost_threshold(name, review=cost_ratio, mistake=1.0) for name in ACCOUNTINGS})


def _verdict(difference: dict[str, float]) -> str:
    if difference["high"] < 0:
        return "better"
    return "worse" if difference["low"] > 0 else "same"
