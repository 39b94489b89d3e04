"""Training: determinism, refusals, and what is said about what was learned."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from featurizers import SCHEMA
from scoring import TrainingError
from scoring.data.dataset import Dataset, Origin
from scoring.evaluation.baselines import SINGLE_ESTIMATORS
from scoring.inputs import Inputs
from scoring.model import ErrorModel
from scoring.training import FAMILIES, Trained, train
from scoring.training.checks import languages_of_their_own, policies_of_their_own
from scoring.training.cross_validation import Candidate, Sample, fit_scorer, folds
from scoring.training.learners import fit_learner
from scoring.training.meta_model import fit_expansion
from scoring.training.trainer import choose

Synthetic = Callable[[int, int, float], Dataset]

FAST, FEW = ("ridge",), 100
COLUMN = {name: i for i, name in enumerate(SCHEMA.names)}


def test_neither_order_nor_held_out_items_change_the_bytes(recording: Dataset) -> None:
    """The same training answers in another order, without the held-out ones, give the same file."""
    shuffled = recording.take(np.random.default_rng(0).permutation(len(recording)))
    expected = train(recording, families=FAST, replicates=FEW).onnx
    assert expected == train(shuffled.take(~shuffled.held_out), families=FAST, replicates=FEW).onnx


def test_the_chosen_model_beats_the_best_single_estimator_in_nested_cv(trained: Trained) -> None:
    """On the recording the model costs less than every single estimator."""
    table = trained.card["nested_cv"]
    best = min(table[name]["cost"]["false-discovery"]["value"] for name in SINGLE_ESTIMATORS)
    assert table[trained.card["name"]]["cost"]["false-discovery"]["value"] < best


def test_a_signal_is_found(synthetic: Synthetic) -> None:
    """Errors that follow a predictor are ranked better than chance and by base rates, and no better than by that predictor."""
    card = train(synthetic(1200, 1, 1.5), families=FAST, replicates=FEW).card
    assert card["nested_cv"]["ridge-platt"]["auroc"]["low"] > 0.7
    assert card["verdict"].startswith("The model is not shown to be better than entropy, ")
    assert card["verdict"].endswith("`secondlook train --only entropy` gives the simpler one.")
    assert "entropy" == card["simpler"]


def test_labels_that_depend_on_nothing_teach_nothing(synthetic: Synthetic) -> None:
    """Random errors: AUROC about 0.5, and the verdict says that nothing was learned."""
    card = train(synthetic(1200, 2, 0.0), families=FAST, replicates=FEW).card
    assert 0.5 == pytest.approx(card["nested_cv"][card["name"]]["auroc"]["value"], abs=0.06)
    assert card["verdict"].startswith("Nothing was learned: AUROC")


def test_errors_that_follow_the_outcome_alone_are_told_apart_from_learning(synthetic: Synthetic) -> None:
    """Ranking by base rates only is called that, and the rates are offered in its place."""
    data = synthetic(1200, 3, 0.0)
    rng = np.random.default_rng(0)
    errors = rng.random(len(data)) < np.where(data.outcomes == 1, 0.6, 0.1)
    labels = np.where(errors, 1 - data.outcomes, data.outcomes).astype(np.int8)
    card = train(Dataset(data.origins, data.values, data.outcomes, labels), families=FAST, replicates=FEW).card
    assert "label-and-policy" in card["verdict"].partition(": AUROC")[0]
    assert "label-policy-language" == card["simpler"]


@pytest.mark.parametrize(
    "written_as", [lambda label, _: label, lambda label, _: -label, lambda label, outcome: label != outcome]
)
def test_a_label_in_a_feature_is_caught(synthetic: Synthetic, written_as: Callable[..., Any]) -> None:
    """The label, its opposite or the error itself in a predictor stops the training, which names the predictor."""
    data = synthetic(600, 4, 0.5)
    data.values[:, COLUMN["token_count"]] = written_as(data.labels.astype(float), data.outcomes)
    with pytest.raises(TrainingError, match="'token_count' alone tells wrong from right"):
        train(data, families=FAST, replicates=FEW)


def test_a_leak_through_missingness_is_caught(synthetic: Synthetic) -> None:
    """A predictor that is missing exactly where the answer is wrong is a leak too."""
    data = synthetic(600, 4, 0.5)
    data.values[data.errors, COLUMN["token_count"]] = np.nan
    with pytest.raises(TrainingError, match="'token_count' alone"):
        train(data, families=FAST, replicates=FEW)


def test_too_few_errors_are_refused_with_the_number_it_takes(synthetic: Synthetic) -> None:
    """The error says how many wrong answers there are and how many it takes."""
    data = synthetic(600, 5, 0.0)
    labels = data.outcomes.copy()
    labels[:20] = 1 - labels[:20]
    few = Dataset(data.origins, data.values, data.outcomes, labels)
    with pytest.raises(TrainingError, match=r"\d+ wrong answers among \d+ .* at least 40 wrong and 40 right"):
        train(few, families=FAST, replicates=FEW)


def test_answers_of_the_same_item_count_once(synthetic: Synthetic) -> None:
    """An id that a gateway gives to all of its answers leaves nothing to fold."""
    data = synthetic(1200, 5, 0.0)
    one = replace(data.origins[0], request_id="b", group="b")
    same = Dataset((one,) * len(data), data.values, data.outcomes, data.labels)
    assert same.trains.all()
    with pytest.raises(
        TrainingError,
        match=r"\d+ wrong answers among 1200 labelled verdicts to train on, of 1 different items: .* at least 40 wrong",
    ):
        train(same, families=FAST, replicates=FEW)


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


def _told(errors: NDArray[np.bool_], sure: float, wrong_on: slice) -> NDArray[np.float64]:
    """P(E), [1, n]: on the right side by `sure` but for some answers."""
    found = np.where(errors, sure, 1 - sure)
    found[wrong_on] = 1 - found[wrong_on]
    return found[None]


ERRORS = np.arange(200) % 2 == 0


@pytest.mark.parametrize(
    ("others", "chosen"),
    [
        ({}, ("blend", "platt")),
        ({("mean-logprob", "platt"): slice(100, 107)}, ("blend", "platt")),
        ({("mean-logprob", "platt"): slice(0, 0)}, ("mean-logprob", "platt")),
        ({("logistic", "platt"): slice(0, 0), ("forest", "platt"): slice(0, 0)}, ("logistic", "platt")),
        ({("mean-logprob", "platt"): slice(50, 52), ("forest", "platt"): slice(60, 61)}, ("mean-logprob", "platt")),
    ],
)
def test_the_preferred_family_gives_way_only_to_what_is_shown_to_be_better(
    others: dict[Candidate, slice], chosen: Candidate
) -> None:
    """And among those that are no worse than the best, to the first."""
    predictions: dict[Candidate, NDArray[np.float64]] = {("blend", "platt"): _told(ERRORS, 0.8, slice(0, 8))}
    predictions |= {key: _told(ERRORS, 0.8, wrong_on) for key, wrong_on in others.items()}
    assert chosen == choose(predictions, ERRORS, "false-discovery", 0.64)


def test_where_nothing_is_escalated_log_loss_still_tells_candidates_apart() -> None:
    """A strong LLM: no P(error) comes near the threshold, so all cost the same."""
    errors = np.arange(1000) % 20 == 0
    flat, sharp = np.full((1, 1000), 0.05), np.where(errors, 0.2, 0.02)[None]
    predictions: dict[Candidate, NDArray[np.float64]] = {("blend", "platt"): flat, ("margin", "platt"): sharp}
    assert ("margin", "platt") == choose(predictions, errors, "false-discovery", 0.64)


def test_an_unknown_family_is_refused_with_the_list(synthetic: Synthetic) -> None:
    """The error names the families there are."""
    with pytest.raises(TrainingError, match="No family magic; there are blend, max-softmax"):
        train(synthetic(400, 6, 0.0), families=("magic",))


@pytest.mark.parametrize("family", [*SINGLE_ESTIMATORS, "label-policy-language"])
def test_what_a_rule_learns_is_its_calibration(family: str, synthetic: Synthetic) -> None:
    """A single estimator's model ranks as the estimator does; base rates look at no predictor."""
    data, made = synthetic(600, 8, 1.0), FAMILIES[family]
    inputs = Inputs(policies_of_their_own(data)).encode(data.values, data.policies, data.languages)
    sample = Sample(inputs, data.errors, data.groups, data.policies, SCHEMA.names)
    scorer = fit_scorer(sample, made, made.settings[0], 0)
    coefficients = scorer.learner.coefficients  # type: ignore[union-attr]
    used = {scorer.expansion.terms[term] for term in scorer.expansion.term_of_column[coefficients != 0]}
    assert made.terms is not None
    assert set() < used <= set(made.terms)


def _speaking(data: Dataset, languages: list[str]) -> Dataset:
    origins = [replace(origin, language=language) for origin, language in zip(data.origins, languages, strict=True)]
    return replace(data, origins=tuple(origins))


def test_a_language_with_enough_answers_of_both_kinds_is_an_input(synthetic: Synthetic) -> None:
    """What is rare, or not known, is not; nor is the only one."""
    data = synthetic(600, 9, 0.0)
    some = _speaking(data, ["de", "fr", "unknown"] * 197 + ["pl"] * 9)
    assert ("de", "fr") == languages_of_their_own(some)
    assert () == languages_of_their_own(_speaking(data, ["de"] * 600))


def test_errors_of_one_language_are_learned_and_reach_the_scores(synthetic: Synthetic) -> None:
    """The same predictors score higher in the language in which the LLM errs; one that was never seen lies between."""
    data = synthetic(900, 10, 0.0)
    data = _speaking(data, ["de", "fr", "nl"] * 300)
    errors = np.random.default_rng(0).random(900) < np.where(np.array(data.languages) == "de", 0.7, 0.15)
    data = replace(data, labels=np.where(errors, 1 - data.outcomes, data.outcomes).astype(np.int8))
    model = ErrorModel(train(data, families=("interactions",), replicates=FEW).onnx)
    same, hate = np.repeat(data.values[:1], 4, axis=0), ["hate"] * 4
    german, austrian, french, unseen = model.score(same, hate, ["de", "de-AT", "fr", "pl"]).error_probability
    assert german == austrian > unseen > french


def test_a_rare_category_is_shrunk_towards_the_whole(synthetic: Synthetic) -> None:
    """Under the same penalty, the same excess of errors moves a language's score less where it has fewer answers."""
    data = synthetic(600, 11, 0.0)
    moved = []
    for count in (20, 200):
        languages = ["de"] * count + ["fr"] * (600 - count)
        errors = np.where(np.array(languages) == "de", np.arange(600) % 5 > 0, np.arange(600) % 5 == 0)
        own = np.eye(2, dtype=np.float32)[[0 if one == "de" else 1 for one in languages]]
        inputs = np.concatenate([data.values, own], axis=1)
        expansion = fit_expansion(inputs, SCHEMA.names, "outcome_is_violation", languages=2)
        family = FAMILIES["label-policy-language"]
        scorer = fit_learner(family, {"alpha": 300.0}, expansion, expansion.transform(inputs), errors, 0)
        asked = np.repeat(inputs[:1], 2, axis=0)
        asked[:, -2:] = np.eye(2)
        german, french = scorer.score(expansion.transform(asked))
        moved.append(german - french)
    assert 0 < moved[0] < 0.8 * moved[1]
