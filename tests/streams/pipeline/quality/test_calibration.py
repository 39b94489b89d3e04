"""Whether P(error) is what it says, by what humans find."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scoring.reference import BINS, score_bins
from streams.pipeline.quality.calibration import PARTS, Judged, evidence_against, terms


def judged(probabilities: np.ndarray, wrong: np.ndarray) -> Judged:
    bins = score_bins(probabilities)
    numerator, variance = np.sum(
        [terms(p, wrong=w) for p, w in zip(probabilities.tolist(), wrong.tolist(), strict=True)], axis=0
    )
    return Judged(
        np.bincount(bins, minlength=BINS).astype(float),
        np.bincount(bins, probabilities, BINS),
        np.bincount(bins, wrong, BINS),
        numerator / PARTS,
        variance / PARTS,
    )


def test_z_is_standard_normal_where_all_is_well() -> None:
    """Over a thousand draws its mean is 0 and its deviation 1."""
    rng = np.random.default_rng(1)
    found = []
    for _ in range(1000):
        p = rng.beta(1, 4, 300)
        found.append(judged(p, rng.random(300) < p).z)
    assert np.mean(np.array(found, dtype=float)) == pytest.approx(0, abs=0.15)
    assert np.std(np.array(found, dtype=float)) == pytest.approx(1, abs=0.1)


def test_evidence_of_a_calibrated_model_is_seldom_false_however_often_one_looks() -> None:
    """A hundred looks at 150 streams: the evidence of 90 % is ever reached in a tenth of them at most."""
    rng, ever = np.random.default_rng(2), 0
    for _ in range(150):
        blocks = []
        for number in range(100):
            p = rng.beta(1, 4, 20)
            blocks.append((number, judged(p, rng.random(20) < p)))
            if number % 5 == 4 and evidence_against(blocks) >= math.log(10):
                ever += 1
                break
    assert ever <= 0.1 * 150


@pytest.mark.parametrize("shift", [-1.5, 1.5])
def test_evidence_finds_a_model_that_is_not_what_it_was(shift: float) -> None:
    """Forty periods well, then errors more frequent, or rarer, than P(error) says."""
    rng = np.random.default_rng(3)
    blocks = []
    for number in range(70):
        p = rng.beta(1, 2, 20)
        odds = np.log(p / (1 - p)) + (shift if number >= 40 else 0)
        blocks.append((number, judged(p, rng.random(20) < 1 / (1 + np.exp(-odds)))))
    assert evidence_against(blocks[:40]) < math.log(10)
    assert evidence_against(blocks) > math.log(1000)


def test_z_points_to_where_the_errors_are() -> None:
    """Above 0: more than expected."""
    p = np.full(200, 0.2)
    more, fewer = judged(p, np.arange(200) < 80).z, judged(p, np.arange(200) < 10).z
    assert more is not None
    assert fewer is not None
    assert fewer < -3
    assert more > 3


def test_without_verdicts_there_is_no_z() -> None:
    """Nor any evidence."""
    none = Judged(np.zeros(BINS), np.zeros(BINS), np.zeros(BINS))
    assert none.z is None
    assert evidence_against([(0, none)]) < 0


@given(st.floats(0, 1), st.booleans())
def test_no_single_answer_proves_anything(probability: float, wrong: bool) -> None:
    """Its evidence is finite, at any P(error)."""
    one = judged(np.array([probability]), np.array([wrong]))
    assert math.isfinite(evidence_against([(0, one)]))
