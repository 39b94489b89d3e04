"""The error that humans found among answers of which they saw some: weighted, with an interval that keeps its word."""

import numpy as np
import pytest

from scoring.sampled_error import (
    MISSED,
    NO_AUDITS,
    NO_AUDITS_JUDGED,
    NO_REVIEWS_JUDGED,
    NOTHING_AUTOMATED,
    Bools,
    Floats,
    interval,
    measure,
)

DRAWS = 400


def population(*groups: tuple[int, float, float]) -> tuple[Floats, Bools]:
    """The chances and errors of groups of answers, each so many, with this error rate, and this chance of being seen."""
    wrong = [np.arange(count) < round(count * rate) for count, rate, _ in groups]
    return np.repeat([chance for *_, chance in groups], [count for count, *_ in groups]), np.concatenate(wrong)


@pytest.mark.parametrize(
    "groups",
    [
        [(400, 0.02, 0.1)],
        [(300, 0.0, 0.05), (300, 0.1, 0.5)],
        [(1000, 0.02, 0.05), (1000, 0.15, 0.3)],
        [(500, 0.03, 0.1), (200, 0.3, 1.0)],
        [(60, 0.5, 0.2), (40, 0.9, 0.6)],
    ],
)
def test_the_interval_holds_as_often_as_it_says(groups: list[tuple[int, float, float]]) -> None:
    """In 400 draws: with one rate and with several, few errors and many, audits alone and beside what was escalated."""
    chance, wrong = population(*groups)
    source = np.random.default_rng(20_260_107)
    found = [measure(chance, source.random(len(chance)) < chance, wrong) for _ in range(DRAWS)]
    known = [one for one in found if one.low is not None and one.high is not None]
    hits = sum(one.low <= wrong.mean() <= one.high for one in known)
    assert len(known) > 0.97 * DRAWS
    assert hits >= (1 - MISSED) * len(known)
    rates = [one.rate for one in known]
    assert abs(np.mean(rates) - wrong.mean()) < 0.01  # what is said in one figure is not off to one side


def test_without_weights_it_would_not_hold() -> None:
    """Audits of a time with a higher rate are not the whole: so the test above can fail."""
    chance, wrong = population((1000, 0.02, 0.05), (1000, 0.15, 0.3))
    source = np.random.default_rng(20_260_107)
    hits = 0
    for _ in range(DRAWS):
        seen = source.random(len(chance)) < chance
        low, high = interval(wrong[seen], np.ones(int(seen.sum())), equal=True)
        hits += low <= wrong.mean() <= high
    assert hits < DRAWS / 2


def test_weights_cost_width_but_not_everything() -> None:
    """An interval from 0 to 1 would hold as well."""
    chance, wrong = population((1000, 0.02, 0.1), (1000, 0.1, 0.3))
    source = np.random.default_rng(1)
    found = measure(chance, source.random(len(chance)) < chance, wrong)
    assert found.low is not None
    assert found.high is not None
    standard = (wrong / chance).std() / np.sqrt(len(wrong))  # of independent draws, were there very many
    assert found.high - found.low < 2.5 * 2 * 1.96 * standard


@pytest.mark.parametrize(
    ("errors", "count", "low", "high"), [(0, 100, 0.0, 0.0362), (1, 100, 0.0003, 0.0545), (20, 400, 0.0308, 0.0762)]
)
def test_equal_chances_give_the_exact_interval(errors: int, count: int, low: float, high: float) -> None:
    """Clopper's and Pearson's, as any table has it."""
    assert (low, high) == pytest.approx(interval(np.arange(count) < errors, np.ones(count), equal=True), abs=5e-5)


def test_chances_count_by_what_could_have_been_drawn() -> None:
    """Not by the few that were: those may happen to be alike, and stand for others all the same."""
    chance, wrong = population((500, 0.0, 0.01), (100, 0.1, 0.5))
    judged = np.zeros(600, dtype=bool)
    judged[550:] = True
    found = measure(chance, judged, wrong)
    assert found.high is not None
    assert found.high > 0.5


def test_what_is_all_judged_is_known() -> None:
    """What was escalated needs no interval once humans have decided all of it."""
    chance, wrong = population((50, 0.3, 1.0))
    found = measure(chance, np.ones(50, dtype=bool), wrong)
    assert 3 * [pytest.approx(0.3)] == [found.rate, found.low, found.high]


@pytest.mark.parametrize(
    ("chance", "judged", "problem"),
    [
        ([], [], NOTHING_AUTOMATED),
        ([0.0, np.nan], [True, True], NO_AUDITS),
        ([0.1, 0.1], [False, False], NO_AUDITS_JUDGED),
        ([0.1, 1.0], [False, True], NO_AUDITS_JUDGED),
        ([1.0, 0.0], [False, False], NO_REVIEWS_JUDGED),
    ],
)
def test_what_cannot_be_known_is_no_number(chance: list[float], judged: list[bool], problem: str) -> None:
    """It is said why; what was escalated does not speak for what nobody saw."""
    found = measure(np.array(chance, dtype=float), np.array(judged, dtype=bool), np.zeros(len(chance), dtype=bool))
    assert (problem, None, None, None) == (found.problem, found.rate, found.low, found.high)


def test_it_says_of_how_many_it_speaks() -> None:
    """Not of those that had no chance, nor of what was escalated and waits to be judged."""
    chance = np.array([0.2, 0.2, 0.0, np.nan, 1.0])
    found = measure(chance, np.array([True, False, True, True, False]), np.ones(5, dtype=bool))
    assert (2, 3, 1, 1, 1.0) == (found.of, found.unseen, found.judged, found.errors, found.rate)


@pytest.mark.parametrize("grouped", [True, False])
def test_answers_drawn_together_count_as_one_draw(grouped: bool) -> None:
    """Audits are drawn by request: five policies of one are seen together, and are right or wrong together. In 400 draws."""
    requests, each = 300, 5
    source = np.random.default_rng(3)
    chance = np.repeat(source.choice([0.05, 0.2], requests), each)
    wrong = np.repeat(source.random(requests) < 0.1, each)
    groups = np.repeat(np.arange(requests), each)
    missed = 0
    for _ in range(DRAWS):
        seen = np.repeat(source.random(requests) < chance[::each], each)
        low, high = interval(
            wrong[seen],
            0.05 / chance[seen],
            groups=np.unique(groups[seen], return_inverse=True)[1] if grouped else None,
        )
        missed += not low <= wrong.mean() <= high
    assert (missed <= MISSED * DRAWS) == grouped


def test_means_of_costs_have_intervals_as_errors_do() -> None:
    """Any values from 0 to 1."""
    source = np.random.default_rng(4)
    values, chance = source.beta(0.3, 2.0, 1000), source.choice([0.05, 0.3], 1000)
    missed = 0
    for _ in range(DRAWS):
        seen = source.random(1000) < chance
        low, high = interval(values[seen], 0.05 / chance[seen])
        missed += not low <= values.mean() <= high
    assert missed <= MISSED * DRAWS
