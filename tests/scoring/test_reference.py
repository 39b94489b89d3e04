"""The reference in a model's card, and how far a stream is from it."""

import msgspec
import numpy as np
import pytest

from scoring import ModelError
from scoring.reference import (
    BINS,
    DECILES,
    Reference,
    bins_of,
    read_reference,
    reference_of,
    score_bins,
    stability_index,
    tally,
)
from scoring.training.trainer import train
from tests.scoring.conftest import Synthetic


def answers(n: int, seed: int, shift: float = 0.0) -> np.ndarray:
    """Three predictors: one that may shift, one of two values, one that lacks in a tenth."""
    random = np.random.default_rng(seed)
    values = np.stack([random.normal(shift, 1, n), random.integers(0, 2, n), random.random(n)], axis=1)
    values[random.random(n) < 0.1, 2] = np.nan
    return values.astype(np.float32)


def of(found: Reference, policy: str) -> tuple[np.ndarray, np.ndarray]:
    counts = found.of(policy)
    assert counts is not None
    return counts


def test_a_reference_holds_deciles_and_what_lacks() -> None:
    """Each tenth of a continuous predictor is in a bin of its own, what lacks in the last."""
    found = reference_of(answers(5000, 1), ["hate"] * 5000, np.full(5000, 0.2))
    counts, scores = of(found, "hate")
    np.testing.assert_allclose(counts[0, :DECILES], 500, atol=2)
    assert counts[2, DECILES] == pytest.approx(500, abs=70)
    assert scores[score_bins(np.array([0.2]))[0]] == 5000 == scores.sum()


def test_a_policy_that_is_too_rare_has_none_of_its_own() -> None:
    """A hundred answers are a reference, fewer are not; all count in that of all."""
    policies = ["hate"] * 400 + ["spam"] * 50
    found = reference_of(answers(450, 1), policies, np.full(450, 0.2))
    assert 400 == of(found, "hate")[1].sum()
    assert 450 == of(found, "*")[1].sum()
    assert found.of("spam") is None


def test_weights_make_the_reference_that_of_the_traffic() -> None:
    """An answer that stands for three counts thrice, and all for as many as would tell as much if they were alike."""
    values = np.array([[0.0], [1.0]] * 300, dtype=np.float32)
    found = reference_of(values, ["hate"] * 600, np.full(600, 0.2), np.array([1.0, 3.0] * 300))
    assert [120.0, 360.0] == [count for count in found.predictors["*"][0] if count]
    assert 480 == of(found, "hate")[1].sum()


def test_a_policy_of_a_few_answers_that_stand_for_many_has_none_of_its_own() -> None:
    """What they tell is little: their spread would be taken for that of the traffic."""
    weights = np.array([100.0] * 5 + [1.0] * 195)
    found = reference_of(
        answers(400, 1), ["hate"] * 200 + ["spam"] * 200, np.full(400, 0.2), np.append(weights, np.ones(200))
    )
    assert found.of("hate") is None
    assert 200 == of(found, "spam")[1].sum()


def test_the_index_tells_a_shift_from_chance() -> None:
    """Of another draw of the same it is about what chance makes of it, of a shift by one deviation far more."""
    values = answers(4000, 1)
    found = reference_of(values, ["hate"] * 4000, np.full(4000, 0.2))
    edges = np.array(found.edges, dtype=np.float32)
    expected = of(found, "hate")[0]
    same = stability_index(expected, tally(bins_of(answers(2000, 2), edges)))
    other = stability_index(expected, tally(bins_of(answers(2000, 3, shift=1.0), edges)))
    assert same.max() < 0.03
    assert other[0] > 0.5
    assert other[1:].max() < 0.03


def test_equal_values_lie_in_one_bin_whatever_wrote_them() -> None:
    """A value that is an edge lies above it, in training and after JSON in the stream."""
    values = np.full((300, 1), 0.1, dtype=np.float32)
    found = reference_of(values, ["hate"] * 300, np.full(300, 0.2))
    again = msgspec.json.decode(msgspec.json.encode(found), type=type(found))
    live = np.array([[msgspec.json.decode(b"0.1")]], dtype=np.float32)
    assert 300 == of(found, "hate")[0][0, bins_of(live, np.array(again.edges, dtype=np.float32))[0, 0]]


def test_train_writes_the_reference(synthetic: Synthetic) -> None:
    """Every labelled answer is in it once, and the card can be read back."""
    trained = train(synthetic(700, 3, 1.5), families=("ridge",), replicates=10)
    found = read_reference(trained.card)
    assert found is not None
    counts, scores = of(found, "*")
    assert {trained.card["data"]["decided"]} == set(counts.sum(axis=1)) | {scores.sum()}


def test_an_older_card_has_none() -> None:
    """Then there are no figures of drift."""
    assert read_reference({"name": "old"}) is None


@pytest.mark.parametrize(
    "garbled",
    [
        7,
        {},
        {"edges": [[0.0] * 9], "predictors": {}, "scores": {}},
        {"edges": [[0.0] * 8], "predictors": {"*": [[0.0] * 11]}, "scores": {"*": [0.0] * BINS}},
        {"edges": [[0.0] * 9], "predictors": {"*": [[0.0] * 11] * 2}, "scores": {"*": [0.0] * BINS}},
        {"edges": [[0.0] * 9], "predictors": {"*": [[0.0] * 11]}, "scores": {"*": [0.0]}},
    ],
)
def test_a_garbled_reference_says_so(garbled: object) -> None:
    """Whatever is wrong with it."""
    with pytest.raises(ModelError, match="garbles its reference"):
        read_reference({"reference": garbled})
