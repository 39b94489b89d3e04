"""The evaluation: its JSON, its honesty about training and held-out data, and its words."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from featurizers import SCHEMA
from scoring import ACCOUNTINGS, DataError
from scoring.data.dataset import Dataset, Origin
from scoring.evaluation import comparison, evaluate
from scoring.evaluation.baselines import BASELINES, rule
from scoring.evaluation.evaluator import COST_BAND
from scoring.model import ErrorModel
from scoring.training import Trained, train
from scoring.training.cold_start import single_estimator_model

Synthetic = Callable[[int, int, float], Dataset]
NAMED = [
    "trust-all",
    "escalate-all",
    "oracle",
    "predicted-label-only",
    "label-and-policy",
    "label-policy-language",
    "max-softmax",
    "entropy",
    "margin",
    "stated-confidence",
    "mean-logprob",
    "min-probability",
    "mean-token-negentropy",
    "min-token-negentropy",
    "probability-margin",
    "ucci",
]


@pytest.fixture(scope="module")
def result(recording: Dataset, trained: Trained) -> dict[str, Any]:
    """The default model judged on the recording."""
    return evaluate(ErrorModel(trained.onnx), recording, replicates=100)


def test_the_json_has_every_baseline_and_figure(result: dict[str, Any]) -> None:
    """Model and baselines carry the agreed figures, each {value, low, high}, and the whole is strict JSON."""
    read = json.loads(json.dumps(result, allow_nan=False))
    assert set(NAMED) == set(read["baselines"]) == set(BASELINES)
    for entry in (read["model"], *read["baselines"].values()):
        for figure in ("auroc", "auprc", "aurc", "escalation_rate", "automated_accuracy"):
            assert {"value", "low", "high"} == set(entry[figure])
        for accounting in ACCOUNTINGS:
            assert {"value", "low", "high"} == set(entry["cost"][accounting])
            assert {"value", "low", "high", "p_value"} == set(entry["paired_cost_difference"][accounting])


def test_constants_and_oracle_are_what_they_must_be(result: dict[str, Any]) -> None:
    """Trust-all costs the error rate, escalate-all the reviews, and the oracle makes no mistake."""
    wrong = result["data"]["prevalence"]
    costs = {name: {a: entry["cost"][a]["value"] for a in ACCOUNTINGS} for name, entry in result["baselines"].items()}
    assert pytest.approx({"false-discovery": wrong, "review-charged": wrong}) == costs["trust-all"]
    assert pytest.approx({"false-discovery": 0.64 * (1 - wrong), "review-charged": 0.64}) == costs["escalate-all"]
    assert pytest.approx({"false-discovery": 0.0, "review-charged": 0.64 * wrong}) == costs["oracle"]
    assert 0.5 == result["baselines"]["trust-all"]["auroc"]["value"]
    assert 1.0 == result["baselines"]["oracle"]["auroc"]["value"]


def test_the_model_costs_less_than_the_best_single_estimator(result: dict[str, Any]) -> None:
    """On the recording's held-out part, under both accountings, beyond noise."""
    for accounting in ACCOUNTINGS:
        assert result["model"]["paired_cost_difference"][accounting]["high"] < 0


def test_the_best_single_estimator_differs_from_itself_by_nothing(result: dict[str, Any]) -> None:
    """Paired with itself the difference is exactly zero."""
    best = result["best_single_estimator"]["false-discovery"]
    own = result["baselines"][best]["paired_cost_difference"]["false-discovery"]
    assert {"value": 0.0, "low": 0.0, "high": 0.0, "p_value": 1.0} == own


def test_held_out_labels_choose_nothing(recording: Dataset, trained: Trained, result: dict[str, Any]) -> None:
    """With other labels on the held-out part, every threshold and the best single estimator stay the same."""
    labels = np.where(recording.held_out, 1 - recording.labels, recording.labels).astype(np.int8)
    changed = Dataset(recording.origins, recording.values, recording.outcomes, labels)
    other = evaluate(ErrorModel(trained.onnx), changed, replicates=10)

    def thresholds(judged: dict[str, Any]) -> list[float | None]:
        return [
            entry["at"][a]["threshold"]
            for entry in (judged["model"], *judged["baselines"].values())
            for a in ACCOUNTINGS
        ]

    assert thresholds(result) == thresholds(other)
    assert result["best_single_estimator"] == other["best_single_estimator"]


def test_training_labels_do_not_touch_the_models_figures(
    recording: Dataset, trained: Trained, result: dict[str, Any]
) -> None:
    """The figures of a calibrated model come from held-out items only."""
    labels = np.where(recording.held_out, recording.labels, recording.outcomes == 1).astype(np.int8)
    labels[np.flatnonzero(~recording.held_out)[:5]] ^= 1
    changed = Dataset(recording.origins, recording.values, recording.outcomes, labels)
    other = evaluate(ErrorModel(trained.onnx), changed, replicates=100)
    assert result["model"]["auroc"] == other["model"]["auroc"]
    assert result["model"]["cost"] == other["model"]["cost"]


def test_label_and_policy_rates_come_from_training_rows() -> None:
    """The score is the training error rate of outcome, policy and language; what was not met gets the rate of what was."""

    def data(rows: list[tuple[str, int, int]]) -> Dataset:
        policies, outcomes, labels = zip(*rows, strict=True)
        return Dataset(
            tuple(
                Origin(str(i), *policy.split()[:1], str(i), *policy.split()[1:]) for i, policy in enumerate(policies)
            ),
            np.zeros((len(rows), len(SCHEMA.names)), np.float32),
            np.array(outcomes, np.int8),
            np.array(labels, np.int8),
        )

    seen = data([("hate", 1, 0), ("hate", 1, 1), ("spam", 1, 1), ("spam", 1, 1), ("hate", 0, 0)])
    unseen = data([("hate", 1, 1), ("spam", 1, 1), ("new", 1, 1), ("spam", 0, 0)])
    assert [0.5, 0.0, 0.25, 0.0] == rule("label-and-policy", seen, unseen, 0.64).scores.tolist()
    assert [0.25, 0.25, 0.25, 0.0] == rule("predicted-label-only", seen, unseen, 0.64).scores.tolist()
    seen = data([("hate de", 1, 0), ("hate de", 1, 0), ("hate fr", 1, 1), ("hate fr", 1, 1), ("hate fr", 0, 0)])
    unseen = data([("hate de", 1, 0), ("hate fr", 1, 0), ("hate pl", 1, 0), ("new fr", 1, 0), ("hate de", 0, 0)])
    assert [1.0, 0.0, 0.5, 0.5, 0.0] == rule("label-policy-language", seen, unseen, 0.64).scores.tolist()


def test_an_uncalibrated_model_gets_its_threshold_from_the_training_part(recording: Dataset) -> None:
    """A single-estimator model comes out exactly like the baseline of its name, and the words say what it is."""
    onnx, _ = single_estimator_model("max-softmax")
    result = evaluate(ErrorModel(onnx), recording, replicates=50)
    baseline = result["baselines"]["max-softmax"]
    assert (
        pytest.approx(baseline["cost"]["false-discovery"]["value"], abs=1e-6)
        == result["model"]["cost"]["false-discovery"]["value"]
    )
    assert any("uncalibrated" in sentence for sentence in result["conclusions"])


@pytest.fixture(scope="module")
def of_noise(synthetic: Synthetic) -> dict[str, Any]:
    """The evaluation of a model that learned from labels that depend on nothing."""
    data = synthetic(1500, 11, 0.0)
    return evaluate(ErrorModel(train(data, families=("ridge",), replicates=10).onnx), data, replicates=100)


def test_labels_that_depend_on_nothing_are_reported_as_nothing_learned(of_noise: dict[str, Any]) -> None:
    """Random errors: held-out AUROC about 0.5, and the first sentence says that nothing was learned."""
    assert pytest.approx(0.5, abs=0.08) == of_noise["model"]["auroc"]["value"]
    assert of_noise["conclusions"][0].startswith("Nothing was learned")


def test_a_difference_within_noise_is_said_in_words(of_noise: dict[str, Any]) -> None:
    """Where the model is no better than the best single estimator, the report says so."""
    assert sum("is within noise" in sentence for sentence in of_noise["conclusions"]) >= 1


def test_what_the_pipeline_would_not_automate_is_judged_as_escalated(recording: Dataset, trained: Trained) -> None:
    """An answer without log-probs is not supported by the model: it counts as escalated, whatever its score."""
    values = recording.values.copy()
    values[recording.held_out, SCHEMA.names.index("outcome_logprob")] = np.nan
    bare = Dataset(recording.origins, values, recording.outcomes, recording.labels)
    result = evaluate(ErrorModel(trained.onnx), bare, replicates=10)
    assert 1.0 == result["model"]["escalation_rate"]["value"]


def test_the_cost_curve_spans_the_papers_band(result: dict[str, Any]) -> None:
    """0.4 to 0.9, and at 0.65 close to the figure at 0.64."""
    curve = result["cost_curve"]
    assert list(COST_BAND) == curve["ratios"]
    assert len(COST_BAND) == len(curve["review-charged"]["model"])
    near = curve["false-discovery"]["escalate-all"][COST_BAND.index(0.65)]["value"]
    assert near == pytest.approx(result["baselines"]["escalate-all"]["cost"]["false-discovery"]["value"] * 0.65 / 0.64)


def test_slices_cover_every_held_out_verdict(result: dict[str, Any]) -> None:
    """The rows of each dimension add up, and each sliced policy has figures of its own."""
    for values in result["slices"].values():
        assert result["data"]["held_out_decided"] == sum(entry["rows"] for entry in values.values())
    assert {"harassment", "hate", "self-harm", "sexual", "violence"} == set(result["slices"]["policy"])


def test_a_policy_with_a_gap_is_found(synthetic: Synthetic) -> None:
    """Where one policy's answers lean to outcome 3, that policy and no other is named."""
    data = synthetic(1500, 12, 1.0)
    gap = np.array([policy == "spam" for policy in data.policies])
    data.values[:, SCHEMA.names.index("q_policy_gap")] = np.where(gap, 0.4, 0.05)
    result = evaluate(ErrorModel(single_estimator_model("max-softmax")[0]), data, replicates=50)
    shown = [e["value"] for e in result["failure_conditions"]["policy_gap"] if e["excess"]["low"] > 0]
    assert ["spam"] == shown


def test_an_llm_without_log_probs_beside_one_with_them_is_judged(recording: Dataset, trained: Trained) -> None:
    """Of its soft predictors there are none to compare with: it has no row among the failure conditions, nor has the other."""
    values, half = recording.values.copy(), np.arange(len(recording)) % 2 == 0
    soft = [i for i, name in enumerate(SCHEMA.names) if name.startswith("q_")]
    values[np.ix_(half, soft)] = np.nan
    origins = tuple(
        replace(one, llm="bare" if bare else "full") for one, bare in zip(recording.origins, half.tolist(), strict=True)
    )
    data = Dataset(origins, values, recording.outcomes, recording.labels)
    found = evaluate(ErrorModel(trained.onnx), data, replicates=20)["failure_conditions"]["evidence_deficiency"]
    assert "llm" not in {one["dimension"] for one in found}
    assert {"length"} <= {one["dimension"] for one in found}


def test_a_content_does_not_judge_what_it_trained(recording: Dataset, trained: Trained) -> None:
    """Of items with one content, none trains when one is held out."""
    held_out = np.flatnonzero(recording.held_out)
    first = int(np.flatnonzero(~recording.held_out)[0])
    shared = recording.origins[held_out[0]].group
    origins = tuple(replace(one, group=shared if i == first else one.group) for i, one in enumerate(recording.origins))
    data = Dataset(origins, recording.values, recording.outcomes, recording.labels)
    assert (~recording.held_out).sum() - 1 == data.trains.sum()
    assert not data.trains[first]
    assert data.trains.sum() == evaluate(ErrorModel(trained.onnx), data, replicates=2)["data"]["training_rows"]


def test_times_are_compared_as_times(recording: Dataset) -> None:
    """Not as texts: a zone may stand behind them."""
    times = ["2026-11-26T12:00:00+02:00", "2026-11-26T11:00:00Z", "2026-11-26T10:30:00Z", "yesterday"]
    part = recording.take(np.arange(4))
    origins = tuple(replace(one, decided_at=at) for one, at in zip(part.origins, times, strict=True))
    assert {"since": times[0], "until": times[1]} == replace(part, origins=origins).span
    assert {} == recording.span


def test_what_was_judged_is_said(result: dict[str, Any], trained: Trained) -> None:
    """Model, labels, data and thresholds, with intervals in the table of the terminal."""
    text = comparison(result)
    for part in (
        f"sha256 {ErrorModel(trained.onnx).sha256}.",
        "Judged on 361 held-out verdicts of ",
        ": 151 wrong (41.8%)",
        result["data"]["held_out_sha256"][:16],
        "false-discovery 0.390, review-charged 0.640",
        f"{'max-softmax':22}  0.630 [",
    ):
        assert part in text
    assert "decided from" not in text
    timed = {**result, "data": {**result["data"], "since": "2026-11-01T00:00:00Z", "until": "2026-11-02T00:00:00Z"}}
    assert ", decided from 2026-11-01T00:00:00Z to 2026-11-02T00:00:00Z: 151 wrong" in comparison(timed)


def test_data_without_a_training_part_is_refused(recording: Dataset, trained: Trained) -> None:
    """Baselines need training rows; a file of held-out items alone is an error that says so."""
    with pytest.raises(DataError, match="training part holds 0 verdicts"):
        evaluate(ErrorModel(trained.onnx), recording.take(recording.held_out))
