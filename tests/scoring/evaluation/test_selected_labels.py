"""Labels of escalated answers and a few audits, on the recording: weighted they speak of all answers, unweighted of what was labelled."""

from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from scoring import ACCOUNTINGS, TrainingError, best_f1_threshold, review_budget_threshold
from scoring.data.dataset import Dataset
from scoring.data.traffic import Traffic
from scoring.evaluation import evaluate, html_report
from scoring.model import ErrorModel
from scoring.thresholds import cheapest_threshold
from scoring.training import Trained, train
from scoring.training.calibration import fit_calibrator
from scoring.training.learners import FAMILIES, balanced_weights, fit_learner
from scoring.training.meta_model import fit_expansion
from scoring.training.trainer import clip

AUDITS, DRAWS = 0.05, 3
FIGURES = {
    "error rate": lambda result: result["baselines"]["trust-all"]["cost"]["false-discovery"],
    "cost": lambda result: result["model"]["cost"]["false-discovery"],
    "escalated": lambda result: result["model"]["escalation_rate"],
    "AUROC": lambda result: result["model"]["auroc"],
}


@pytest.fixture(scope="module")
def escalated(recording: Dataset, trained: Trained) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """What the default model escalates at its threshold."""
    scores = ErrorModel(trained.onnx).score(recording.values, recording.policies)
    return np.asarray(~recording.decided | ~scores.supported | (scores.error_probability >= 0.39))


def labelled(recording: Dataset, escalated: Any, seed: int, *, weighted: bool, rate: float = AUDITS) -> Dataset:
    """What humans see of the recording in one draw."""
    seen = escalated | (np.random.default_rng(seed).random(len(recording)) < rate)
    if not weighted:
        return recording.take(seen)
    origins = tuple(
        replace(one, chance=1.0 if certain else rate, stratum="escalated" if certain else "audited")
        for one, certain in zip(recording.origins, escalated.tolist(), strict=True)
    )
    return Dataset(origins, recording.values, recording.outcomes, recording.labels).take(seen)


def test_weighted_figures_hold_the_truth_where_unweighted_ones_do_not(
    recording: Dataset, trained: Trained, escalated: Any
) -> None:
    """Error rate, cost and escalation of all labels lie in their weighted intervals, AUROC in all but chance's; unweighted all but the cost lie off."""
    model = ErrorModel(trained.onnx)
    full = evaluate(model, recording, replicates=10)
    truth = {name: find(full)["value"] for name, find in FIGURES.items()}
    missed = {way: dict.fromkeys(FIGURES, 0) for way in (True, False)}
    for seed in range(DRAWS):
        for weighted in (True, False):
            data = labelled(recording, escalated, seed, weighted=weighted)
            result = evaluate(model, data, replicates=100)
            for name, find in FIGURES.items():
                missed[weighted][name] += not find(result)["low"] <= truth[name] <= find(result)["high"]
    assert {"error rate": 0, "cost": 0, "escalated": 0} == {k: v for k, v in missed[True].items() if k != "AUROC"}
    assert missed[True]["AUROC"] <= 1  # of 3; a percentile interval of few audits is approximate
    assert (DRAWS, DRAWS, DRAWS) == tuple(missed[False][name] for name in ("error rate", "escalated", "AUROC"))


def test_audits_that_are_all_right_do_not_make_automation_flawless(
    recording: Dataset, trained: Trained, escalated: Any
) -> None:
    """A few right answers are no proof of no wrong one: the interval reaches to what they can exclude."""
    data = labelled(recording, escalated, 3, weighted=True)
    accuracy = evaluate(ErrorModel(trained.onnx), data, replicates=50)["model"]["automated_accuracy"]
    assert (1.0, 1.0) == (accuracy["value"], accuracy["high"])
    assert accuracy["low"] < 0.8


def test_the_report_says_which_labels_there_are_and_what_nobody_knows(
    recording: Dataset, trained: Trained, escalated: Any
) -> None:
    """In its first sentences, by stratum."""
    traffic = Traffic(
        Counter({"escalated": 400, "audited": 20, "automated": 380}),
        Counter({"escalated": 390, "audited": 20}),
        unseen=7,
        chosen=3,
        divided=2,
    )
    result = evaluate(
        ErrorModel(trained.onnx), labelled(recording, escalated, 1, weighted=True), traffic=traffic, replicates=20
    )
    assert result["conclusions"][0].startswith("The model is ")
    said = " ".join(result["conclusions"][:6])
    for part in (
        "20 of 20 audited, 0 of 380 automated, 390 of 400 escalated.",
        "Automated verdicts without a chance of an audit, of which nothing is known: 7.",
        "Labels by appeals or reports, or of what nobody had drawn, which do not count: 3.",
        "Answers without a label because humans are divided: 2.",
        "Each label counts by the inverse of the chance",
    ):
        assert part in said
    assert "390 of 400 escalated" in html_report(result)
    assert "each counted once, whatever it stands for" in html_report(result)


def test_labels_of_one_stratum_train_nothing_and_are_told_apart(
    recording: Dataset, trained: Trained, escalated: Any
) -> None:
    """Reviews alone: training refuses with what to do, the evaluation says of what its figures are."""
    reviews = labelled(recording, escalated, 0, weighted=True, rate=0.0)
    traffic = Traffic(Counter({"escalated": 430, "automated": 410}), Counter({"escalated": 430}))
    with pytest.raises(
        TrainingError, match=r"Fewer than 10 labels .* stand for what is automated .*0 of 410 automated.*set-audit-rate"
    ):
        train(reviews, families=("ridge",), traffic=traffic, replicates=10)
    result = evaluate(ErrorModel(trained.onnx), reviews, traffic=traffic, replicates=20)
    assert any("every figure here is of escalated verdicts alone" in one for one in result["conclusions"][:3])


def test_labels_of_everything_are_of_one_stratum_and_fine(recording: Dataset) -> None:
    """On the first day all is escalated, and nothing is left out."""
    traffic = Traffic(Counter({"escalated": len(recording)}), Counter({"escalated": len(recording)}))
    origins = tuple(replace(one, chance=1.0, stratum="escalated") for one in recording.origins)
    data = Dataset(origins, recording.values, recording.outcomes, recording.labels)
    expected = train(recording, families=("ridge",), replicates=10).onnx
    trained = train(data, families=("ridge",), traffic=traffic, replicates=10)
    assert ErrorModel(expected).card["nested_cv"] == trained.card["nested_cv"]


def test_slices_have_intervals_that_few_audits_cannot_narrow(
    recording: Dataset, trained: Trained, escalated: Any
) -> None:
    """Of a language's few audits, all right, as of all answers'."""
    data = labelled(recording, escalated, 3, weighted=True)
    found = evaluate(ErrorModel(trained.onnx), data, replicates=50)["slices"]["llm"]
    (accuracy,) = (one["automated_accuracy"] for one in found.values())
    assert (1.0, 1.0) == (accuracy["value"], accuracy["high"])
    assert accuracy["low"] < 0.8


def test_a_card_reckons_with_chances_that_no_label_had(recording: Dataset, escalated: Any) -> None:
    """Where an answer could have stood for more than any that was drawn does, less is known of what was not."""
    data = labelled(recording, escalated, 0, weighted=True, rate=0.3)
    counts = Counter({"escalated": 430, "audited": 120})
    costs = []
    for least in (0.3, 0.03):
        card = train(data, families=("ridge",), traffic=Traffic(counts, counts, least=least)).card
        costs.append(card["nested_cv"][card["name"]]["cost"]["false-discovery"])
    assert costs[0]["value"] == costs[1]["value"]
    assert costs[1]["high"] - costs[1]["low"] > 1.2 * (costs[0]["high"] - costs[0]["low"])


def test_audits_that_the_held_out_part_lacks_are_missed(recording: Dataset, trained: Trained, escalated: Any) -> None:
    """Though the training part has some: the figures are of the other."""
    data = labelled(recording, escalated, 0, weighted=True, rate=0.3)
    audited = np.array([one.stratum == "audited" for one in data.origins])
    traffic = Traffic(
        Counter({"escalated": 430, "audited": 120, "automated": 290}), Counter({"escalated": 430, "audited": 120})
    )
    model = ErrorModel(trained.onnx)
    lacking = evaluate(model, data.take(~(audited & data.held_out)), traffic=traffic, replicates=20)
    assert any("every figure here is of escalated verdicts alone" in one for one in lacking["conclusions"])
    few = np.cumsum(audited & ~data.held_out) <= 5
    for too_few in (~audited | data.held_out, ~audited | data.held_out | few):
        with pytest.raises(TrainingError, match="Fewer than 10 labels to train on stand for what is automated"):
            train(data.take(too_few), families=("ridge",), traffic=traffic)


def test_where_humans_differ_is_told_apart(recording: Dataset, trained: Trained) -> None:
    """The error rate on divided answers stands by itself, with its interval."""
    origins = tuple(replace(one, humans="differ" if i % 5 == 0 else "agree") for i, one in enumerate(recording.origins))
    data = Dataset(origins, recording.values, recording.outcomes, recording.labels)
    result = evaluate(ErrorModel(trained.onnx), data, replicates=20)
    humans = result["labels"]["humans"]
    assert {"several who differ", "several who agree"} == humans.keys()
    assert result["data"]["held_out_decided"] == sum(one["rows"] for one in humans.values())
    assert any("humans differ" in one for one in result["conclusions"])


def test_a_model_of_weighted_labels_is_calibrated_for_all_answers(recording: Dataset) -> None:
    """Where what is labelled hangs on more than the predictors say (tenants, say, that are audited more), weights make up for it."""
    noise = np.random.default_rng(1).random((2, len(recording)))
    chances = np.where(recording.errors ^ (noise[0] < 0.1), 1.0, 0.35)
    origins = tuple(replace(one, chance=c) for one, c in zip(recording.origins, chances.tolist(), strict=True))
    seen = noise[1] < chances
    part = recording.take(~recording.held_out & recording.decided)

    def off(origins: Any) -> float:
        data = Dataset(origins, recording.values, recording.outcomes, recording.labels).take(seen)
        trained = train(data, families=("ridge",), replicates=10)
        assert ("weights" in trained.card["data"]) == (data.weights is not None)
        expected = ErrorModel(trained.onnx).score(part.values, part.policies).error_probability.mean()
        return abs(float(expected) - float(part.errors.mean()))

    assert off(origins) < 0.04
    assert off(recording.origins) > 0.08


@pytest.mark.parametrize("family", [name for name, one in FAMILIES.items() if one.terms is None])
def test_a_learner_goes_by_weights(family: str) -> None:
    """Rows that stand for next to nothing say next to nothing, and wrong and right answers weigh the same."""
    rng = np.random.default_rng(7)
    columns = rng.normal(size=(400, 3))
    errors = columns[:, 0] > 0.5
    misleading = np.arange(400) % 2 == 0
    told = np.where(misleading, ~errors, errors)
    weights = np.where(misleading, 1e-4, 1.0)
    made, whole = FAMILIES[family], fit_expansion(columns.astype(np.float32), ("a", "b", "c"), "a")
    score = fit_learner(made, made.settings[0], whole, columns, told, 0, weights).score(columns)
    assert score[errors].mean() > score[~errors].mean() + 0.3
    balanced = balanced_weights(told, weights)
    assert balanced[told].sum() == pytest.approx(balanced[~told].sum())


@pytest.mark.parametrize("method", ["platt", "beta", "isotonic"])
def test_a_weight_is_worth_as_many_rows(method: Any) -> None:
    """To calibrations and thresholds: three rows once are one row three times."""
    rng = np.random.default_rng(2)
    scores, times = rng.normal(size=60), rng.integers(1, 4, 60)
    errors = rng.random(60) < 1 / (1 + np.exp(-scores))
    many, wrong, weights = np.repeat(scores, times), np.repeat(errors, times), times.astype(float)
    at = np.linspace(-1, 1, 5)
    theirs = fit_calibrator(method, many, wrong).predict(at)
    assert theirs == pytest.approx(fit_calibrator(method, scores, errors, weights).predict(at), abs=1e-5)
    assert best_f1_threshold(many, wrong) == best_f1_threshold(scores, errors, weights)
    for accounting in ACCOUNTINGS:
        costs = {"accounting": accounting, "review": 0.64, "mistake": 1.0}
        assert cheapest_threshold(many, wrong, **costs) == cheapest_threshold(scores, errors, **costs, weights=weights)
    budget = {"budget": 0.3, "always_escalated": 5}
    assert review_budget_threshold(many, **budget) == review_budget_threshold(scores, **budget, weights=weights)


def test_the_card_says_what_was_clipped() -> None:
    """No weight above sqrt(n) times the mean; what it was, and how many were cut."""
    weights = np.concatenate((np.ones(99), [901.0]))
    kept, said = clip(weights / weights.mean())
    assert kept is not None
    assert (1, 10.0, pytest.approx(90.1)) == (
        said["weights"]["clipped"],
        said["weights"]["cap"],
        said["weights"]["largest"],
    )
    assert (None, {}) == clip(None)


def test_data_without_chances_is_judged_as_it_was(recording: Dataset, trained: Trained) -> None:
    """No section on labels, and no sentence of it."""
    result = evaluate(ErrorModel(trained.onnx), recording, replicates=10)
    assert "labels" not in result
    assert "Labelled verdicts" not in " ".join(result["conclusions"])
