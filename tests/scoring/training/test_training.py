"""Training: determinism, refusals, and what is said about what was learned."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from featurizers import SCHEMA
from scoring import Accounting, TrainingError
from scoring.data.dataset import Dataset, Origin
from scoring.evaluation.ruling import Ruling, rule_at
from scoring.training import Trained, train
from scoring.training.calibration import Method
from scoring.training.checks import policies_of_their_own
from scoring.training.cross_validation import Sample, folds
from scoring.training.meta_model import Family
from scoring.training.trainer import choose

Synthetic = Callable[[int, int, float], Dataset]

FAST: tuple[Family, ...] = ("ridge",)
COLUMN = {name: i for i, name in enumerate(SCHEMA.names)}


def test_neither_order_nor_held_out_items_change_the_bytes(recording: Dataset) -> None:
    """The same training answers in another order, without the held-out ones, give the same file."""
    shuffled = recording.take(np.random.default_rng(0).permutation(len(recording)))
    expected = train(recording, families=FAST).onnx
    assert expected == train(shuffled.take(~shuffled.held_out), families=FAST).onnx


def test_the_chosen_model_beats_the_best_single_estimator_in_nested_cv(trained: Trained) -> None:
    """On the recording the model costs less than every single estimator."""
    table = trained.card["nested_cv"]
    singles = ("max-softmax", "entropy", "margin", "stated-confidence", "mean-logprob")
    best = min(table[name]["cost"]["false-discovery"]["value"] for name in singles)
    assert table[trained.card["name"]]["cost"]["false-discovery"]["value"] < best


def test_a_signal_is_found(synthetic: Synthetic) -> None:
    """Errors that follow a predictor are ranked better than chance and better than base rates."""
    card = train(synthetic(1200, 1, 1.5), families=FAST).card
    assert card["nested_cv"]["ridge-platt"]["auroc"]["low"] > 0.7
    assert "ranks errors better than outcome and policy alone" in card["verdict"]


def test_labels_that_depend_on_nothing_teach_nothing(synthetic: Synthetic) -> None:
    """Random errors: AUROC about 0.5, and the verdict says that nothing was learned."""
    card = train(synthetic(1200, 2, 0.0), families=FAST).card
    assert 0.5 == pytest.approx(card["nested_cv"][card["name"]]["auroc"]["value"], abs=0.06)
    assert card["verdict"].startswith("Nothing was learned: AUROC")


def test_errors_that_follow_the_outcome_alone_are_told_apart_from_learning(synthetic: Synthetic) -> None:
    """Ranking by base rates only is called that."""
    data = synthetic(1200, 3, 0.0)
    rng = np.random.default_rng(0)
    errors = rng.random(len(data)) < np.where(data.outcomes == 1, 0.6, 0.1)
    labels = np.where(errors, 1 - data.outcomes, data.outcomes).astype(np.int8)
    card = train(Dataset(data.origins, data.values, data.outcomes, labels), families=FAST).card
    assert card["verdict"].startswith("Nothing was shown to be learned beyond the error rates by outcome and policy")


@pytest.mark.parametrize(
    "written_as", [lambda label, _: label, lambda label, _: -label, lambda label, outcome: label != outcome]
)
def test_a_label_in_a_feature_is_caught(synthetic: Synthetic, written_as: Callable[..., Any]) -> None:
    """The label, its opposite or the error itself in a predictor stops the training, which names the predictor."""
    data = synthetic(600, 4, 0.5)
    data.values[:, COLUMN["token_count"]] = written_as(data.labels.astype(float), data.outcomes)
    with pytest.raises(TrainingError, match="'token_count' alone tells wrong from right"):
        train(data, families=FAST)


def test_a_leak_through_missingness_is_caught(synthetic: Synthetic) -> None:
    """A predictor that is missing exactly where the answer is wrong is a leak too."""
    data = synthetic(600, 4, 0.5)
    data.values[data.errors, COLUMN["token_count"]] = np.nan
    with pytest.raises(TrainingError, match="'token_count' alone"):
        train(data, families=FAST)


def test_too_few_errors_are_refused_with_the_number_it_takes(synthetic: Synthetic) -> None:
    """The error says how many wrong answers there are and how many it takes."""
    data = synthetic(600, 5, 0.0)
    labels = data.outcomes.copy()
    labels[:20] = 1 - labels[:20]
    few = Dataset(data.origins, data.values, data.outcomes, labels)
    with pytest.raises(TrainingError, match=r"\d+ wrong answers among \d+ .* at least 40 wrong and 40 right"):
        train(few, families=FAST)


def test_a_policy_with_few_labels_uses_the_pooled_model(synthetic: Synthetic) -> None:
    """Only policies with enough wrong and right answers get coefficients of their own."""
    data = synthetic(400, 6, 0.0)
    origins = tuple(Origin(o.request_id, "rare" if i < 12 else o.policy, o.group) for i, o in enumerate(data.origins))
    renamed = Dataset(origins, data.values, data.outcomes, data.labels)
    assert ("hate", "spam", "violence") == policies_of_their_own(renamed)
    assert "rare" in renamed.policies


def test_folds_keep_groups_together_and_strata_even(synthetic: Synthetic) -> None:
    """No group is cut, and each fold has its share of wrong answers of each policy, in any order of rows."""
    data = synthetic(600, 7, 0.5)
    groups = [f"text-{i // 2}" for i in range(600)]
    sample = Sample(data.values, data.errors, groups, data.policies, SCHEMA.names)
    fold = folds(sample, 5, 0)
    assert all(len(set(fold[2 * i : 2 * i + 2])) == 1 for i in range(300))
    assert np.bincount(fold).max() - np.bincount(fold).min() <= 2 * 6
    order = np.random.default_rng(0).permutation(600)
    assert np.array_equal(fold[order], folds(sample.take(order), 5, 0))


def test_the_simplest_of_equals_is_chosen() -> None:
    """A complex model displaces a simple one only when it is cheaper by more than a standard error."""
    errors = np.arange(100) % 2 == 0
    complex_ = errors.astype(float)
    complex_[1:7:2] = 1.0  # three needless reviews
    simple = errors.astype(float)
    simple[11:19:2] = 1.0  # four, on other answers

    def chosen(first: NDArray[np.float64]) -> tuple[Family, Method]:
        thresholds: dict[Accounting, float] = {"false-discovery": 0.5, "review-charged": 0.5}
        candidates: dict[tuple[Family, Method], list[Ruling]] = {
            ("ridge", "platt"): [rule_at(first, thresholds)],
            ("boosting", "beta"): [rule_at(complex_, thresholds)],
        }
        return choose(candidates, errors, "false-discovery", 0.64)

    assert ("ridge", "platt") == chosen(simple)
    assert ("boosting", "beta") == chosen(1 - complex_)
