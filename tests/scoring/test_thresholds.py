"""Operating points."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scoring import (
    ACCOUNTINGS,
    Accounting,
    ThresholdError,
    best_f1_threshold,
    cost_threshold,
    cost_thresholds,
    review_budget_threshold,
)
from scoring.evaluation.metrics import item_costs
from scoring.thresholds import cheapest_threshold

COSTS = st.floats(0.01, 100)


@given(review=COSTS, mistake=COSTS)
def test_false_discovery_threshold_makes_both_actions_cost_the_same(review: float, mistake: float) -> None:
    """At the threshold, trusting costs as much as escalating: c_mis P(E) = c_rev (1 - P(E))."""
    p = cost_threshold("false-discovery", review=review, mistake=mistake)
    assert pytest.approx(mistake * p) == review * (1 - p)


def test_review_charged_threshold_is_chows_rule() -> None:
    """Chow's threshold is c_rev / c_mis."""
    assert 0.64 == cost_threshold("review-charged", review=0.64, mistake=1)


@pytest.mark.parametrize("accounting", ACCOUNTINGS)
def test_cost_threshold_is_the_cheapest_one_for_calibrated_probabilities(accounting: Accounting) -> None:
    """No other threshold has a lower expected cost when P(E) is true."""
    probabilities = np.linspace(0.0005, 0.9995, 1000)
    bayes = cost_threshold(accounting, review=0.64, mistake=1)

    def expected(threshold: float) -> float:
        escalated = probabilities >= threshold
        wrong = item_costs(escalated, np.ones(1000, bool), accounting, 0.64)
        right = item_costs(escalated, np.zeros(1000, bool), accounting, 0.64)
        return (probabilities * wrong + (1 - probabilities) * right).mean()

    assert expected(bayes) <= min(expected(t) for t in np.linspace(0, 1, 201)) + 1e-12


@pytest.mark.parametrize(
    ("accounting", "review", "mistake", "says"),
    [
        ("chow", 1, 2, "false-discovery and review-charged"),
        ("false-discovery", 0, 1, "cost of a review"),
        ("false-discovery", 1, -1, "cost of a mistake"),
        ("false-discovery", 1, math.nan, "cost of a mistake"),
        ("review-charged", 2, 1, "no threshold makes it pay"),
    ],
)
def test_impossible_costs_are_refused(accounting: Accounting, review: float, mistake: float, says: str) -> None:
    """Unknown accountings, senseless costs and reviews that never pay are errors that say so."""
    with pytest.raises(ThresholdError, match=says):
        cost_threshold(accounting, review=review, mistake=mistake)


def test_the_dearer_mistake_gets_the_lower_threshold() -> None:
    """With missed violations dearer than wrong removals, an "allow" is escalated earlier than a "remove"."""
    thresholds = cost_thresholds("false-discovery", review=1, missed_violation=9, wrong_removal=1)
    assert {0: 0.1, 1: 0.5} == thresholds


@given(
    scores=st.lists(st.sampled_from([0.1, 0.2, 0.5, 0.9]) | st.floats(0, 1), min_size=1, max_size=60),
    budget=st.floats(0, 1),
    never=st.integers(0, 20),
)
def test_review_budget_is_kept_and_used(scores: list[float], budget: float, never: int) -> None:
    """Never above the budget; and the next lower distinct score would be above it."""
    scores = np.array(scores)
    total = len(scores) + never
    try:
        threshold = review_budget_threshold(scores, budget=budget, always_escalated=never)
    except ThresholdError:
        assert never > budget * total - 1e-6
        return
    assert (scores >= threshold).sum() + never <= budget * total + 1e-6
    below = scores[scores < threshold]
    if len(below):
        assert (scores >= below.max()).sum() + never > budget * total - 1e-6


def test_budget_below_what_must_go_to_humans_is_refused() -> None:
    """Answers that can never be automated use up the budget; beyond it there is an error."""
    with pytest.raises(ThresholdError, match=r"5 of 10 answers must go to humans.*20\.0%"):
        review_budget_threshold(np.linspace(0, 1, 5), budget=0.2, always_escalated=5)


@given(st.lists(st.tuples(st.sampled_from([0.0, 0.3, 0.6, 1.0]), st.booleans()), min_size=1, max_size=40))
def test_best_f1_is_the_best_over_all_thresholds(answers: list[tuple[float, bool]]) -> None:
    """No distinct score gives a higher F1 of the error class."""
    scores, errors = np.array([s for s, _ in answers]), np.array([e for _, e in answers])
    if not errors.any():
        with pytest.raises(ThresholdError, match="no wrong answer"):
            best_f1_threshold(scores, errors)
        return

    def f1(threshold: float) -> float:
        alarms = scores >= threshold
        return 2 * (alarms & errors).sum() / (alarms.sum() + errors.sum())

    assert max(f1(s) for s in scores) == pytest.approx(f1(best_f1_threshold(scores, errors)))


@given(
    st.lists(st.tuples(st.sampled_from([0.0, 0.3, 0.6, 1.0]), st.booleans()), min_size=1, max_size=40),
    st.sampled_from(ACCOUNTINGS),
)
def test_cheapest_threshold_is_the_cheapest(answers: list[tuple[float, bool]], accounting: Accounting) -> None:
    """Neither a distinct score nor trusting everything costs less on the same answers."""
    scores, errors = np.array([s for s, _ in answers]), np.array([e for _, e in answers])

    def total(threshold: float) -> float:
        return item_costs(scores >= threshold, errors, accounting, 0.64).sum()

    chosen = cheapest_threshold(scores, errors, accounting, review=0.64, mistake=1.0)
    assert min(total(t) for t in [*scores, math.inf]) == pytest.approx(total(chosen))
