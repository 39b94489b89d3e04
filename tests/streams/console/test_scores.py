"""The spread of P(error), and what thresholds do in it."""

import pytest

from scoring import cost_threshold
from streams.console.scores import Costs, Scores, Spread, at, points
from tests.streams.console.making import COSTS


def spread(*probabilities: float | None) -> Spread:
    scores = Scores()
    for one in probabilities:
        scores.add(one)
    return scores.spread()


def test_what_has_no_score_is_counted_apart() -> None:
    """It goes to humans whatever the threshold."""
    found = spread(0.0, 0.005, 1.0, None)
    assert (2, 1, 3, 1) == (found.counts[0], found.counts[99], found.scored, found.unscored)
    assert [1.0, 0.5] == [points(found, COSTS)[where].escalated for where in (0, 1)]


def test_without_scores_there_is_no_curve() -> None:
    """And no point on it."""
    assert [] == points(spread(None), COSTS)
    assert None is at([], 0.4)


def test_errors_expected_are_those_of_the_automated() -> None:
    """None, where nothing is automated."""
    curve = points(spread(0.1, 0.3, 0.9), COSTS)
    assert None is at(curve, 0.1).error  # type: ignore[union-attr]
    assert pytest.approx((0.105 + 0.305) / 2) == at(curve, 0.5).error  # type: ignore[union-attr]


@pytest.mark.parametrize("accounting", ["false-discovery", "review-charged"])
def test_the_cheapest_threshold_is_the_one_that_the_costs_give(accounting: str) -> None:
    """On answers of every P(error), within a bin's width."""
    curve = points(spread(*(number / 1000 for number in range(1000))), Costs(0.3, 1.0, accounting))  # type: ignore[arg-type]
    cheapest = min(curve, key=lambda one: one.cost)
    assert abs(cheapest.threshold - cost_threshold(accounting, review=0.3, mistake=1.0)) <= 0.011


def test_old_answers_are_forgotten_by_halves() -> None:
    """After thirty thousand of one kind, nothing is left of another."""
    scores = Scores()
    scores.add(0.99)
    for _ in range(30_000):
        scores.add(0.01)
    found = scores.spread()
    assert 0 == found.counts[99]
    assert 10_000 <= found.scored <= 20_000
