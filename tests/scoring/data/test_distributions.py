"""Label distributions without texts: what published sets of strong LLMs hold."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from featurizers import SCHEMA
from scoring import ACCOUNTINGS, DataError, ThresholdError, review_budget_threshold
from scoring.data import load
from scoring.evaluation import evaluate, html_report, risk_bound_threshold
from scoring.model import ErrorModel
from scoring.training import single_estimator_model, train

LINE: dict[str, Any] = {"id": "a", "label": "1", "logprobs": {"0": np.log(0.2), "1": np.log(0.6)}, "gold": 0}


def _write(path: Path, *lines: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_a_distribution_has_the_predictors_of_the_token_that_it_is(tmp_path: Path) -> None:
    """Label, margin and coverage as of any answer of one token; what such an answer does not have is missing."""
    data = load([_write(tmp_path / "set.jsonl", {**LINE, "policy": "hate", "language": "pt-BR", "llm": "big"})])
    row = dict(zip(SCHEMA.names, data.values[0].tolist(), strict=True))
    assert (1, 0, [True]) == (data.outcomes[0], data.labels[0], data.errors.tolist())
    assert ("a", "hate", "pt", "big") == tuple(
        getattr(data.origins[0], name) for name in ("request_id", "policy", "language", "llm")
    )
    expected = {
        "outcome_max_softmax": 0.75,
        "outcome_margin": 0.5,
        "outcome_coverage": 0.8,
        "outcome_logprob": np.log(0.6),
    }
    assert expected == pytest.approx({name: row[name] for name in expected}, abs=1e-6)
    assert np.isnan(row["stated_confidence"])


@pytest.mark.parametrize(
    ("label", "other", "outcome"),
    [("unsafe", "safe", 1), (" Yes", "No", 1), (True, "false", 1), ("allow", "block", 0), (0, "1", 0), ("2", "1", 2)],
)
def test_labels_may_be_words(tmp_path: Path, label: object, other: str, outcome: int) -> None:
    """Of the usual vocabularies, in any case."""
    line = {**LINE, "label": label, "logprobs": {str(label): -0.1, other: -2.5}}
    assert [outcome] == load([_write(tmp_path / "set.jsonl", line)]).outcomes.tolist()


def test_a_label_that_is_not_among_the_alternatives_has_no_logprob(tmp_path: Path) -> None:
    """As where an API does not return the token that it sampled."""
    data = load([_write(tmp_path / "set.jsonl", {**LINE, "logprobs": {"0": -0.1, "x": -3.0}})])
    assert np.isnan(data.values[0, SCHEMA.names.index("outcome_logprob")])


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"gold": 2}, "set.jsonl:2: .*gold"),
        ({"logprobs": {"1": 0.5}}, "set.jsonl:2: .*0.001"),
        ({"label": "perhaps"}, "set.jsonl:2: the label 'perhaps' is none that is known"),
        ({"label": "unsafe"}, "not of those of the lines before"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, changed: dict[str, Any], says: str) -> None:
    """File, line, and what is wrong with it."""
    with pytest.raises(DataError, match=says):
        load([_write(tmp_path / "set.jsonl", LINE, {**LINE, **changed})])


def _strong(n: int) -> Iterator[dict[str, Any]]:
    """Answers of a strong LLM: 95 % right, and two thirds of them with the very same confidence; two policies, one of them rare."""
    rng = np.random.default_rng(5)
    for i in range(n):
        sure = rng.random() < 0.67
        confidence = 0.9999 if sure else rng.uniform(0.5, 0.9999)
        wrong = rng.random() < (0.01 if sure else 0.13)
        label = int(rng.random() < 0.3)
        yield {
            "id": f"strong-{i}",
            "label": label,
            "logprobs": {str(label): float(np.log(confidence)), str(1 - label): float(np.log(1 - confidence))},
            "gold": label ^ int(wrong),
            "policy": "rare" if i % 250 == 0 else "spam",
        }


@pytest.fixture(scope="module")
def strong(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A published set: 2,500 distributions."""
    return _write(tmp_path_factory.mktemp("strong") / "set.jsonl", *_strong(2500))


def test_a_strong_llm_is_judged_with_its_ties_and_its_tiny_stratum(strong: Path) -> None:
    """The report is made, says nothing of a slice of five rows but its count, and certifies what its labels allow."""
    data = load([strong])
    assert 0.03 < data.errors.mean() < 0.07
    result = evaluate(ErrorModel(single_estimator_model("max-softmax")[0]), data, replicates=50)
    assert {"rows", "errors"} == set(result["slices"]["policy"]["rare"])
    certified = {row["max_risk"]: row for row in result["risk_bounds"]}
    assert certified[0.05]["automated_share"] > 0.5
    assert html_report(result)


def test_ties_are_escalated_or_automated_as_one(strong: Path) -> None:
    """No threshold of any rule lies within the block of equal confidences."""
    data = load([strong])
    scores = 1 - data.values[:, SCHEMA.names.index("outcome_max_softmax")].astype(float)
    tied = scores == np.unique(scores)[np.argmax(np.unique(scores, return_counts=True)[1])]
    assert 0.6 < tied.mean() < 0.75
    found = risk_bound_threshold(scores, data.errors, max_risk=0.04, delta=0.1)
    assert (scores < found.threshold).sum() == found.automated
    budget = review_budget_threshold(scores, budget=0.5)
    for threshold in (found.threshold, budget):
        assert (scores[tied] >= threshold).all() or (scores[tied] < threshold).all()
    assert (scores >= budget).mean() <= 0.5


def test_a_bound_needs_a_minimum_count(strong: Path) -> None:
    """Of too few answers nothing is certified, however right they are."""
    data = load([strong])
    few = data.take(np.flatnonzero(~data.errors)[:80])
    scores = 1 - few.values[:, SCHEMA.names.index("outcome_max_softmax")].astype(float)
    with pytest.raises(ThresholdError, match=r"too few: certifying a risk of 5\.0% at 90% takes at least 90"):
        risk_bound_threshold(scores, few.errors, max_risk=0.05, delta=0.1)


def test_a_model_can_be_trained_on_distributions(strong: Path) -> None:
    """On the same file, without the held-out items, and judged on those."""
    data = load([strong])
    model = ErrorModel(train(data, families=("max-softmax",), replicates=10).onnx)
    result = evaluate(model, data, replicates=50)
    assert result["model"]["auroc"]["low"] > 0.5
    assert {"value", "low", "high"} == set(result["model"]["cost"][ACCOUNTINGS[0]])
