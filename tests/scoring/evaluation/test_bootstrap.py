"""The bootstrap: what it draws, what it says, and what it takes."""

import tracemalloc
from functools import partial
from typing import Any

import numpy as np
import pytest

from scoring.evaluation import bootstrap, metrics
from scoring.evaluation.bootstrap import Bootstrap, Figure, interval, mean_of

ITEMS = 150


def _auroc(n: int) -> Figure:
    rng = np.random.default_rng(1)
    return Figure(partial(metrics.auroc, rng.random(n), rng.random(n) < 0.3))


def test_whole_groups_are_drawn() -> None:
    """Members of a group are always drawn the same number of times, and each draw has as many groups as the sample."""
    (weights,) = Bootstrap(["a", "a", "b", "c"], 200, 0).blocks()
    assert (201, 4) == weights.shape
    assert [1, 1, 1, 1] == weights[0].tolist()
    assert np.array_equal(weights[:, 0], weights[:, 1])
    assert {3.0} == set(weights[:, 1:].sum(axis=1))


@pytest.mark.parametrize("cells", [ITEMS, 2 * ITEMS, 7 * ITEMS])
def test_blocks_are_the_same_draws(cells: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawn one, two or seven replicates at a time, the weights are those drawn at once."""
    draws = Bootstrap([str(i) for i in range(ITEMS)], 40, 5)
    (at_once,) = draws.blocks()
    monkeypatch.setattr(bootstrap, "CELLS", cells)
    parts = list(draws.blocks())
    assert len(parts) == -(-41 * ITEMS // cells)
    assert np.array_equal(at_once, np.concatenate(parts))


def test_every_figure_of_a_tree_is_estimated_in_its_place() -> None:
    """Dicts and lists keep their shape, other leaves stay as they are, and tested differences have a p-value."""
    figure = _auroc(ITEMS)
    tree: dict[str, Any] = {"n": 3, "none": None, "list": [figure, {"gain": figure.minus(figure, tested=True)}]}
    found = Bootstrap([str(i) for i in range(ITEMS)], 50, 0).estimate(tree)
    assert [3, None] == [found["n"], found["none"]]
    first, second = found["list"]
    assert first["low"] < first["value"] < first["high"]
    assert {"value": 0.0, "low": 0.0, "high": 0.0, "p_value": 1.0} == second["gain"]


def test_what_is_undefined_is_null() -> None:
    """JSON knows no NaN."""
    assert {"value": None, "low": None, "high": None} == interval(np.array([np.nan, 1.0, 2.0]))
    assert {"value": 1.0, "low": None, "high": None} == interval(np.array([1.0, np.nan, np.nan]))


def test_intervals_cover_the_truth_about_as_often_as_they_say() -> None:
    """The 95 % interval of a rate holds the true rate in at least 90 % of repeated samples."""
    rng = np.random.default_rng(0)
    covered = 0
    for seed in range(200):
        rate = mean_of(rng.random(ITEMS) < 0.3)
        found = Bootstrap([str(i) for i in range(ITEMS)], 300, seed).estimate(Figure(rate.of))
        covered += found["low"] <= 0.3 <= found["high"]
    assert covered >= 180


@pytest.mark.parametrize(("groups", "high"), [("abcdefghij", 0.31), ("aabbccddee", 0.9)])
def test_a_rate_of_which_nothing_was_seen_may_be_more_than_nothing(groups: str, high: float) -> None:
    """Ten right answers exclude what ten can, and fewer where they are of five requests; draws of them would say 0."""
    found = Bootstrap(list(groups), 50, 0).estimate(mean_of(np.zeros(10)))
    assert (0.0, 0.0) == (found["value"], found["low"])
    assert found["high"] == pytest.approx(high, abs=0.02) if high < 0.5 else 0.4 < found["high"] < high


@pytest.mark.parametrize("way", ["theorem", "percentiles"])
def test_a_difference_of_costs_from_few_audits_is_not_taken_for_shown(way: str) -> None:
    """Two rules that cost the same, told apart by audits of one in fifty: the theorem's interval holds as said, percentiles do not."""
    rng = np.random.default_rng(8)
    audits = np.arange(2000) >= 400
    difference = np.where(audits, np.where(np.arange(2000) % 20 == 0, 1.0, 0.0), -0.2)
    chance = np.where(audits, 0.02, 1.0)
    missed = 0
    for _ in range(200):
        seen = rng.random(2000) < chance
        weights = 1 / chance[seen] / (1 / chance[seen]).mean()
        draws = Bootstrap([str(i) for i in range(int(seen.sum()))], 300, 0, weights, float(weights.max()))
        figure = mean_of(difference[seen], low=-1.0, tested=True)
        found = draws.estimate(figure if way == "theorem" else Figure(figure.of))
        missed += not found["low"] <= difference.mean() <= found["high"]
        assert way == "percentiles" or found["p_value"] is None
    assert (missed <= 10) == (way == "theorem")


def test_what_figures_have_in_common_is_computed_once() -> None:
    """In each block of draws."""
    computed = []

    def of(weights: Any) -> Any:
        computed.append(len(weights))
        return weights.mean(axis=1)

    one = Figure(of)
    found = Bootstrap(["a", "b"], 10, 0).estimate([one, one.minus(Figure(lambda weights: weights[:, 0])), one])
    assert [11] == computed
    assert found[1]["value"] == found[0]["value"] - 1.0


def test_memory_does_not_grow_with_replicates(monkeypatch: pytest.MonkeyPatch) -> None:
    """The interval of an AUROC takes as much memory with 400 draws as with 100, and no more than a few blocks."""
    rows = 10_000
    monkeypatch.setattr(bootstrap, "CELLS", 2**19)
    figure, groups = _auroc(rows), [str(i) for i in range(rows)]

    def peak(replicates: int) -> int:
        tracemalloc.start()
        Bootstrap(groups, replicates, 0).estimate(figure)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    few, many = peak(100), peak(400)
    assert many == pytest.approx(few, rel=0.05)
    assert many < 16 * 8 * bootstrap.CELLS
