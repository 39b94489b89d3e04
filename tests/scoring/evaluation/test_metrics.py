"""The metrics, against scikit-learn and by definition."""

from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, roc_auc_score

from scoring.evaluation import metrics

ANSWERS = st.lists(
    st.tuples(st.sampled_from([0.0, 0.25, 0.5, 1.0]), st.booleans(), st.integers(0, 3)), min_size=2, max_size=40
).filter(lambda rows: {True, False} == {error for _, error, weight in rows if weight})


def _columns(rows: list[tuple[float, bool, int]]) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.float64]]:
    scores, errors, weights = (np.array(column) for column in zip(*rows, strict=True))
    return scores, errors, weights.astype(float)[None, :]


@given(ANSWERS)
def test_auroc_is_scikit_learns(rows: list[tuple[float, bool, int]]) -> None:
    """AUROC with ties and bootstrap weights equals scikit-learn's."""
    scores, errors, weights = _columns(rows)
    expected = roc_auc_score(errors, scores, sample_weight=weights[0])
    assert expected == pytest.approx(metrics.auroc(scores, errors, weights)[0])


@given(ANSWERS)
def test_auprc_is_scikit_learns(rows: list[tuple[float, bool, int]]) -> None:
    """Average precision with ties and bootstrap weights equals scikit-learn's."""
    scores, errors, weights = _columns(rows)
    expected = average_precision_score(errors, scores, sample_weight=weights[0])
    assert expected == pytest.approx(metrics.auprc(scores, errors, weights)[0])


@given(st.lists(st.booleans(), min_size=1, max_size=40), st.randoms(use_true_random=False))
def test_aurc_is_the_mean_selective_risk(errors: list[bool], random: Random) -> None:
    """Without ties, AURC is the mean over k of the error rate among the k least risky."""
    scores = list(range(len(errors)))
    random.shuffle(scores)
    by_risk = [error for _, error in sorted(zip(scores, errors, strict=True))]
    expected = np.mean([np.mean(by_risk[: k + 1]) for k in range(len(errors))])
    found = metrics.aurc(np.array(scores, float), np.array(errors), np.ones((1, len(errors))))
    assert expected == pytest.approx(found[0])


def test_a_constant_score_gets_what_chance_gives() -> None:
    """Ties count as a random order: AUROC 0.5, AURC and AUPRC the error rate."""
    errors, one = np.array([True, False, False, False]), np.ones((1, 4))
    found = [metric(np.zeros(4), errors, one)[0] for metric in (metrics.auroc, metrics.auprc, metrics.aurc)]
    assert [0.5, 0.25, 0.25] == found


def test_costs_follow_the_table_of_both_accountings() -> None:
    """Trusted mistakes cost 1 in both; reviews of wrong answers cost only where reviews are charged."""
    errors = np.array([True, False, True, False])
    escalated = np.array([False, True, True, False])
    assert [1.0, 0.64, 0.0, 0.0] == metrics.item_costs(escalated, errors, "false-discovery", 0.64).tolist()
    assert [1.0, 0.64, 0.64, 0.0] == metrics.item_costs(escalated, errors, "review-charged", 0.64).tolist()


def test_a_mean_over_nothing_is_undefined() -> None:
    """With everything escalated there is no accuracy of what is automated."""
    assert np.isnan(metrics.weighted_mean(np.zeros(0), np.ones((2, 0)))).all()


@given(st.lists(st.sampled_from([0.1, 0.2, 0.3]), min_size=1, max_size=60), st.randoms(use_true_random=False))
def test_bins_do_not_part_equal_probabilities(probabilities: list[float], random: Random) -> None:
    """So the calibration error of tied scores does not hang on the order of the rows; without ties the bins are of equal count."""
    bins = metrics.equal_count_bins(np.array(probabilities))
    assert list(range(len(probabilities))) == sorted(np.concatenate(bins).tolist())
    for value in set(probabilities):
        assert 1 == sum(value in {probabilities[row] for row in members} for members in bins)
    untied = [float(number) for number in range(len(probabilities))]
    random.shuffle(untied)
    expected = [part.tolist() for part in np.array_split(np.argsort(untied), 10) if len(part)]
    assert expected == [members.tolist() for members in metrics.equal_count_bins(np.array(untied))]


def test_calibration_error_of_true_probabilities_is_smaller_than_of_shifted_ones() -> None:
    """ECE grows when every probability is off by 0.2."""
    rng = np.random.default_rng(0)
    probabilities = rng.random(4000) * 0.8
    errors = rng.random(4000) < probabilities
    one = np.ones((1, 4000))
    true, shifted = (metrics.calibration_error(p, errors, one)[0] for p in (probabilities, probabilities + 0.2))
    assert true < 0.03
    assert pytest.approx(0.2, abs=0.03) == shifted
