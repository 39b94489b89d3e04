"""Certified risk."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from scoring import ThresholdError
from scoring.evaluation import clopper_pearson, risk_bound_threshold, smallest_risk
from scoring.evaluation.risk_bound import clopper_pearson_upper


@given(n=st.integers(1, 200), data=st.data(), delta=st.floats(0.01, 0.5))
def test_clopper_pearson_bound_inverts_the_binomial(n: int, data: st.DataObject, delta: float) -> None:
    """At the bound, seeing so few errors has exactly the probability delta."""
    errors = data.draw(st.integers(0, n - 1))
    bound = clopper_pearson_upper(errors, n, delta)
    likelihood = sum(math.comb(n, k) * bound**k * (1 - bound) ** (n - k) for k in range(errors + 1))
    assert delta == pytest.approx(likelihood, rel=1e-6)


MAX_RISK, DELTA, DRAWS, SIZE = 0.1, 0.1, 1000, 300


def _draw(rng: np.random.Generator) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Answers whose error rate rises with the score as score ** 2: the risk below a threshold t is then t ** 2 / 3."""
    scores = rng.random(SIZE)
    return scores, rng.random(SIZE) < scores**2


@given(n=st.integers(1, 400), data=st.data(), confidence=st.floats(0.5, 0.99))
def test_clopper_pearson_interval_is_that_of_scipy(n: int, data: st.DataObject, confidence: float) -> None:
    """Both ends, nothing seen wrong and everything included."""
    from scipy import stats

    errors = data.draw(st.integers(0, n))
    theirs = stats.binomtest(errors, n).proportion_ci(confidence, method="exact")
    assert (theirs.low, theirs.high) == pytest.approx(clopper_pearson(errors, n, confidence), abs=1e-9)


def test_risk_bound_holds_in_repeated_draws_where_the_uncorrected_search_fails() -> None:
    """In 1,000 draws the bound breaks at most delta of the times (plus three standard errors); picking the best bound does not."""
    rng = np.random.default_rng(7)
    broken = naive_broken = certified = 0
    for _ in range(DRAWS):
        scores, errors = _draw(rng)
        order = np.argsort(scores)
        rates = np.cumsum(errors[order]) / np.arange(1, SIZE + 1)
        naive = scores[order][np.flatnonzero(rates <= MAX_RISK)[-1]]
        naive_broken += min(naive, 1.0) ** 2 / 3 > MAX_RISK
        try:
            found = risk_bound_threshold(scores, errors, max_risk=MAX_RISK, delta=DELTA)
        except ThresholdError:
            continue
        certified += 1
        broken += min(found.threshold, 1.0) ** 2 / 3 > MAX_RISK
    tolerance = 3 * math.sqrt(DELTA * (1 - DELTA) / DRAWS)
    assert certified > DRAWS / 2
    assert broken / DRAWS <= DELTA + tolerance
    assert naive_broken / DRAWS > DELTA + tolerance


def test_risk_bound_on_scores_that_tell_nothing_is_refused() -> None:
    """A risk below the base rate cannot be certified on uninformative scores."""
    rng = np.random.default_rng(3)
    with pytest.raises(ThresholdError, match=r"No threshold keeps the error rate .* 10\.0%"):
        risk_bound_threshold(rng.random(500), rng.random(500) < 0.4, max_risk=0.1, delta=0.1)


def test_risk_bound_names_the_labels_it_takes() -> None:
    """Too few answers: the error says how many right ones are the least."""
    with pytest.raises(ThresholdError, match=r"10 labelled answers are too few: .* at least 44"):
        risk_bound_threshold(np.linspace(0, 1, 10), np.zeros(10, bool), max_risk=0.1, delta=0.1)


def test_risk_bound_of_flawless_answers_automates_all() -> None:
    """When all of many answers are right, everything may be automated."""
    found = risk_bound_threshold(np.linspace(0, 1, 200), np.zeros(200, bool), max_risk=0.1, delta=0.1)
    assert (math.inf, 200, 0) == (found.threshold, found.automated, found.errors)
    assert found.upper_bound < 0.1


def test_the_smallest_risk_that_labels_certify_is_told() -> None:
    """They certify it, and not a thousandth less; labels that are all wrong certify none."""
    rng = np.random.default_rng(2)
    scores = rng.random(400)
    errors = rng.random(400) < scores / 4
    found = smallest_risk(scores, errors, delta=0.1)
    assert found is not None
    risk_bound_threshold(scores, errors, max_risk=found, delta=0.1)
    with pytest.raises(ThresholdError):
        risk_bound_threshold(scores, errors, max_risk=found - 0.001, delta=0.1)
    assert smallest_risk(scores, np.ones(400, dtype=bool), delta=0.1) is None
